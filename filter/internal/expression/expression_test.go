package expression_test

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter/internal/expression"
)

func text(name, collation string) event.ColumnInfo {
	return event.ColumnInfo{Name: name, Type: event.TypeVarchar, Length: 40, Charset: "utf8mb4", Collation: collation}
}

// table has a column of every type.
func table() *event.TableInfo {
	return &event.TableInfo{
		Schema: "db", Table: "t",
		Columns: []event.ColumnInfo{
			{Name: "i", Type: event.TypeLonglong},
			{Name: "u", Type: event.TypeLonglong, Flag: event.FlagUnsigned},
			{Name: "d", Type: event.TypeNewDecimal, Length: 10, Decimal: 2},
			{Name: "f", Type: event.TypeDouble, Decimal: -1},
			text("s", "utf8mb4_bin"), text("g", "utf8mb4_general_ci"), text("x", "utf8mb4_unicode_ci"),
			{Name: "b", Type: event.TypeVarchar, Charset: "binary", Collation: "binary"},
			{Name: "day", Type: event.TypeDate},
			{Name: "dt", Type: event.TypeDatetime, Decimal: 3},
			{Name: "ts", Type: event.TypeTimestamp, Decimal: 0},
			{Name: "clock", Type: event.TypeDuration},
			{Name: "e", Type: event.TypeEnum, Elems: []string{"a", "b"}, Charset: "utf8mb4", Collation: "utf8mb4_bin"},
			{Name: "y", Type: event.TypeYear},
			{Name: "bit", Type: event.TypeBit, Length: 8},
			{Name: "js", Type: event.TypeJSON},
			{Name: "vec", Type: event.TypeVector},
		},
		VirtualColumns: []event.ColumnInfo{
			{Name: "v", Type: event.TypeLonglong, GeneratedExpr: "`i` + 1"},
			{Name: "vs", Type: event.TypeVarchar, GeneratedExpr: "concat(`s`, _utf8mb4'!')", Charset: "utf8mb4", Collation: "utf8mb4_general_ci"},
			{Name: "self", Type: event.TypeLonglong, GeneratedExpr: "`self` + 1"},
			{Name: "vj", Type: event.TypeVarchar, GeneratedExpr: "json_unquote(json_extract(`js`, _utf8mb4'$.a'))", Charset: "utf8mb4", Collation: "utf8mb4_bin"},
		},
	}
}

func row(t testing.TB) []event.Value {
	t.Helper()
	must := func(v event.Value, err error) event.Value {
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	at := event.DateTime{Year: 2024, Month: 7, Day: 22, Hour: 1, Minute: 2, Second: 3, Microsecond: 456000}
	second := at
	second.Microsecond = 0
	return []event.Value{
		event.Int64Value(7), event.Uint64Value(1 << 63), must(event.ParseDecimal("-12.50", 2)), event.Float64Value(0.1),
		event.TextValue("Abc"), event.TextValue("Ábc "), event.TextValue("x"), event.BytesValue([]byte("Abc")),
		must(event.TemporalValue(event.KindDate, event.DateTime{Year: 2024, Month: 7, Day: 22}, 0)), must(event.TemporalValue(event.KindDatetime, at, 3)),
		must(event.TemporalValue(event.KindTimestamp, second, 0)), event.DurationValue(-90*time.Minute, 0), event.EnumValue(2, []string{"a", "b"}),
		event.Int64Value(2024), event.BitValue(5, 8), must(event.ParseJSON(`{"a": 1}`)), must(event.ParseVector("[1]")),
	}
}

func compile(t testing.TB, condition string, zone *time.Location) *expression.Program {
	t.Helper()
	e, err := expression.Parse(condition)
	if err != nil {
		t.Fatalf("%s: %v", condition, err)
	}
	p, err := e.Compile(table(), zone)
	if err != nil {
		t.Fatalf("%s: %v", condition, err)
	}
	return p
}

// TestMatch holds one row against conditions; that many rows and conditions mean
// what they mean in TiDB is for the end-to-end test.
func TestMatch(t *testing.T) {
	values := row(t)
	for _, condition := range []string{
		"1", "i = 7", "I = 7 and `i` <> 8", "7 = i", "i in (1, 2, 3, 7)", "i not in (1, 2, 3, 4)", "i between 7 and 8", "i = '7'", "i < '7.5'",
		"u = 9223372036854775808", "u > i", "u > -1", "not u in (0, -9223372036854775808, 1, 2)", "d = -12.5", "d < 0", "d = '-12.50'", "f = 0.1e0", "f <> 0.1 or f = 0.1",
		"s = 'Abc'", "s <> 'abc'", "s = 'Abc  '", "g = 'abc'", "g like 'ABC_'", "g not like 'ABC'", "s like 'A%' and s like '%b%' and s like '%c'", "s like 'A|bc' escape '|'",
		"g collate utf8mb4_bin <> 'abc'", "b = 'Abc'", "b <> 'Abc '", "s regexp '^A' and g regexp 'BC'", "s in ('x', 'y', 'z', 'Abc')", "x is not null",
		"day = '2024-07-22'", "dt > '2024-07-22 01:02:03.45'", "dt = 20240722010203.456", "ts = '2024-07-22 01:02:03'", "day < dt", "clock = '-01:30:00'", "hour(clock) = 1",
		"e = 'b'", "e = 2", "e > 1", "y = 2024", "bit = 5 and bit & 4", "bit = 0x05", "js is not null and vec is not null",
		"js->>'$.a' = 1", "js->>'$.a' = '1'", "js->>'$.b' is null", "vj = '1'", "js->>'$' = '{\"a\": 1}'", "js->>'$[0].a' = 1", "js->>'$[1]' is null",
		"v = 8", "vs = 'ABC!'", "null is null", "(null and 0) = 0", "(null or 1) = 1", "null <=> null", "i <=> 7", "not (i <=> null)", "i xor 0",
		"case when i > 7 then 'a' when i = 7 then 'b' else 'c' end = 'b'", "if(i > 7, 1, 2) = 2", "ifnull(null, i) = 7", "coalesce(null, null, s) = 'Abc'",
		"i / 2 = 3.5", "i div 2 = 3", "i % 4 = 3", "-i = -7", "i + d = -5.5", "10 / 4 = 2.5", "(1 / 0) is null", "i * 1e1 = 70", "0.1 + 0.2 = 0.3", "0.1e0 + 0.2e0 <> 0.3e0",
		"length(g) = 5 and char_length(g) = 4", "concat(s, '-', i, '-', d) = 'Abc-7--12.50'", "upper(s) = 'ABC'", "substring(s, -2, 1) = 'b'", "round(d) = -13", "truncate(d, 0) = -12",
		"cast('12abc' as signed) = 12", "cast(d as char) = '-12.50'", "year(day) = 2024", "day + interval 1 month = '2024-08-22'", "datediff(day, '2024-07-01') = 21",
		"date_format(dt, '%Y-%m') = '2024-07'", "unix_timestamp(ts) = 1721610123", "weekday(day) = 0", "trim(leading 'A' from s) = 'bc'", "extract(month from day) = 7",
		"i is true and (i - 7) is false and (null) is not true", "s >= 'A' and s < 'B'", "date '2024-07-22' = day", "18446744073709551615 > u",
	} {
		if ok, err := compile(t, condition, nil).Match(values); !ok || err != nil {
			t.Errorf("%s: %t, %v", condition, ok, err)
		}
		if ok, err := compile(t, "not ("+condition+")", nil).Match(values); ok || err != nil {
			t.Errorf("not (%s): %t, %v", condition, ok, err)
		}
	}
}

// NULL is neither true nor false.
func TestNull(t *testing.T) {
	values := make([]event.Value, len(table().Columns))
	for _, condition := range []string{
		"i = 1", "i <> 1", "i in (1, 2, 3, 4)", "i not in (1, 2)", "1 in (2, null)", "5 not in (1, 2, 3, 4, null)", "i between 1 and 2", "s like '%'", "s regexp '.'",
		"i + 1 > 0", "not i", "i and 1", "i or 0", "i xor 1", "concat(s, 'x') <> ''", "length(s) >= 0", "d = d", "dt = dt", "clock < '01:00:00'", "e = 'a'", "if(i, 1, null)",
		"greatest(i, 1) = 1", "null", "cast(i as char) = ''", "s in ('a', 'b', 'c', 'd')", "v > 0",
	} {
		for _, c := range []string{condition, "not (" + condition + ")", "(" + condition + ") is not null"} {
			if ok, err := compile(t, c, nil).Match(values); ok || err != nil {
				t.Errorf("%s: %t, %v", c, ok, err)
			}
		}
	}
}

func TestTimeZone(t *testing.T) {
	zone := time.FixedZone("+05:30", 5*3600+1800)
	for _, condition := range []string{"ts = '2024-07-22 06:32:03'", "hour(ts) = 6", "dt < '2024-07-22 02:00:00'", "unix_timestamp(ts) = 1721610123", "ts > dt"} {
		if ok, err := compile(t, condition, zone).Match(row(t)); !ok || err != nil {
			t.Errorf("%s: %t, %v", condition, ok, err)
		}
	}
}

// What a value has none of is an error, not an answer.
func TestMatchErrors(t *testing.T) {
	for _, condition := range []string{"u * 2 > 0", "i - u > 0", "9223372036854775807 + i", "-u - 1 < 0", "f * 1e308 * 1e10 > 0", "abs(i * -1317624576693539401 - 1) > 0", "i or u * 2"} {
		ok, err := compile(t, condition, nil).Match(row(t))
		if short := condition == "i or u * 2"; short != (err == nil) || ok != short {
			t.Errorf("%s: %t, %v", condition, ok, err)
		}
	}
}

// TestErrors: what is refused has a place and a reason.
func TestErrors(t *testing.T) {
	tests := []struct {
		condition string
		position  int
		part      string
	}{
		{"", 1, "syntax error"},
		{"i = = 1", 5, "syntax error"},
		{"i = 1 and", 10, "too early"},
		{"(i = 1", 7, "too early"},
		{"'ö' = s and ö = 1", 13, "unknown column ö"},
		{"i = 1; drop table t", 20, "one condition"},
		{"i = 1 order by i", 17, "nothing behind"},
		{"i = 1 limit 1", 14, "nothing behind"},
		{"i = 'x' union select 1", 23, "nothing behind"},
		{"i > 1 and nothing = 2", 11, "unknown column nothing"},
		{"other.i = 1", 1, "without its table"},
		{"i = 1 and frobnicate(i)", 11, "FROBNICATE"},
		{"length(s, 2) = 1", 1, "2 arguments"},
		{"i = 1 or dt < now()", 15, "NOW"},
		{"@a = 1", 1, "nothing but the row"},
		{"i = ?", 5, "stands for no value"},
		{"i = 1 and i in (select 1)", 11, "subquery"},
		{"count(i) > 1", 1, "many rows"},
		{"(i, u) = (1, 2)", 1, "cannot be evaluated here"},
		{"i and x = 'a'", 7, "utf8mb4_unicode_ci"},
		{"x like 'a'", 1, "COLLATE"},
		{"s = g", 1, ""}, // one is binary: no error
		{"g collate utf8mb4_bin = g collate utf8mb4_general_ci", 1, "different collations"},
		{"i collate utf8mb4_0900_ai_ci = 1", 1, "utf8mb4_0900_ai_ci"},
		{"dt > 'soon'", 1, "not a date"},
		{"i = 7 and dt > s", 11, "literal"},
		{"clock = 5", 1, "HOUR()"},
		{"clock > dt", 1, "cannot be compared"},
		{"js = 1", 1, "JSON"},
		{"length(vec) > 1", 8, "VECTOR"},
		{"i and not js", 7, "JSON"},
		{"y = 70", 1, "four digits"},
		{"s regexp '('", 1, "missing closing"},
		{"s regexp g", 1, "literal"},
		{"self > 1", 1, "itself"},
		{"js->'$.a' = 1", 1, "JSON"},
		{"js->>'$.*' = 1", 1, "path"},
		{"i and js->>'$[last]' = 1", 7, "path"},
		{`js->>'$."\\\\"' = 1`, 1, "control"},
		{"json_unquote(s) = 1", 1, "path"},
		{"s->>'$.a' = 1", 1, "path"},
		{"9223372036854775807 + 1 > i", 1, "out of range"},
		{"cast(i as json) = 1", 1, "not known here"},
		{"i = \xff", 5, "UTF-8"},
		{"i = 1 or i > 0." + strings.Repeat("1", 90), 14, "digits"},
		{"i = 1 or i > 0." + strings.Repeat("1", 40), 14, "out of range"},
		{strings.Repeat("(", 600) + "i" + strings.Repeat(")", 600), 501, "deeper"},
		{"i = 1" + strings.Repeat(" or i = 1", 600), 1, "deeper"},
		{strings.Repeat(" ", 70000) + "i", 1, "bytes"},
	}
	for _, tt := range tests {
		name := tt.condition[:min(len(tt.condition), 40)]
		e, err := expression.Parse(tt.condition)
		if err == nil {
			_, err = e.Compile(table(), nil)
		}
		if tt.part == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var placed *expression.Error
		if !errors.As(err, &placed) {
			t.Errorf("%s: %v is no *Error", name, err)
			continue
		}
		if placed.Position != tt.position || !strings.Contains(err.Error(), tt.part) {
			t.Errorf("%s: %v, want position %d and %q", name, err, tt.position, tt.part)
		}
	}
}

// FuzzCondition never panics, neither on conditions nor on rows; errors have a place.
func FuzzCondition(f *testing.F) {
	for _, condition := range []string{
		"i = 1 and u > 2.5 or s like 'a%'", "case i when 1 then s else g end in ('a', null)", "dt + interval 1 day between '2024-01-01' and ts", "cast(s as decimal(65,30)) * d / 3 % 7",
		"trim(both 'x' from lpad(s, 5, g)) regexp '^a+$'", "not (i <=> null) xor b is true", "((((", "1 union select 2", "`a", "i in (", "a -- b", "/*", "i = '\\", "v + 1 = y",
		"round(d, -30) = truncate(f, 5) + 1e308", "date_format(day, '%Y%%%') = substring_index(s, 'b', -1)", "timestampdiff(month, day, ts) = extract(hour from clock)", "0x41 = s", "i << 70 > 1",
	} {
		f.Add(condition, int64(5), "text")
	}
	columns := table()
	values := row(f)
	f.Fuzz(func(t *testing.T, condition string, n int64, s string) {
		e, err := expression.Parse(condition)
		var p *expression.Program
		if err == nil {
			p, err = e.Compile(columns, nil)
		}
		if err != nil {
			var placed *expression.Error
			if !errors.As(err, &placed) || placed.Position < 1 || placed.Position > len(condition)+1 || placed.Err == nil {
				t.Fatalf("%q: %#v", condition, err)
			}
			return
		}
		first, firstErr := p.Match(values)
		changed := append([]event.Value{}, values...)
		changed[0], changed[1], changed[3], changed[4], changed[5] = event.Int64Value(n), event.Uint64Value(uint64(n)), event.Float64Value(float64(n)), event.TextValue(s), event.TextValue(s)
		_, _ = p.Match(changed)
		_, _ = p.Match(make([]event.Value, len(values)))
		// What other rows left behind does not matter.
		if again, err := p.Match(values); again != first || fmt.Sprint(err) != fmt.Sprint(firstErr) {
			t.Errorf("%q: %t, %v, then %t, %v", condition, first, firstErr, again, err)
		}
	})
}

// FuzzLike agrees with a plain definition of LIKE.
func FuzzLike(f *testing.F) {
	for _, pair := range [][2]string{{"abc", "a%"}, {"a%c", `a\%c`}, {"", "%"}, {"ab", "_"}, {"aXbXc", "%X_"}, {"é", "_"}, {`\`, `\\`}, {"a", `a\`}} {
		f.Add(pair[0], pair[1])
	}
	e, err := expression.Parse("s like g collate utf8mb4_bin")
	if err != nil {
		f.Fatal(err)
	}
	p, err := e.Compile(table(), nil)
	if err != nil {
		f.Fatal(err)
	}
	values := row(f)
	f.Fuzz(func(t *testing.T, s, pattern string) {
		if len(s) > 30 || len(pattern) > 12 || !utf8.ValidString(s) || !utf8.ValidString(pattern) {
			return // TiDB stores no other text
		}
		values := append([]event.Value{}, values...)
		values[4], values[5] = event.TextValue(s), event.TextValue(pattern)
		got, err := p.Match(values)
		if want := isLike([]rune(s), []rune(pattern)); got != want || err != nil {
			t.Errorf("%q like %q: %t, %v, want %t", s, pattern, got, err, want)
		}
	})
}

func isLike(s, pattern []rune) bool {
	if len(pattern) == 0 {
		return len(s) == 0
	}
	switch c := pattern[0]; {
	case c == '%':
		return isLike(s, pattern[1:]) || len(s) > 0 && isLike(s[1:], pattern)
	case c == '_':
		return len(s) > 0 && isLike(s[1:], pattern[1:])
	case c == '\\' && len(pattern) > 1:
		pattern = pattern[1:]
	}
	return len(s) > 0 && s[0] == pattern[0] && isLike(s[1:], pattern[1:])
}

// FuzzDecimal: exact arithmetic agrees with math/big.
func FuzzDecimal(f *testing.F) {
	for _, seed := range [][2]string{{"1.5", "-2.25"}, {"99999999999999999999999999999", "0.000000000000000000000000000001"}, {"-0.00", "0"}, {"12345678901234567890", "10"}} {
		f.Add(seed[0], seed[1])
	}
	plain := func(s string) (*big.Rat, bool) {
		digits := strings.TrimPrefix(s, "-")
		whole, frac, _ := strings.Cut(digits, ".")
		if whole == "" || len(whole)+len(frac) > 35 || strings.Trim(whole+frac, "0123456789") != "" || strings.HasSuffix(digits, ".") || len(frac) > 30 {
			return nil, false
		}
		return new(big.Rat).SetString(s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, ok := plain(a)
		if !ok {
			return
		}
		y, ok := plain(b)
		if !ok {
			return
		}
		sum, difference, product := new(big.Rat).Add(x, y), new(big.Rat).Sub(x, y), new(big.Rat).Mul(x, y)
		conditions := []string{
			fmt.Sprintf("%s + %s = %s", a, b, sum.FloatString(30)), fmt.Sprintf("%s - %s = %s", a, b, difference.FloatString(30)),
			fmt.Sprintf("sign(%s - %s) = %d", a, b, x.Cmp(y)), fmt.Sprintf("(%s < %s) = %t", a, b, x.Cmp(y) < 0),
		}
		if product.FloatString(30) == product.FloatString(60)[:len(product.FloatString(30))] && len(a)+len(b) < 60 {
			conditions = append(conditions, fmt.Sprintf("abs(%s * %s - (%s)) < 0.0000000000000000000000000001", a, b, product.FloatString(30)))
		}
		for _, condition := range conditions {
			e, err := expression.Parse(condition)
			if err != nil {
				continue // more digits than the parser can hold
			}
			p, err := e.Compile(table(), nil)
			if err != nil {
				continue // more digits than a literal may have
			}
			if ok, err := p.Match(nil); !ok || err != nil {
				t.Errorf("%s: %t, %v", condition, ok, err)
			}
		}
	})
}
