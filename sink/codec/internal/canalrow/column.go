package canalrow

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
)

// JavaType is a number of java.sql.Types.
type JavaType int32

// The types that Canal gives to columns of MySQL.
const (
	JavaBit       JavaType = -7
	JavaTinyint   JavaType = -6
	JavaBigint    JavaType = -5
	JavaChar      JavaType = 1
	JavaDecimal   JavaType = 3
	JavaInteger   JavaType = 4
	JavaSmallint  JavaType = 5
	JavaReal      JavaType = 7
	JavaDouble    JavaType = 8
	JavaVarchar   JavaType = 12
	JavaDate      JavaType = 91
	JavaTime      JavaType = 92
	JavaTimestamp JavaType = 93
	JavaBlob      JavaType = 2004
	JavaClob      JavaType = 2005
)

// Column is what messages say of a column.
type Column struct {
	Name string
	// MySQLType is the type as text, such as "int unsigned", with lengths and
	// elements if that was asked for.
	MySQLType string
	// Java is the type of values up to Limit, Wide that of greater ones: Java's
	// integers are signed, so that an unsigned one may need the next wider type.
	Java, Wide JavaType
	Limit      uint64
	// Primary: the column is part of the primary key.
	Primary bool
	// Handle: the column is part of the handle key.
	Handle bool
}

// JavaType returns the type of a value of the column.
func (c *Column) JavaType(v *event.Value) JavaType {
	if c.Limit != 0 && v.Kind() == event.KindUint64 && v.Uint64() > c.Limit {
		return c.Wide
	}
	return c.Java
}

// Columns describes the columns of a table. full is for types with lengths and
// elements.
func Columns(t *event.TableInfo, full bool) []Column {
	out := make([]Column, len(t.Columns))
	for i := range t.Columns {
		c := &t.Columns[i]
		out[i] = Column{Name: c.Name, MySQLType: typeText(c, full), Java: javaType(c), Primary: c.Flag&event.FlagPrimaryKey != 0}
		if c.Unsigned() {
			out[i].Limit, out[i].Wide = promotion(c.Type)
		}
	}
	for _, offset := range t.HandleKey {
		out[offset].Handle = true
		out[offset].Primary = out[offset].Primary || t.PKIsHandle
	}
	for i := range t.Indexes {
		if !t.Indexes[i].Primary {
			continue
		}
		for _, c := range t.Indexes[i].Columns {
			if c.Offset >= 0 {
				out[c.Offset].Primary = true
			}
		}
	}
	return out
}

// javaType returns the type of a column, of an unsigned one that of small values.
func javaType(c *event.ColumnInfo) JavaType {
	if column.IsString(c) && c.Binary() {
		return JavaBlob
	}
	switch c.Type {
	case event.TypeTiny:
		return JavaTinyint
	case event.TypeShort:
		return JavaSmallint
	case event.TypeInt24, event.TypeLong, event.TypeEnum:
		return JavaInteger
	case event.TypeLonglong:
		return JavaBigint
	case event.TypeFloat:
		return JavaReal
	case event.TypeDouble:
		return JavaDouble
	case event.TypeNewDecimal:
		return JavaDecimal
	case event.TypeString:
		return JavaChar
	case event.TypeTinyBlob, event.TypeBlob, event.TypeMediumBlob, event.TypeLongBlob:
		return JavaClob
	case event.TypeDate, event.TypeNewDate:
		return JavaDate
	case event.TypeDatetime, event.TypeTimestamp:
		return JavaTimestamp
	case event.TypeDuration:
		return JavaTime
	case event.TypeBit, event.TypeSet:
		return JavaBit
	}
	return JavaVarchar // VARCHAR, JSON, VECTOR, and YEAR as Canal has it
}

// promotion returns the greatest value of an unsigned integer that keeps its Java
// type, and the type of those beyond. MEDIUMINT fits as it is.
func promotion(t event.ColumnType) (limit uint64, wide JavaType) {
	switch t {
	case event.TypeTiny:
		return math.MaxInt8, JavaSmallint
	case event.TypeShort:
		return math.MaxInt16, JavaInteger
	case event.TypeLong:
		return math.MaxInt32, JavaBigint
	case event.TypeLonglong:
		return math.MaxInt64, JavaDecimal
	}
	return 0, 0
}

// typeText returns the name of a column's type.
func typeText(c *event.ColumnInfo, full bool) string {
	text := column.TypeName(c)
	if full {
		text += lengthText(c)
	}
	if c.Type == event.TypeBit || c.Type == event.TypeYear {
		return text
	}
	if c.Unsigned() {
		text += " unsigned"
	}
	if c.Flag&event.FlagZerofill != 0 {
		text += " zerofill"
	}
	return text
}

// defaultLength has the lengths that TiDB gives to types without one, -1 for types
// that do without.
func defaultLength(t event.ColumnType) int {
	switch t {
	case event.TypeTiny, event.TypeYear:
		return 4
	case event.TypeShort:
		return 6
	case event.TypeInt24:
		return 9
	case event.TypeLong:
		return 11
	case event.TypeLonglong:
		return 20
	case event.TypeFloat:
		return 12
	case event.TypeDouble:
		return 22
	}
	return -1
}

// lengthText returns what stands in parentheses behind a type's name, as TiDB
// describes columns, or nothing if that is not known.
func lengthText(c *event.ColumnInfo) string {
	length := c.Length
	if length < 0 {
		length = defaultLength(c.Type)
	}
	switch c.Type {
	case event.TypeEnum, event.TypeSet:
		if c.Elems == nil {
			return ""
		}
		escape := strings.NewReplacer(`'`, `''`, `\`, `\\`)
		var b strings.Builder
		for i, e := range c.Elems {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString("'" + escape.Replace(e) + "'")
		}
		return "(" + b.String() + ")"
	case event.TypeNewDecimal:
		if length >= 0 {
			return fmt.Sprintf("(%d,%d)", length, max(c.Decimal, 0))
		}
	case event.TypeFloat, event.TypeDouble:
		if c.Decimal > 0 {
			return fmt.Sprintf("(%d,%d)", length, c.Decimal)
		}
	case event.TypeDatetime, event.TypeTimestamp, event.TypeDuration:
		if c.Decimal > 0 {
			return "(" + strconv.Itoa(c.Decimal) + ")"
		}
	case event.TypeTiny, event.TypeShort, event.TypeInt24, event.TypeLong, event.TypeLonglong, event.TypeYear,
		event.TypeBit, event.TypeVarchar, event.TypeVarString, event.TypeString, event.TypeVector:
		if length >= 0 {
			return "(" + strconv.Itoa(length) + ")"
		}
	}
	return ""
}
