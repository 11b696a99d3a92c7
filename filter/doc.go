// Package filter decides which tables, rows and DDL a changefeed delivers. It
// can be used alone.
//
// # Table rules
//
// [Config.Rules] is a list in TiDB's table filter grammar. A rule is a schema
// pattern, a dot and a table pattern; the last rule that matches a table decides,
// and a table that none matches is left out.
//
//	*.*              every table
//	!test.tmp_*      not these: a leading ! turns a rule round
//	shop.order[0-9]  one character of a class; [!0-9] is one outside of it
//	log.day_??       ? is any one character, * any run of them
//	/^user[0-9]+$/.* a regular expression, which need not match the whole name
//	`a.b`."c""d"     quoted names, taken literally, the quote doubled inside
//	a\-b.t           \ makes the next character literal, if not a letter or digit
//	# old shards     a comment
//
// Outside of quotes and regular expressions a name is made of letters, digits,
// $, _ and anything beyond ASCII. The form @path, which reads rules from a file,
// is refused: whoever may send rules could read files of the server with it.
//
// Case matters only if [Config.CaseSensitive] is set. System schemas, such as
// mysql and information_schema, are never delivered.
//
// # Event filters
//
// An [EventFilter] leaves out events of the tables that its matcher, a list of
// table rules, includes: rows or DDL of some kinds ([EventNames]), DDL by their
// text, updates that change only some columns, and rows by their values. What
// follows is the order in which [Filter.Row] looks; the first that applies drops
// the row:
//
//	the start ts of its transaction
//	the table rules
//	ignore-event, of every event filter whose matcher includes the table
//	ignore-update-only-columns
//	the value expressions
//
// DDL are discarded, ignored or delivered, see [Verdict].
//
// # Value expressions
//
// A value expression is what stands in a WHERE clause, over the columns of a
// row, virtual generated ones too. A row for which it is true is left out; NULL
// is not true. It means what it means to TiDB: kinds of operands are converted
// by MySQL's rules, strings compare by their collation, a TIMESTAMP is seen in
// [Config.TimeZone].
//
//	= <> < <= > >= <=>   IN   BETWEEN   IS NULL   IS TRUE   IS FALSE
//	AND OR XOR NOT   LIKE … ESCAPE   REGEXP   + - * / DIV %   & | ^ ~ << >>
//	CASE IF IFNULL NULLIF COALESCE ISNULL GREATEST LEAST
//	CAST CONVERT BINARY: SIGNED UNSIGNED DECIMAL DOUBLE CHAR BINARY DATE DATETIME TIME
//	ABS CEIL FLOOR ROUND TRUNCATE SIGN SQRT POW MOD CRC32
//	CONCAT CONCAT_WS LENGTH CHAR_LENGTH LOWER UPPER LEFT RIGHT SUBSTRING SUBSTRING_INDEX
//	TRIM LTRIM RTRIM LPAD RPAD REPLACE REVERSE LOCATE INSTR FIND_IN_SET FIELD STRCMP HEX ASCII
//	YEAR QUARTER MONTH DAY DAYOFWEEK DAYOFYEAR WEEKDAY HOUR MINUTE SECOND MICROSECOND EXTRACT
//	DATE DATEDIFF DATE_ADD DATE_SUB TIMESTAMPDIFF LAST_DAY TO_DAYS DATE_FORMAT UNIX_TIMESTAMP
//
// What cannot be evaluated exactly as TiDB does is refused, never guessed, with
// its place in the expression:
//
//   - functions that do not depend on the row alone, such as NOW, subqueries, variables
//   - strings in other collations than binary, …_bin and utf8mb4_general_ci, unless COLLATE stands behind them
//   - JSON and VECTOR columns, except in IS NULL and, of JSON, column->>'$.path'
//   - strings that are not literals where a date or a time of day is wanted
//   - where versions of TiDB differ
//
// New refuses what is wrong with any table; what is wrong with one table is an
// error of [Filter.Check] and of Row for its rows. Expressions are compiled once
// for every version of a table, so that a column that was dropped is found when
// the version changes.
package filter
