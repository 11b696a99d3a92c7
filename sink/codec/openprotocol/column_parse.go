package openprotocol

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/tables"
)

// messageColumn is a column as a message has it.
type messageColumn struct {
	name  string
	kind  event.ColumnType
	flags uint64
	text  jsontext.Value
}

// parseColumns returns the columns of an image.
func parseColumns(image jsontext.Value) ([]messageColumn, error) {
	var columns []messageColumn
	err := image.Members(func(name string, v jsontext.Value) error {
		if len(columns) == tables.MaxColumns {
			return fmt.Errorf("more than %d columns", tables.MaxColumns)
		}
		c := messageColumn{name: name}
		if err := v.Members(c.member); err != nil {
			return fmt.Errorf("column %s: %w", name, err)
		}
		columns = append(columns, c)
		return nil
	})
	return columns, err
}

func (c *messageColumn) member(name string, v jsontext.Value) error {
	switch name {
	case "t":
		n, err := strconv.ParseUint(v.Text(), 10, 8)
		if err != nil {
			return errors.New("t is not a number of a type")
		}
		c.kind = event.ColumnType(n)
	case "h":
		if v.Bool() {
			c.flags |= flagHandleKey
		}
	case "f":
		n, err := strconv.ParseUint(v.Text(), 10, 64)
		if err != nil {
			return errors.New("f is not a number")
		}
		c.flags |= n
	case "v":
		c.text = v
	}
	return nil
}

// newTable returns the table that columns describe.
func newTable(schema, name string, columns []messageColumn) *event.TableInfo {
	t := &event.TableInfo{Schema: schema, Table: name}
	primary := event.IndexInfo{ID: 1, Name: "PRIMARY", Unique: true, Primary: true}
	for i := range columns {
		c := &columns[i]
		t.Columns = append(t.Columns, c.info())
		if c.flags&flagHandleKey != 0 {
			t.HandleKey = append(t.HandleKey, i)
		}
		if c.flags&flagPrimaryKey != 0 {
			primary.Columns = append(primary.Columns, event.IndexColumn{Name: c.name, Offset: i, Length: -1})
		}
	}
	if primary.Columns != nil {
		t.Indexes = []event.IndexInfo{primary}
	}
	return t
}

func (c *messageColumn) info() event.ColumnInfo {
	info := event.ColumnInfo{Name: c.name, Type: c.kind, Length: -1, Decimal: -1, Stored: c.flags&flagGenerated != 0}
	isString := column.IsString(&info)
	switch {
	case c.flags&flagBinary != 0:
		info.Charset, info.Collation = "binary", "binary"
		if isString {
			info.Flag |= event.FlagBinary
		}
	case isString || c.kind == event.TypeEnum || c.kind == event.TypeSet:
		info.Charset, info.Collation = "utf8mb4", "utf8mb4_bin"
	}
	for _, bit := range [...]struct {
		is   bool
		flag event.ColumnFlag
	}{
		{c.flags&flagNullable == 0, event.FlagNotNull},
		{c.flags&flagPrimaryKey != 0, event.FlagPrimaryKey},
		{c.flags&flagUniqueKey != 0, event.FlagUniqueKey},
		{c.flags&flagMultipleKey != 0, event.FlagMultipleKey},
		{c.flags&flagUnsigned != 0, event.FlagUnsigned},
	} {
		if bit.is {
			info.Flag |= bit.flag
		}
	}
	return info
}

// value returns the value of a column. Its text is not part of errors.
func (c *messageColumn) value(info *event.ColumnInfo, loc *time.Location) (event.Value, error) {
	if c.text.IsNull() {
		return event.Value{}, nil
	}
	text := c.text.Text()
	var v event.Value
	var err error
	exact := *info
	switch {
	case info.Type == event.TypeEnum || info.Type == event.TypeSet:
		var n uint64
		n, err = strconv.ParseUint(text, 10, 64)
		v = event.Uint64Value(n)
	case styleOf(info) == encoded:
		var b []byte
		b, err = base64.StdEncoding.DecodeString(text)
		if v = event.TextBytesValue(b); info.Binary() {
			v = event.BytesValue(b)
		}
	case styleOf(info) == quoted:
		text, err = unquote(text)
		v = event.BytesValue([]byte(text))
	case info.Type == event.TypeBit:
		exact.Length = 64
		v, err = column.Parse(&exact, text, loc)
	case info.Type == event.TypeDatetime || info.Type == event.TypeTimestamp || info.Type == event.TypeDuration:
		// Messages show as many digits as the column declares.
		_, fraction, _ := strings.Cut(text, ".")
		exact.Decimal = len(fraction)
		v, err = column.Parse(&exact, text, loc)
	default:
		v, err = column.Parse(info, text, loc)
	}
	if err != nil {
		return event.Value{}, fmt.Errorf("column %s: not a %s", c.name, column.TypeName(info))
	}
	return v, nil
}

// unquote takes Go's escapes back.
func unquote(text string) (string, error) {
	b := make([]byte, 0, len(text))
	for text != "" {
		c, multibyte, rest, err := strconv.UnquoteChar(text, '"')
		if err != nil {
			return "", err
		}
		text = rest
		if multibyte {
			b = append(b, string(c)...)
		} else {
			b = append(b, byte(c))
		}
	}
	return string(b), nil
}
