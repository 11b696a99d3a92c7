package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// expressions writes random conditions over the columns of filterTable.
type expressions struct{ *rand.Rand }

func (g expressions) pick(list ...string) string { return list[g.IntN(len(list))] }

// filterTable has columns whose names begin with their kind: i integers, d
// exact and f inexact numbers, s text, t dates, c time of day, e and m ENUM and SET.
const filterTable = `CREATE TABLE t (
	pk INT PRIMARY KEY,
	i8 TINYINT, i16 SMALLINT UNSIGNED, i32 INT NOT NULL DEFAULT 0, i64 BIGINT, u64 BIGINT UNSIGNED, yr YEAR, bt BIT(9),
	d2 DECIMAL(10,2), d0 DECIMAL(20,0), d9 DECIMAL(30,15), f4 FLOAT, f8 DOUBLE,
	sb VARCHAR(40), sg VARCHAR(40) COLLATE utf8mb4_general_ci, sx VARBINARY(40), sc CHAR(12), st TEXT COLLATE utf8mb4_general_ci, sn VARCHAR(20),
	td DATE, tt DATETIME(3), t0 DATETIME, ts TIMESTAMP(6) NULL, ti TIME(2), en ENUM('a','B','c d'), st2 SET('x','y','z'),
	js JSON, su VARCHAR(20) COLLATE utf8mb4_unicode_ci,
	vi BIGINT AS (i32 * 2 + 1) VIRTUAL, vs VARCHAR(90) AS (CONCAT(UPPER(sb), '-', i8)) VIRTUAL, gd DECIMAL(12,1) AS (d2 + 1) VIRTUAL
)`

// filterColumns are those that are inserted.
const filterColumns = "pk, i8, i16, i32, i64, u64, yr, bt, d2, d0, d9, f4, f8, sb, sg, sx, sc, st, sn, td, tt, t0, ts, ti, en, st2, js, su"

// row writes the values of a row.
func (g expressions) row(pk int) string {
	null := func(v string) string {
		if g.IntN(8) == 0 {
			return "NULL"
		}
		return v
	}
	date := func() string {
		return fmt.Sprintf("%04d-%02d-%02d", g.pickInt(1999, 2000, 2023, 2024, 2024), 1+g.IntN(12), 1+g.IntN(28))
	}
	clock := func(digits int) string {
		s := fmt.Sprintf("%02d:%02d:%02d", g.IntN(24), g.IntN(60), g.IntN(60))
		if digits > 0 && g.IntN(3) > 0 {
			s += fmt.Sprintf(".%0*d", digits, g.IntN(pow10(digits)))
		}
		return s
	}
	values := []string{
		fmt.Sprint(pk),
		null(fmt.Sprint(g.IntN(256) - 128)), null(fmt.Sprint(g.IntN(65536))), g.pick("0", "1", "-1", fmt.Sprint(g.IntN(200)-100), fmt.Sprint(int32(g.Uint32()))),
		null(g.pick("0", "7", "9223372036854775807", "-9223372036854775808", "9007199254740993", fmt.Sprint(g.Int64N(2000)-1000))),
		null(g.pick("0", "7", "18446744073709551615", "9223372036854775808", fmt.Sprint(g.IntN(1000)))),
		null(g.pick("0", "1999", "2024", "2155", "1901")), null(fmt.Sprint(g.IntN(512))),
		null(g.pick("0", "1.50", "-1.50", "99999999.99", fmt.Sprintf("%.2f", float64(g.IntN(20000)-10000)/100))),
		null(g.pick("0", "12345678901234567890", "-9", fmt.Sprint(g.IntN(300)))),
		null(g.pick("0", "0.000000000000001", "123456789.123456789012345", fmt.Sprintf("%.6f", g.NormFloat64()*100))),
		null(g.pick("0", "1.5", "-2.25", fmt.Sprintf("%.3f", g.NormFloat64()*10))),
		null(g.pick("0", "1e20", "-1e-7", "0.1", "2.5", "-3.5", fmt.Sprint(g.NormFloat64()*1000))),
		null(g.text()), null(g.text()), null(g.text()), null(g.text()), null(g.text()), null(g.numberText()),
		null("'" + date() + "'"), null("'" + date() + " " + clock(3) + "'"), null("'" + date() + " " + clock(0) + "'"),
		null("'" + date() + " " + clock(6) + "'"),
		null("'" + g.pick("", "-") + g.pick("00:00:00", "838:59:59", clock(2)) + "'"),
		null(g.pick("'a'", "'B'", "'c d'")), null(g.pick("''", "'x'", "'x,z'", "'y'", "'x,y,z'")),
		null(g.pick(`'{"a": 1}'`, `'[]'`, `'null'`, `'{"a": "x\\ty\\"\\u00e9", "b c": [1, "abc", {"c": null}, 2.50, []]}'`, `'{"b c": [[3], true], "a": {"b": "中"}}'`, `'"abc"'`)),
		null(g.text()),
	}
	return "(" + strings.Join(values, ", ") + ")"
}

func pow10(n int) int {
	if n == 0 {
		return 1
	}
	return 10 * pow10(n-1)
}

func (g expressions) pickInt(list ...int) int { return list[g.IntN(len(list))] }

func (g expressions) text() string {
	return g.pick("''", "'a'", "'A'", "'b '", "' b'", "'abc'", "'ABC'", "'aBc'", "'á'", "'ß'", "'ss'", "'中文'", "'a%c'", "'a_c'", `'a\\c'`,
		"'12'", "'12abc'", "'-3.5'", "'x,y'", "'aXbXc'", "'😀b'", "'  pad  '", "'É'", "'e'", "'2024-01-02'", "'1e2'")
}

func (g expressions) numberText() string {
	return g.pick("'0'", "'12'", "'12abc'", "' 7 '", "'-3.5'", "'1e2'", "'abc'", "''", "'9007199254740993'", "'.5'", "'+4'", "'0x1F'")
}

// condition writes a condition.
func (g expressions) condition(depth int) string {
	if depth > 0 && g.IntN(2) == 0 {
		a, b := g.condition(depth-1), g.condition(depth-1)
		switch g.IntN(6) {
		case 0, 1:
			return "(" + a + " AND " + b + ")"
		case 2, 3:
			return "(" + a + " OR " + b + ")"
		case 4:
			return "(" + a + " XOR " + b + ")"
		}
		return "NOT (" + a + ")"
	}
	not := g.pick("", "", "NOT ")
	switch g.IntN(14) {
	case 0, 1, 2:
		return g.comparison(g.number(depth), g.number(depth))
	case 3, 4:
		return g.comparison(g.str(depth), g.str(depth))
	case 5:
		return g.comparison(g.moment(depth), g.pick(g.moment(depth), g.momentLiteral()))
	case 6:
		return g.pick(g.comparison(g.number(depth), g.numberText()), g.comparison(g.numberText(), g.number(depth)),
			g.comparison("sn", g.number(depth)), g.comparison("ti", g.pick("'00:00:00'", "'-12:30:00'", "'11:22:33.44'", "ti")),
			g.comparison("en", g.pick("'a'", "'b'", "2", "'c d'", "en")), g.comparison("st2", g.pick("'x'", "'x,z'", "3", "st2")),
			g.comparison("tt", g.pick("20240101", "20230615123000")), g.comparison("yr", g.pick("2024", "1999", "i16", "0")),
			g.comparison("bt", g.pick("5", "i32", "0x10", "b'101'")), g.comparison("i32", "0x1F"))
	case 7:
		n := g.number(depth)
		list := make([]string, 1+g.IntN(6))
		for i := range list {
			list[i] = g.pick(g.numberLiteral(), g.numberLiteral(), g.number(0), "NULL")
			if list[i] == "18446744073709551615" { // this TiDB takes it for the -1 that may stand beside it
				list[i] = "256"
			}
		}
		return n + " " + not + "IN (" + strings.Join(list, ", ") + ")"
	case 8:
		list := make([]string, 1+g.IntN(6))
		for i := range list {
			list[i] = g.text()
		}
		return g.str(depth) + " " + not + "IN (" + strings.Join(list, ", ") + g.pick("", "", ", NULL") + ")"
	case 9:
		return g.pick(
			g.number(depth)+" "+not+"BETWEEN "+g.number(0)+" AND "+g.number(0),
			g.str(depth)+" "+not+"BETWEEN "+g.text()+" AND "+g.text(),
			g.moment(0)+" "+not+"BETWEEN "+g.momentLiteral()+" AND "+g.momentLiteral(),
			"i64 "+not+"BETWEEN "+g.numberText()+" AND "+g.number(0),
			"ti "+not+"BETWEEN '-01:00:00' AND '12:00:00'")
	case 10:
		return g.str(depth) + " " + not + "LIKE " +
			g.pick("'%'", "'a%'", "'%c'", "'%b%'", "'a_c'", "'_'", "'a\\%c'", "'a\\_c'", "'A%'", "'%文'", "''", "'a|%c' ESCAPE '|'", "'%a%c%'", "'__'",
				"'%_'", "'_%_'", "'\\\\%'", "'e'", "sb", "CONCAT('%', sg)", "'12%'")
	case 11:
		return g.pick("sb", "sg", "sc", "st", "LOWER(sb)") + " " + not + "REGEXP " +
			g.pick("'^a'", "'[0-9]+'", "'b$'", "'^(abc|e)$'", "'A'", "'^.$'", "'\\\\.'")
	case 12:
		return g.any(depth) + " IS " + not + g.pick("NULL", "NULL", "TRUE", "FALSE")
	}
	return g.pick(g.number(depth), g.str(depth), "("+g.condition(0)+")", "js IS NULL", "en", "yr", "bt", "td", "tt", "ts", "ti", "vi > 3", "vs LIKE 'A%'", "gd > 1.5",
		"su IS NULL", "LENGTH(su) > 2", "su COLLATE utf8mb4_bin = 'a'", "ISNULL(f8)")
}

func (g expressions) comparison(a, b string) string {
	return a + " " + g.pick("=", "=", "<>", "<", "<=", ">", ">=", "<=>") + " " + b
}

func (g expressions) any(depth int) string {
	return g.pick(g.number(depth), g.str(depth), g.moment(depth), g.condition(0))
}

func (g expressions) numberLiteral() string {
	return g.pick("0", "1", "-1", "2", "7", "12", "100", "-100", "0.5", "1.5", "-1.50", "2.25", "1e2", "1.5e0", "255", "9007199254740993",
		"9223372036854775807", "18446744073709551615", "99999999.99", "0.1", "3", "NULL")
}

// number writes an expression that is a number.
func (g expressions) number(depth int) string {
	if depth <= 0 {
		return g.pick("i8", "i16", "i32", "i64", "u64", "d2", "d0", "d9", "f4", "f8", "vi", g.numberLiteral(), g.numberLiteral())
	}
	a, b := g.number(depth-1), g.number(depth-1)
	n := fmt.Sprint(g.IntN(5) - 1)
	switch g.IntN(34) {
	case 0, 1, 2:
		return "(" + a + " " + g.pick("+", "-", "*") + " " + b + ")"
	case 3:
		return "(" + a + " / " + b + ")"
	case 4:
		return "(" + a + " % " + b + ")"
	case 5:
		return "(" + g.pick("i8", "i16", "i32", "i64", "u64", "d2") + " DIV " + g.pick("2", "3", "-7", "i8", "d2") + ")"
	case 6:
		return "(-" + a + ")"
	case 7:
		return "ABS(" + a + ")"
	case 8:
		return g.pick("CEIL", "FLOOR") + "(" + a + ")"
	case 9:
		return g.pick("ROUND", "TRUNCATE") + "(" + a + ", " + n + ")"
	case 10:
		return "ROUND(" + a + ")"
	case 11:
		return g.pick("SIGN", "SQRT") + "(" + a + ")"
	case 12:
		return g.pick("IF", "IF", "IF") + "(" + g.condition(0) + ", " + a + ", " + b + ")"
	case 13:
		return "IFNULL(" + a + ", " + b + ")"
	case 14:
		return "COALESCE(" + a + ", " + b + ", " + g.number(0) + ")"
	case 15:
		return "NULLIF(" + a + ", " + b + ")"
	case 16:
		return "CASE WHEN " + g.condition(0) + " THEN " + a + " WHEN " + g.condition(0) + " THEN " + b + g.pick("", " ELSE "+g.number(0)) + " END"
	case 17:
		return "CASE " + a + " WHEN " + g.number(0) + " THEN " + b + " ELSE " + g.number(0) + " END"
	case 18:
		return "CAST(" + a + " AS " + g.pick("SIGNED", "UNSIGNED", "DECIMAL(12,2)", "DECIMAL(20,6)", "DOUBLE") + ")"
	case 19:
		return "CAST(" + g.pick("sb", "sn", "sg") + " AS " + g.pick("SIGNED", "UNSIGNED", "DECIMAL(12,2)", "DOUBLE") + ")"
	case 20:
		return g.pick("LENGTH", "CHAR_LENGTH", "BIT_LENGTH", "ASCII", "CRC32") + "(" + g.str(depth-1) + ")"
	case 21:
		return "LOCATE(" + g.text() + ", " + g.str(depth-1) + ")"
	case 22:
		return "INSTR(" + g.pick("sb", "sc", "sx", "sg") + ", " + g.text() + ")"
	case 23:
		// Of several equal members this TiDB takes now the first, now the last.
		return "(FIND_IN_SET(" + g.text() + ", " + g.str(depth-1) + ") > 0)"
	case 24:
		return "STRCMP(" + g.str(depth-1) + ", " + g.text() + ")"
	case 25:
		return "FIELD(" + g.str(0) + ", " + g.text() + ", " + g.text() + ")"
	case 26, 27:
		return g.pick("YEAR", "MONTH", "DAY", "QUARTER", "DAYOFWEEK", "DAYOFYEAR", "WEEKDAY", "TO_DAYS", "HOUR", "MINUTE", "SECOND", "MICROSECOND",
			"UNIX_TIMESTAMP") + "(" + g.moment(depth-1) + ")"
	case 28:
		return "DATEDIFF(" + g.moment(depth-1) + ", " + g.pick(g.moment(0), "'2024-01-15'") + ")"
	case 29:
		return "TIMESTAMPDIFF(" + g.pick("YEAR", "MONTH", "QUARTER", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND", "MICROSECOND") + ", " + g.moment(0) + ", " + g.moment(0) + ")"
	case 30:
		return g.pick("EXTRACT(YEAR FROM tt)", "EXTRACT(HOUR FROM ti)", "HOUR(ti)", "SECOND(ti)", "(td + 0)", "(tt + 0)", "(t0 - 1)", "CAST(tt AS SIGNED)", "(ti + 0)", "(-ti)")
	case 31:
		return "(" + g.pick("i8", "i16", "i32", "u64", "bt", "yr") + " " + g.pick("&", "|", "^", "<<", ">>") + " " + g.pick("1", "3", "i8", "255") + ")"
	case 32:
		return g.pick("GREATEST", "LEAST") + "(" + g.pick("i8, i32, 5", "d2, d9, 1.5", "f4, f8", "i32, d2", "u64, i16") + ")"
	}
	return g.pick("(sn + 0)", "(sn * 2)", "(~i8)", "(en + 0)", "(st2 + 0)", "MOD("+a+", 7)", "POW(i8, 2)", "(yr - 2000)", "(sb + 1)", "(i32 + 0x10)")
}

// str writes an expression that is text.
func (g expressions) str(depth int) string {
	if depth <= 0 {
		return g.pick("sb", "sb", "sg", "sg", "sx", "sc", "st", "sn", "vs", "en", "st2", g.text(),
			g.pick("js->>'$.a'", "js->>'$'", `js->>'$."b c"[1]'`, `js->>'$."b c"[2].c'`, `js->>'$."b c"[3]'`, "js->>'$.a.b'", "js->>'$[0]'", `js->>'$."b c"[0][0]'`))
	}
	a := g.str(depth - 1)
	switch g.IntN(20) {
	case 0:
		return g.pick("LOWER", "UPPER", "REVERSE", "TRIM", "LTRIM", "RTRIM", "HEX") + "(" + a + ")"
	case 1:
		return "CONCAT(" + a + ", " + g.str(depth-1) + ")"
	case 2:
		return "CONCAT_WS(',', " + a + ", " + g.text() + ", " + g.str(0) + ")"
	case 3:
		return g.pick("LEFT", "RIGHT") + "(" + a + ", " + g.pick("1", "2", "0", "-1", "100", "i8") + ")"
	case 4:
		return "SUBSTRING(" + a + ", " + g.pick("1", "2", "-1", "-2", "0", "9", "i8") + g.pick("", ", 1", ", 2", ", 0", ", 50") + ")"
	case 5:
		return "SUBSTRING_INDEX(" + a + ", " + g.pick("'X'", "','", "'b'", "' '") + ", " + g.pick("1", "2", "-1", "-2", "0") + ")"
	case 6:
		return "REPLACE(" + a + ", " + g.text() + ", " + g.text() + ")"
	case 7:
		return g.pick("LPAD", "RPAD") + "(" + a + ", " + g.pick("3", "6", "0") + ", " + g.pick("'x'", "'yz'", "'中'") + ")"
	case 8:
		return "TRIM(" + g.pick("LEADING", "TRAILING", "BOTH") + " " + g.pick("'a'", "' '", "'x'") + " FROM " + a + ")"
	case 9:
		return "IF(" + g.condition(0) + ", " + a + ", " + g.str(depth-1) + ")"
	case 10:
		return "IFNULL(" + a + ", " + g.text() + ")"
	case 11:
		return "COALESCE(" + a + ", " + g.str(depth-1) + ", 'zz')"
	case 12:
		return "CASE WHEN " + g.condition(0) + " THEN " + a + " ELSE " + g.text() + " END"
	case 13:
		return "CAST(" + g.pick("i8", "i64", "u64", "d2", "d9", "f8", "f4", "td", "tt", "ts", "ti", "sb", "yr", a) + " AS " + g.pick("CHAR", "CHAR", "CHAR(3)", "BINARY", "CHAR(40)") + ")"
	case 14:
		return "CONCAT(" + g.pick("i8", "d2", "td", "tt", "u64", "(d2 + 1)", "(i8 * 2)", "vi") + ", " + g.text() + ")"
	case 15:
		return g.pick("sb", "sg", "sc", "st") + " COLLATE " + g.pick("utf8mb4_bin", "utf8mb4_general_ci")
	case 16:
		return "DATE_FORMAT(" + g.moment(0) + ", " + g.pick("'%Y-%m'", "'%d/%c %H:%i:%s'", "'%y%e%k.%f'", "'%T %%'") + ")"
	case 17:
		return "HEX(" + g.pick("i8", "u64", "i32", "d2", "f8") + ")"
	case 18:
		return "NULLIF(" + a + ", " + g.text() + ")"
	}
	return g.pick("LEAST(sb, sc)", "GREATEST(sg, st)", "IFNULL(en, 'none')", "IFNULL(i8, 'none')", "IF(i8 > 0, 'pos', i8)", "BINARY sb", "IFNULL(tt, 'x')")
}

func (g expressions) momentLiteral() string {
	return g.pick("'2024-01-02'", "'2023-06-15 12:30:00'", "'2000-02-29'", "'2024-01-02 03:04:05.678'", "DATE '2024-02-03'", "TIMESTAMP '2023-12-31 23:59:59'",
		"'20240101'", "'2024-1-2'")
}

// moment writes an expression that is a date, with or without a time of day.
func (g expressions) moment(depth int) string {
	if depth <= 0 {
		return g.pick("td", "tt", "t0", "ts")
	}
	a := g.moment(depth - 1)
	switch g.IntN(8) {
	case 0, 1:
		return g.pick("DATE_ADD", "DATE_SUB") + "(" + a + ", INTERVAL " + g.pick("1", "-3", "i8", "100", "0") + " " +
			g.pick("YEAR", "MONTH", "QUARTER", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND", "MICROSECOND") + ")"
	case 2:
		return "(" + a + " + INTERVAL " + g.pick("1", "i8") + " " + g.pick("MONTH", "DAY", "HOUR") + ")"
	case 3:
		return g.pick("DATE", "LAST_DAY") + "(" + a + ")"
	case 4:
		return "IFNULL(" + a + ", " + g.moment(0) + ")"
	case 5:
		return "CAST(" + a + " AS " + g.pick("DATE", "DATETIME", "DATETIME(3)", "DATETIME(1)") + ")"
	case 6:
		return "IF(" + g.condition(0) + ", " + a + ", " + g.moment(0) + ")"
	}
	return a
}
