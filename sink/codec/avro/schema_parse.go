package avro

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/avrobinary"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/tables"
)

// recordSchema is a schema that an Encoder, or TiCDC, has registered.
type recordSchema struct {
	schema, table string
	fields        []readField
}

// readField is a field of it.
type readField struct {
	info       event.ColumnInfo
	avro       string // the primitive type
	nullBranch int    // of the union with null, -1 if it is none
	extension  bool
}

type (
	schemaJSON struct {
		Type      string      `json:"type"`
		Name      string      `json:"name"`
		Namespace string      `json:"namespace"`
		Fields    []fieldJSON `json:"fields"`
	}
	fieldJSON struct {
		Name string          `json:"name"`
		Type json.RawMessage `json:"type"`
	}
	typeJSON struct {
		Type       string            `json:"type"`
		Parameters map[string]string `json:"connect.parameters"`
		Logical    string            `json:"logicalType"`
		Precision  int               `json:"precision"`
		Scale      int               `json:"scale"`
	}
)

// parseSchema reads a schema and decides once how each field is read.
func parseSchema(text string) (*recordSchema, error) {
	var in schemaJSON
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, err
	}
	if in.Type != "record" {
		return nil, fmt.Errorf("want a record, not %q", in.Type)
	}
	if len(in.Fields) > tables.MaxColumns {
		return nil, fmt.Errorf("%d fields", len(in.Fields))
	}
	out := &recordSchema{table: in.Name, schema: in.Namespace[strings.LastIndexByte(in.Namespace, '.')+1:]}
	for _, f := range in.Fields {
		field, err := parseField(f)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", f.Name, err)
		}
		out.fields = append(out.fields, field)
	}
	return out, nil
}

// parseField reads a field, whose type may be in a union with null at either place.
func parseField(in fieldJSON) (readField, error) {
	f := readField{nullBranch: -1, extension: strings.HasPrefix(in.Name, "_tidb_")}
	f.info = event.ColumnInfo{Name: in.Name, Length: -1, Decimal: -1}
	raw := bytes.TrimSpace(in.Type)
	if len(raw) == 0 {
		return f, errors.New("no type")
	}
	if raw[0] == '[' {
		var branches []json.RawMessage
		if err := json.Unmarshal(raw, &branches); err != nil {
			return f, err
		}
		if len(branches) != 2 {
			return f, fmt.Errorf("a union of %d types", len(branches))
		}
		raw = branches[0]
		f.nullBranch = 1
		if string(bytes.TrimSpace(raw)) == `"null"` {
			raw, f.nullBranch = branches[1], 0
		}
	}
	if f.nullBranch < 0 {
		f.info.Flag |= event.FlagNotNull
	}
	var t typeJSON
	if err := json.Unmarshal(raw, &t.Type); err != nil { // not a name alone
		if err := json.Unmarshal(raw, &t); err != nil {
			return f, err
		}
	}
	f.avro = t.Type
	return f, f.setType(t)
}

// setType finds the column type that an Avro type stands for: by tidb_type, which
// the fields of the extension do not have.
func (f *readField) setType(t typeJSON) error {
	switch f.avro {
	case "int", "long", "float", "double", "bytes", "string", "boolean":
	default:
		return fmt.Errorf("the type %q is not expected", f.avro)
	}
	if f.extension {
		return nil
	}
	name, isUnsigned := strings.CutSuffix(t.Parameters["tidb_type"], " UNSIGNED")
	if isUnsigned {
		f.info.Flag |= event.FlagUnsigned
	}
	switch name {
	case "TEXT":
		name = "LONGTEXT"
	case "BLOB":
		name = "LONGBLOB"
	case "TiDBVECTORFloat32":
		name = "VECTOR"
	case "BIT":
		f.info.Length, _ = strconv.Atoi(t.Parameters["length"])
	case "ENUM", "SET":
		f.info.Elems = column.SplitElems(t.Parameters["allowed"])
	case "DECIMAL":
		if t.Logical == "decimal" {
			if t.Scale < 0 || t.Scale > 81 {
				return fmt.Errorf("a decimal of scale %d", t.Scale)
			}
			f.info.Length, f.info.Decimal = t.Precision, t.Scale
		}
	case "DATETIME", "TIMESTAMP", "TIME":
		f.info.Decimal = 6
	}
	if err := column.SetType(&f.info, strings.ToLower(name)); err != nil {
		return err
	}
	return f.checkForm()
}

// checkForm makes sure that the Avro type is one that the column type is written as.
func (f *readField) checkForm() error {
	ok := false
	switch c := &f.info; c.Type {
	case event.TypeLonglong:
		ok = f.avro == "long" || f.avro == "string"
	case event.TypeLong, event.TypeYear:
		ok = f.avro == "int" || f.avro == "long"
	case event.TypeFloat, event.TypeDouble:
		ok = f.avro == "float" || f.avro == "double"
	case event.TypeNewDecimal:
		ok = f.avro == "bytes" && c.Decimal >= 0 || f.avro == "string"
	case event.TypeBit:
		ok = f.avro == "bytes"
	default:
		ok = f.avro == "string" || f.avro == "bytes"
	}
	if !ok {
		return fmt.Errorf("the type %q does not stand for %s", f.avro, column.TypeName(&f.info))
	}
	return nil
}

// columns returns the columns of the table, without the extension.
func (s *recordSchema) columns() []event.ColumnInfo {
	out := make([]event.ColumnInfo, 0, len(s.fields))
	for i := range s.fields {
		if f := &s.fields[i]; !f.extension {
			out = append(out, f.info)
		}
	}
	return out
}

// readExtension reads a field whose name begins with _tidb_.
func (f *readField) readExtension(r *avrobinary.Reader, row *event.RowChanged) {
	switch f.avro {
	case "int", "long":
		if n := r.Long(); f.info.Name == fieldCommitTs {
			row.CommitTs = event.Ts(n)
		}
	case "boolean":
		r.Bool()
	case "float":
		r.Float()
	case "double":
		r.Double()
	default:
		r.Bytes()
	}
}

// read reads a value that is not NULL.
func (f *readField) read(r *avrobinary.Reader, zone *time.Location) (event.Value, error) {
	c := &f.info
	switch f.avro {
	case "int", "long":
		n := r.Long()
		if c.Unsigned() {
			return event.Uint64Value(uint64(n)), nil
		}
		return event.Int64Value(n), nil
	case "float", "double":
		return f.readFloat(r), nil
	}
	b := r.Bytes()
	switch {
	case r.Err() != nil:
		return event.Value{}, nil
	case c.Type == event.TypeBit:
		if len(b) > 8 {
			return event.Value{}, fmt.Errorf("%d bytes of bits", len(b))
		}
		var n uint64
		for _, x := range b {
			n = n<<8 | uint64(x)
		}
		return event.BitValue(n, c.Length), nil
	case c.Type == event.TypeNewDecimal && f.avro == "bytes":
		return readDecimal(b, c.Decimal)
	}
	// A copy, so that the event does not hold on to the message.
	return column.Parse(c, string(b), zone)
}

// readFloat reads a FLOAT or DOUBLE.
func (f *readField) readFloat(r *avrobinary.Reader) event.Value {
	if f.avro == "double" {
		if v := r.Double(); f.info.Type != event.TypeFloat {
			return event.Float64Value(v)
		} else { // as TiCDC before it wrote FLOAT as float
			return event.Float32Value(float32(v))
		}
	}
	return event.Float32Value(r.Float())
}

// maxDecimalBytes is enough for a decimal of 81 digits.
const maxDecimalBytes = 34

// readDecimal undoes appendDecimal. A decoder need not be as fast, and big.Int does not
// run out of digits.
func readDecimal(b []byte, scale int) (event.Value, error) {
	if len(b) == 0 || len(b) > maxDecimalBytes {
		return event.Value{}, fmt.Errorf("a decimal of %d bytes", len(b))
	}
	n := new(big.Int).SetBytes(b)
	if b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	digits := new(big.Int).Abs(n).String()
	if pad := scale + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	text := digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	if n.Sign() < 0 {
		text = "-" + text
	}
	return event.ParseDecimal(text, scale)
}
