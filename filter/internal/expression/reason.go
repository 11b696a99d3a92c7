package expression

import "errors"

// Why an expression is refused, and what to write instead.
var (
	errJSONValue    = errors.New("of a JSON or VECTOR column, only IS NULL and column->>'$.path' can be taken")
	errBitText      = errors.New("a BIT column is a number: write CAST(… AS UNSIGNED)")
	errDigits       = errors.New("how many digits this shows is uncertain: write CAST(… AS DECIMAL(m,n))")
	errTimeText     = errors.New("only literal strings become dates or times of day here: compare with a column of such a type, or as text")
	errTextOnly     = errors.New("this is the name of an ENUM or SET element, not a number: write CAST(… AS CHAR), or the column + 0")
	errRounded      = errors.New("CAST(… AS DECIMAL) among floats is not exact: write ROUND(…, n)")
	errRange        = errors.New("the number is out of range")
	errDateLiteral  = errors.New("not a date: write 'YYYY-MM-DD' or 'YYYY-MM-DD hh:mm:ss.ffffff'")
	errTimeLiteral  = errors.New("not a time of day: write 'hh:mm:ss.ffffff'")
	errMixedTime    = errors.New("a TIME and a date or number cannot be compared: take HOUR(), MINUTE() or SECOND() of it")
	errCollation    = errors.New("the strings have different collations, or are text and bytes: write COLLATE behind one, or CAST(… AS BINARY)")
	errUnknownBits  = errors.New("a string and a BIT cannot be compared: compare numbers")
	errYearText     = errors.New("compare a YEAR with a number of four digits")
	errTies         = errors.New("of strings that differ and are equal, which one is the least or greatest depends on the version of TiDB: compare with each, or CAST them AS BINARY")
	errMixedResults = errors.New("the results are of kinds that cannot be mixed here: CAST them to one")
	errConstant     = errors.New("this argument must be a literal")
)

func errUnknownCollation(name string) error {
	return errors.New("strings of collation " + name +
		" cannot be compared exactly here: write COLLATE utf8mb4_bin or COLLATE utf8mb4_general_ci behind the column, or compare CAST(… AS BINARY)")
}
