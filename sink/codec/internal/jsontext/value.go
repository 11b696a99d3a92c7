package jsontext

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Value is the text of one JSON value that [Parse] has checked, without space
// around it.
type Value []byte

// Parse checks a JSON text and returns it as a Value, which aliases it. The error
// never quotes the text: it may hold values of rows.
func Parse(text []byte) (Value, error) {
	if !json.Valid(text) {
		return nil, errors.New("not valid JSON")
	}
	return Value(bytes.Trim(text, space)), nil
}

const space = " \t\r\n"

// IsNull reports whether v is null, or not there at all.
func (v Value) IsNull() bool { return len(v) == 0 || v[0] == 'n' }

// IsString reports whether v is a string.
func (v Value) IsString() bool { return len(v) > 0 && v[0] == '"' }

// Bool returns whether v is true.
func (v Value) Bool() bool { return len(v) > 0 && v[0] == 't' }

// Text returns the characters of a string, or else the text of v itself, such as
// the digits of a number.
func (v Value) Text() string {
	if !v.IsString() {
		return string(v)
	}
	inner := string(v[1 : len(v)-1])
	if strings.IndexByte(inner, '\\') < 0 && utf8.ValidString(inner) {
		return inner
	}
	var s string
	_ = json.Unmarshal(v, &s) // a checked string always has a meaning
	return s
}

// Members calls f for each member of an object, in their order, until it returns
// an error, which Members returns. null has no members; other values are an error.
func (v Value) Members(f func(name string, value Value) error) error {
	if v.IsNull() {
		return nil
	}
	if v[0] != '{' {
		return fmt.Errorf("want a JSON object, not %s", v.kind())
	}
	rest := v[1:]
	for {
		rest = bytes.TrimLeft(rest, space+",")
		if rest[0] == '}' {
			return nil
		}
		n := length(rest)
		name := rest[:n]
		rest = bytes.TrimLeft(rest[n:], space+":")
		n = length(rest)
		if err := f(name.Text(), rest[:n:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
}

// Elements calls f for each element of an array; see [Value.Members].
func (v Value) Elements(f func(value Value) error) error {
	if v.IsNull() {
		return nil
	}
	if v[0] != '[' {
		return fmt.Errorf("want a JSON array, not %s", v.kind())
	}
	rest := v[1:]
	for {
		rest = bytes.TrimLeft(rest, space+",")
		if rest[0] == ']' {
			return nil
		}
		n := length(rest)
		if err := f(rest[:n:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
}

// kind names what v is, for errors.
func (v Value) kind() string {
	switch v[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	}
	return "a number"
}

// length returns how long the value is that checked text begins with.
func length(text Value) int {
	depth := 0
	for i := 0; ; i++ {
		switch text[i] {
		case '"':
			i += stringLength(text[i:]) - 1
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		default:
			if depth == 0 {
				return scalarLength(text)
			}
		}
	}
}

func stringLength(text Value) int {
	for i := 1; ; i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// scalarLength is for numbers, booleans and null inside an object or array.
func scalarLength(text Value) int {
	if n := bytes.IndexAny(text, space+",}]"); n >= 0 {
		return n
	}
	return len(text)
}
