package cdctest

import (
	"fmt"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Column describes a column of a [Table]. Its methods return changed copies.
type Column struct {
	Name string
	Type event.ColumnType
	Flag event.ColumnFlag
	// Charset is "binary" for numbers and bytes.
	Charset string
	// Length is the display width or length of the type.
	Length int
	// Default is the DEFAULT clause as text, nil for none.
	Default *string

	id     int64
	origin *string // what older rows have
}

// Int is a BIGINT column.
func Int(name string) Column {
	return Column{Name: name, Type: event.TypeLonglong, Charset: "binary", Length: 20}
}

// Uint is a BIGINT UNSIGNED column.
func Uint(name string) Column {
	return Column{Name: name, Type: event.TypeLonglong, Flag: event.FlagUnsigned, Charset: "binary", Length: 20}
}

// Float is a DOUBLE column.
func Float(name string) Column {
	return Column{Name: name, Type: event.TypeDouble, Charset: "binary", Length: 22}
}

// Text is a TEXT column.
func Text(name string) Column {
	return Column{Name: name, Type: event.TypeBlob, Charset: "utf8mb4", Length: 65535}
}

// Bytes is a BLOB column.
func Bytes(name string) Column {
	return Column{Name: name, Type: event.TypeBlob, Flag: event.FlagBinary, Charset: "binary", Length: 65535}
}

// PrimaryKey makes an integer column the primary key, which is then the row's handle.
func (c Column) PrimaryKey() Column {
	c.Flag |= event.FlagPrimaryKey | event.FlagNotNull
	return c
}

// NotNull forbids NULL.
func (c Column) NotNull() Column {
	c.Flag |= event.FlagNotNull
	return c
}

// WithDefault sets a default, as text. Rows that are older than the column have it.
func (c Column) WithDefault(text string) Column {
	c.Default = &text
	return c
}

func (c *Column) isKey() bool     { return c.Flag&event.FlagPrimaryKey != 0 }
func (c *Column) isNotNull() bool { return c.Flag&event.FlagNotNull != 0 }

// sql is the column as CREATE TABLE has it.
func (c *Column) sql() string {
	var b strings.Builder
	fmt.Fprintf(&b, "`%s` ", c.Name)
	switch {
	case c.Type == event.TypeDouble:
		b.WriteString("double")
	case c.Type == event.TypeLonglong && c.Flag&event.FlagUnsigned != 0:
		b.WriteString("bigint unsigned")
	case c.Type == event.TypeLonglong:
		b.WriteString("bigint")
	case c.Charset == "binary":
		b.WriteString("blob")
	default:
		b.WriteString("text")
	}
	if c.isNotNull() {
		b.WriteString(" not null")
	}
	if c.isKey() {
		b.WriteString(" primary key")
	}
	if c.Default != nil {
		fmt.Fprintf(&b, " default '%s'", strings.ReplaceAll(*c.Default, "'", "''"))
	}
	return b.String()
}
