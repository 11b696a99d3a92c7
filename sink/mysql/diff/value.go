package diff

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"math/big"
	"sort"
	"strconv"
)

// class is how the values of a column are read and compared.
type class uint8

const (
	classNumber class = iota // integers and decimals: exact text
	classFloat
	classDouble
	classBit // read as a number
	classTime
	classText
	classEnum // ENUM and SET: text whose order is not that of its text
	classBinary
	classJSON
)

func classOf(dataType string) class {
	switch dataType {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year":
		return classNumber
	case "float":
		return classFloat
	case "double":
		return classDouble
	case "bit":
		return classBit
	case "date", "datetime", "timestamp", "time":
		return classTime
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		return classText
	case "enum", "set":
		return classEnum
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return classBinary
	case "json":
		return classJSON
	}
	return classEnum
}

// value is the expression that a column is read with.
func (c class) value(name string) string {
	switch c {
	case classBit:
		return name + "+0" // it is bytes otherwise
	case classFloat:
		return name + "*1e0" // all digits
	case classTime:
		return "CAST(" + name + " AS CHAR)" // whether or not the driver parses times
	}
	return name
}

// hashed is the expression that a column has in a checksum.
func (c class) hashed(name string) string {
	switch c {
	case classText, classEnum, classJSON:
		return "CAST(CONVERT(" + name + " USING utf8mb4) AS BINARY)"
	}
	return c.value(name)
}

// variable reports whether the text of a value may hold the separator.
func (c class) variable() bool { return c >= classText }

// ordered reports whether ranges of a column mean the same as its order.
func (c class) ordered() bool {
	switch c {
	case classNumber, classBit, classTime, classText, classBinary:
		return true
	}
	return false
}

// literal writes a value that was read, to compare the column with.
func (c class) literal(value []byte) string {
	switch c {
	case classNumber, classBit:
		return string(value)
	case classText:
		return "_utf8mb4 X'" + hex.EncodeToString(value) + "'"
	case classTime:
		return "'" + string(value) + "'"
	}
	return "X'" + hex.EncodeToString(value) + "'"
}

// canonical returns bytes that are the same for values that are equal, whichever
// server wrote them down.
func (c class) canonical(value []byte) []byte {
	switch c {
	case classFloat, classDouble:
		f, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			return value
		}
		if c == classFloat {
			return strconv.AppendFloat(nil, float64(float32(f)), 'g', -1, 32)
		}
		return strconv.AppendFloat(nil, f, 'g', -1, 64)
	case classJSON:
		return canonicalJSON(value)
	}
	return value
}

func (c class) equal(a, b []byte) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return bytes.Equal(a, b) || (c == classFloat || c == classDouble || c == classJSON) && bytes.Equal(c.canonical(a), c.canonical(b))
}

// canonicalJSON sorts members and writes numbers by their value. What is not
// JSON stays as it is.
func canonicalJSON(text []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.More() {
		return text
	}
	return appendJSON(nil, v)
}

func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		sort.Strings(names)
		b = append(b, '{')
		for _, name := range names {
			b = append(strconv.AppendQuote(b, name), ':')
			b = append(appendJSON(b, v[name]), ',')
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for _, e := range v {
			b = append(appendJSON(b, e), ',')
		}
		return append(b, ']')
	case string:
		return strconv.AppendQuote(b, v)
	case json.Number:
		return appendNumber(b, string(v))
	case bool:
		return strconv.AppendBool(b, v)
	}
	return append(b, "null"...)
}

// appendNumber writes integers exactly and others as a double: 1.0 is 1.
func appendNumber(b []byte, text string) []byte {
	if i, ok := new(big.Int).SetString(text, 10); ok {
		return i.Append(b, 10)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return append(b, text...)
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<63 {
		return strconv.AppendInt(b, int64(f), 10)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}
