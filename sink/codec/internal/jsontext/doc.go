// Package jsontext writes and reads the JSON of the text protocols. Writing
// appends to a buffer; reading keeps the order of members, which is the order of
// a table's columns and which maps would lose.
package jsontext
