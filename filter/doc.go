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
package filter
