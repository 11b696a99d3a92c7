package avro

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// The fields of the TiDB extension, and what _tidb_op says.
const (
	fieldOp           = "_tidb_op"
	fieldCommitTs     = "_tidb_commit_ts"
	fieldPhysicalTime = "_tidb_commit_physical_time"
	opInsert          = "c"
	opUpdate          = "u"
)

// form is how a column's values are written.
type form uint8

const (
	formLong     form = iota // an integer: int and long look the same
	formUintText             // an unsigned integer as text
	formFloat
	formDouble
	formDecimal // two's complement, big-endian
	formString  // text
	formBytes
	formBit
	formRendered // text that AppendTextIn makes
)

// field is a column of a record.
type field struct {
	offset int // in the table's columns
	form   form
	// nullable: a union with null, whose branch is nullBranch and the value's 1-nullBranch.
	nullable   bool
	nullBranch uint8
	scale      int // of formDecimal
	name       string
}

// wireType is the Avro type of a column.
type wireType struct {
	form     form
	avro     string // the primitive type
	tidbType string
	// parameter is one more of connect.parameters, such as length.
	parameter, parameterValue string
}

// wireTypeOf decides how a column is written.
func (c Config) wireTypeOf(info *event.ColumnInfo) (wireType, error) {
	if column.IsString(info) {
		if info.Binary() {
			return wireType{form: formBytes, avro: "bytes", tidbType: "BLOB"}, nil
		}
		return wireType{form: formString, avro: "string", tidbType: "TEXT"}, nil
	}
	name := strings.ToUpper(column.TypeName(info))
	rendered := wireType{form: formRendered, avro: "string", tidbType: name}
	switch info.Type {
	case event.TypeTiny, event.TypeShort, event.TypeInt24, event.TypeLong, event.TypeLonglong:
		return c.integerType(info), nil
	case event.TypeYear:
		return wireType{form: formLong, avro: "int", tidbType: name}, nil
	case event.TypeFloat:
		return wireType{form: formFloat, avro: "float", tidbType: name}, nil
	case event.TypeDouble:
		return wireType{form: formDouble, avro: "double", tidbType: name}, nil
	case event.TypeNewDecimal:
		if c.DecimalAsString {
			return rendered, nil
		}
		return wireType{form: formDecimal, avro: "bytes", tidbType: name}, nil
	case event.TypeBit:
		return wireType{
			form: formBit, avro: "bytes", tidbType: name,
			parameter: "length", parameterValue: strconv.Itoa(max(info.Length, 1)),
		}, nil
	case event.TypeEnum, event.TypeSet:
		rendered.parameter, rendered.parameterValue = "allowed", column.JoinElems(info.Elems)
		return rendered, nil
	case event.TypeVector:
		rendered.tidbType = "TiDBVECTORFloat32"
		return rendered, nil
	case event.TypeDate, event.TypeNewDate, event.TypeDatetime, event.TypeTimestamp, event.TypeDuration, event.TypeJSON:
		return rendered, nil
	}
	return wireType{}, fmt.Errorf("column %s: type %d has no form in Avro", info.Name, info.Type)
}

// integerType: int as long as the values fit 31 bits and a sign. An int and a long are
// the same bytes, so only the schema differs.
func (c Config) integerType(info *event.ColumnInfo) wireType {
	w := wireType{form: formLong, avro: "int", tidbType: "INT"}
	if info.Type == event.TypeLonglong {
		w.avro, w.tidbType = "long", "BIGINT"
	}
	if !info.Unsigned() {
		return w
	}
	w.tidbType += " UNSIGNED"
	switch {
	case info.Type == event.TypeLong:
		w.avro = "long"
	case info.Type == event.TypeLonglong && c.UnsignedBigintAsString:
		w.form, w.avro = formUintText, "string"
	}
	return w
}

// record makes the schema of a record of a table's columns, and the plan by which
// it is written. Its text has its members in TiCDC's order, so that a registry
// that already knows a table from there finds the same schema.
func (c Config) record(table *event.TableInfo, offsets []int, extension bool) (string, []field, error) {
	b := []byte(`{"type":"record","name":`)
	b = jsontext.AppendString(b, column.Sanitize(table.Table))
	b = append(b, `,"namespace":`...)
	b = jsontext.AppendString(b, column.Sanitize(c.Namespace)+"."+column.Sanitize(table.Schema))
	b = append(b, `,"fields":[`...)
	fields := make([]field, len(offsets))
	taken := make(map[string]string, len(offsets))
	for i, offset := range offsets {
		info := &table.Columns[offset]
		name := column.Sanitize(info.Name)
		if other, ok := taken[name]; ok {
			return "", nil, fmt.Errorf("the columns %s and %s are both called %s in Avro, which allows letters, digits and _ only: rename one",
				other, info.Name, name)
		}
		taken[name] = info.Name
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = c.appendField(b, name, info, &fields[i]); err != nil {
			return "", nil, err
		}
		fields[i].offset = offset
	}
	if extension {
		b = append(b, `,{"default":"","name":"`+fieldOp+`","type":"string"}`...)
		b = append(b, `,{"default":0,"name":"`+fieldCommitTs+`","type":"long"}`...)
		b = append(b, `,{"default":0,"name":"`+fieldPhysicalTime+`","type":"long"}`...)
	}
	return string(append(b, "]}"...)), fields, nil
}

// appendField appends a column's field to a schema and sets f.
func (c Config) appendField(b []byte, name string, info *event.ColumnInfo, f *field) ([]byte, error) {
	w, err := c.wireTypeOf(info)
	if err != nil {
		return nil, err
	}
	f.form, f.name, f.nullable = w.form, info.Name, !info.NotNull()
	typ := jsontext.AppendString([]byte(`{"type":`), w.avro)
	typ = append(typ, `,"connect.parameters":{`...)
	if w.parameter != "" && w.parameter < "tidb_type" {
		typ = jsontext.AppendString(typ, w.parameter)
		typ = jsontext.AppendString(append(typ, ':'), w.parameterValue)
		typ = append(typ, ',')
	}
	typ = jsontext.AppendString(append(typ, `"tidb_type":`...), w.tidbType)
	typ = append(typ, '}')
	if w.form == formDecimal {
		precision, scale := info.Length, max(info.Decimal, 0)
		if precision < 0 {
			precision = 10 // what DECIMAL without digits means
		}
		f.scale = scale
		typ = fmt.Appendf(typ, `,"logicalType":"decimal","precision":%d`, precision)
		if scale > 0 {
			typ = fmt.Appendf(typ, `,"scale":%d`, scale)
		} else {
			typ = append(typ, `,"scale":0`...)
		}
	}
	typ = append(typ, '}')

	value := c.defaultValue(info, w.form)
	b = append(b, '{')
	switch {
	case value != nil:
		b = append(append(append(b, `"default":`...), value...), ',')
	case f.nullable:
		b = append(b, `"default":null,`...)
	}
	b = jsontext.AppendString(append(b, `"name":`...), name)
	b = append(b, `,"type":`...)
	switch {
	case !f.nullable:
		b = append(b, typ...)
	case value != nil:
		f.nullBranch = 1
		b = append(append(append(b, '['), typ...), `,"null"]`...)
	default:
		b = append(append(append(b, `["null",`...), typ...), ']')
	}
	return append(b, '}'), nil
}

// defaultValue returns a column's default as JSON, nil if it has none that a
// schema can hold. As in TiCDC, the logical type decimal has none.
func (c Config) defaultValue(info *event.ColumnInfo, f form) []byte {
	if info.Default == nil || info.DefaultIsExpr {
		return nil
	}
	text := *info.Default
	switch f {
	case formLong:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return strconv.AppendInt(nil, n, 10)
		}
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return strconv.AppendInt(nil, int64(n), 10)
		}
		return nil
	case formFloat, formDouble:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil
		}
		return strconv.AppendFloat(nil, n, 'g', -1, 64)
	case formDecimal:
		return nil
	case formBytes:
		return jsontext.AppendLatin1(nil, text)
	case formBit:
		for len(text) > 1 && text[0] == 0 {
			text = text[1:]
		}
		return jsontext.AppendLatin1(nil, text)
	}
	// TiDB keeps a TIMESTAMP's default in UTC, and values are written in a zone.
	if info.Type == event.TypeTimestamp && info.Version > 0 {
		if v, err := event.ParseTemporal(event.KindTimestamp, text, max(info.Decimal, 0)); err == nil {
			text = string(v.AppendTextIn(nil, c.TimeZone))
		}
	}
	return jsontext.AppendString(nil, text)
}
