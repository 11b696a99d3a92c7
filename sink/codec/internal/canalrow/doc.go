// Package canalrow is what the protocols of Canal have in common, canal-json and
// canal: the names and Java numbers of column types, the text of values, the
// kinds of DDL, and how to read them back.
package canalrow
