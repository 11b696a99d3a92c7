package debezium

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// The names of Debezium's semantic types.
const (
	semanticBits           = "io.debezium.data.Bits"
	semanticEnum           = "io.debezium.data.Enum"
	semanticEnumSet        = "io.debezium.data.EnumSet"
	semanticJSON           = "io.debezium.data.Json"
	semanticVector         = "io.debezium.data.TiDBVectorFloat32"
	semanticDate           = "io.debezium.time.Date"
	semanticTimestamp      = "io.debezium.time.Timestamp"
	semanticMicroTimestamp = "io.debezium.time.MicroTimestamp"
	semanticZonedTimestamp = "io.debezium.time.ZonedTimestamp"
	semanticMicroTime      = "io.debezium.time.MicroTime"
	semanticYear           = "io.debezium.time.Year"
)

// form is how a column's values are written.
type form uint8

const (
	formNumber  form = iota // an integer or YEAR
	formFloat               // FLOAT and DOUBLE
	formDecimal             // DECIMAL as a number
	formString              // a string, or what AppendText makes
	formBytes               // bytes in base64
	formBool                // BIT(1)
	formBits                // BIT
	formDays                // DATE
	formMillis              // DATETIME
	formMicros              // DATETIME with 4 digits or more
	formInstant             // TIMESTAMP
	formTime                // TIME
)

// wireType is the Kafka Connect type of a column.
type wireType struct {
	form                      form
	connect                   string // int16, string and so on
	semantic                  string // the schema's name, may be ""
	version                   bool   // of the semantic type, which is 1
	parameter, parameterValue string
}

// wireTypeOf decides how a column is written: the table in the package's documentation.
func (c Config) wireTypeOf(info *event.ColumnInfo) (wireType, error) {
	if column.IsString(info) {
		if info.Binary() {
			return wireType{form: formBytes, connect: "bytes"}, nil
		}
		return wireType{form: formString, connect: "string"}, nil
	}
	text := func(semantic string) wireType {
		return wireType{form: formString, connect: "string", semantic: semantic, version: true}
	}
	number := func(connect string, unsignedConnect string) wireType {
		if info.Unsigned() {
			connect = unsignedConnect
		}
		return wireType{form: formNumber, connect: connect}
	}
	switch info.Type {
	case event.TypeTiny:
		return number("int16", "int16"), nil
	case event.TypeShort:
		return number("int16", "int32"), nil
	case event.TypeInt24:
		return number("int32", "int32"), nil
	case event.TypeLong:
		return number("int32", "int64"), nil
	case event.TypeLonglong:
		return number("int64", "int64"), nil
	case event.TypeYear:
		return wireType{form: formNumber, connect: "int32", semantic: semanticYear, version: true}, nil
	case event.TypeFloat:
		if info.Decimal >= 0 {
			return wireType{form: formFloat, connect: "double"}, nil
		}
		return wireType{form: formFloat, connect: "float"}, nil
	case event.TypeDouble:
		return wireType{form: formFloat, connect: "double"}, nil
	case event.TypeNewDecimal:
		if c.DecimalAsString {
			return wireType{form: formString, connect: "string"}, nil
		}
		return wireType{form: formDecimal, connect: "double"}, nil
	case event.TypeBit:
		if info.Length == 1 {
			return wireType{form: formBool, connect: "boolean"}, nil
		}
		return wireType{
			form: formBits, connect: "bytes", semantic: semanticBits, version: true,
			parameter: "length", parameterValue: strconv.Itoa(max(info.Length, 1)),
		}, nil
	case event.TypeEnum, event.TypeSet:
		w := text(semanticEnum)
		if info.Type == event.TypeSet {
			w.semantic = semanticEnumSet
		}
		w.parameter, w.parameterValue = "allowed", column.JoinElems(info.Elems)
		return w, nil
	case event.TypeJSON:
		return text(semanticJSON), nil
	case event.TypeVector:
		return wireType{form: formString, connect: "string", semantic: semanticVector}, nil
	}
	return timeType(info)
}

// timeType is wireTypeOf for times, whose semantic type depends on their digits.
func timeType(info *event.ColumnInfo) (wireType, error) {
	switch info.Type {
	case event.TypeDate, event.TypeNewDate:
		return wireType{form: formDays, connect: "int32", semantic: semanticDate, version: true}, nil
	case event.TypeDatetime:
		const milliDigits = 3
		if info.Decimal <= milliDigits {
			return wireType{form: formMillis, connect: "int64", semantic: semanticTimestamp, version: true}, nil
		}
		return wireType{form: formMicros, connect: "int64", semantic: semanticMicroTimestamp, version: true}, nil
	case event.TypeTimestamp:
		return wireType{form: formInstant, connect: "string", semantic: semanticZonedTimestamp, version: true}, nil
	case event.TypeDuration:
		return wireType{form: formTime, connect: "int64", semantic: semanticMicroTime, version: true}, nil
	}
	return wireType{}, fmt.Errorf("column %s: type %d has no form in Debezium", info.Name, info.Type)
}

// appendSchema appends the schema of a column.
func (c Config) appendSchema(b []byte, info *event.ColumnInfo, w wireType) []byte {
	b = append(b, '{')
	if c.TiDBExtension {
		name := column.TypeName(info)
		if info.Unsigned() {
			name += " unsigned"
		}
		b = append(jsontext.AppendString(append(b, `"tidb_type":`...), name), ',')
	}
	b = jsontext.AppendString(append(b, `"type":`...), w.connect)
	b = strconv.AppendBool(append(b, `,"optional":`...), !info.NotNull())
	if w.semantic != "" {
		b = jsontext.AppendString(append(b, `,"name":`...), w.semantic)
	}
	if w.version {
		b = append(b, `,"version":1`...)
	}
	if w.parameter != "" {
		b = jsontext.AppendString(append(b, `,"parameters":{`...), w.parameter)
		b = jsontext.AppendString(append(b, ':'), w.parameterValue)
		b = append(b, '}')
	}
	b = jsontext.AppendString(append(b, `,"field":`...), info.Name)
	if value := defaultValue(info, w.form); value != nil {
		b = append(append(b, `,"default":`...), value...)
	}
	return append(b, '}')
}

// currentTimestamp is the default that TiDB notes for the time of an insert, with the
// digits in parentheses if there are any.
const currentTimestamp = "CURRENT_TIMESTAMP"

// defaultValue returns a column's default as it would be written in a row, nil if
// it has none. The time of an insert is not one; a column that needs a default gets
// the first of 1970, as from Debezium.
func defaultValue(info *event.ColumnInfo, f form) []byte {
	if info.Default == nil || info.DefaultIsExpr {
		return nil
	}
	text := *info.Default
	if len(text) >= len(currentTimestamp) && text[:len(currentTimestamp)] == currentTimestamp {
		if !info.NotNull() {
			return nil
		}
		return appendNoDate(nil, f)
	}
	if info.Type == event.TypeBit {
		var n uint64
		for i := range len(text) {
			n = n<<8 | uint64(text[i])
		}
		text = strconv.FormatUint(n, 10)
	}
	v, err := column.Parse(info, text, nil)
	if err != nil {
		return nil
	}
	if info.Type == event.TypeEnum || info.Type == event.TypeSet {
		v = event.TextValue(text)
	}
	return appendValue(nil, newPlanColumn(info, f), v)
}

// appendNoDate appends what stands for a date that does not exist in a column that
// is NOT NULL.
func appendNoDate(b []byte, f form) []byte {
	if f == formInstant {
		return append(b, `"1970-01-01T00:00:00Z"`...)
	}
	return append(b, '0')
}

// secondsPerDay: a Date counts days.
const secondsPerDay = 24 * 60 * 60

// planColumn is a column of a plan.
type planColumn struct {
	name     []byte // "name":
	form     form
	optional bool
	bytes    int // of formBits
}

// newPlanColumn makes the column of a plan.
func newPlanColumn(info *event.ColumnInfo, f form) *planColumn {
	const maxBits = 64
	return &planColumn{
		name: append(jsontext.AppendString(nil, info.Name), ':'), form: f, optional: !info.NotNull(),
		bytes: (min(max(info.Length, 1), maxBits) + 7) / 8,
	}
}

// appendValue appends a value of a column.
func appendValue(b []byte, c *planColumn, v event.Value) []byte {
	if v.IsNull() {
		return append(b, "null"...)
	}
	switch c.form {
	case formNumber, formDecimal:
		return v.AppendText(b)
	case formFloat:
		return column.AppendJSONFloat(b, v)
	case formBytes:
		return jsontext.AppendBase64(b, v.Bytes())
	case formBool:
		return strconv.AppendBool(b, v.Uint64() != 0)
	case formBits:
		// Little-endian, and as many bytes as the width needs.
		b = append(b, '"')
		var buf [8]byte
		binary.LittleEndian.PutUint64(buf[:], v.Uint64())
		return append(base64.StdEncoding.AppendEncode(b, buf[:c.bytes]), '"')
	case formTime:
		return strconv.AppendInt(b, v.Duration().Microseconds(), 10)
	case formDays, formMillis, formMicros, formInstant:
		return appendTime(b, c.form, c.optional, v)
	}
	return column.AppendJSONString(b, v, nil)
}

// appendTime appends a date or a time as the number or text of its form.
func appendTime(b []byte, f form, optional bool, v event.Value) []byte {
	t, ok := v.Time(nil)
	switch {
	case !ok && optional:
		return append(b, "null"...)
	case !ok:
		return appendNoDate(b, f)
	}
	switch f {
	case formDays:
		return strconv.AppendInt(b, t.Unix()/secondsPerDay, 10)
	case formMillis:
		return strconv.AppendInt(b, t.UnixMilli(), 10)
	case formMicros:
		return strconv.AppendInt(b, t.UnixMicro(), 10)
	}
	// 2024-05-21 14:02:03 becomes 2024-05-21T14:02:03Z.
	b = append(b, '"')
	start := len(b)
	b = v.AppendText(b)
	b[start+len("2024-05-21")] = 'T'
	return append(b, `Z"`...)
}
