package expression

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

var (
	errJSONPath = errors.New(`of JSON, only column->>'$.path' can be taken, which is text: a path is made of .name, ."any name" and [0]`)
	errJSONKey  = errors.New("a name with quotes, backslashes or control characters is not known in a path here")
)

// jsonStep is one step of a path: a key as JSON prints it, or an index.
type jsonStep struct {
	key   string
	index int
}

// jsonText compiles column->>'$.path', which the parser reads as
// JSON_UNQUOTE(JSON_EXTRACT(column, '$.path')): NULL if the path leads nowhere,
// what is inside the quotes of a string, and the JSON of anything else.
func (c *compiler) jsonText(e *ast.FuncCallExpr) (*node, error) {
	call, ok := e.Args[0].(*ast.FuncCallExpr)
	if !ok || call.FnName.L != ast.JSONExtract || len(call.Args) != 2 {
		return nil, errJSONPath
	}
	n, err := c.compile(call.Args[0])
	if err != nil {
		return nil, err
	}
	path, ok := call.Args[1].(ast.ValueExpr)
	if !ok || !n.column || n.tp != event.TypeJSON {
		return nil, errJSONPath
	}
	steps, err := parsePath(path.GetString())
	if err != nil {
		return nil, err
	}
	offset := n.offset
	return newString(textCollation, coercible, func(m *machine) (string, bool) {
		v := &m.row[offset]
		if v.IsNull() {
			return "", false
		}
		start := len(m.buf)
		m.buf = v.AppendText(m.buf)
		doc := m.buf[start:]
		for i := range steps {
			var found bool
			if doc, found = steps[i].walk(doc); !found {
				return "", false
			}
		}
		if doc[0] != '"' {
			return bytesText(doc), true
		}
		doc = doc[1 : len(doc)-1]
		if bytes.IndexByte(doc, '\\') < 0 {
			return bytesText(doc), true
		}
		start = len(m.buf)
		m.buf = appendUnescaped(m.buf, doc)
		return m.made(start), true
	}), nil
}

// parsePath reads a path without wildcards.
func parsePath(path string) ([]jsonStep, error) {
	rest, ok := strings.CutPrefix(path, "$")
	if !ok {
		return nil, errJSONPath
	}
	var steps []jsonStep
	for rest != "" {
		var key, index string
		switch {
		case strings.HasPrefix(rest, `."`):
			if key, rest, ok = strings.Cut(rest[2:], `"`); !ok {
				return nil, errJSONPath
			}
		case rest[0] == '.':
			end := 1
			for end < len(rest) && isName(rest[end], end > 1) {
				end++
			}
			if key, rest = rest[1:end], rest[end:]; key == "" {
				return nil, errJSONPath
			}
		case rest[0] == '[':
			if index, rest, ok = strings.Cut(rest[1:], "]"); !ok {
				return nil, errJSONPath
			}
			i, err := strconv.ParseUint(index, 10, 31)
			if err != nil {
				return nil, errJSONPath
			}
			steps = append(steps, jsonStep{index: int(i)})
			continue
		default:
			return nil, errJSONPath
		}
		if strings.ContainsFunc(key, func(r rune) bool {
			return r < ' ' || r == '"' || r == '\\' || r == '\u2028' || r == '\u2029' || r == utf8.RuneError
		}) {
			return nil, errJSONKey
		}
		steps = append(steps, jsonStep{key: `"` + key + `"`})
	}
	return steps, nil
}

func isName(c byte, inside bool) bool {
	return c == '_' || c == '$' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || inside && '0' <= c && c <= '9'
}

// walk finds a member of an object or an element of an array in a document as
// event.Value prints it: ", " between them and ": " behind keys. A value that is
// no array is its own first element.
func (s *jsonStep) walk(doc []byte) ([]byte, bool) {
	open := byte('[')
	if s.key != "" {
		open = '{'
	}
	if doc[0] != open {
		return doc, s.key == "" && s.index == 0
	}
	if len(doc) == 2 {
		return nil, false
	}
	rest := doc[1:]
	for i := 0; ; i++ {
		found := s.key == "" && i == s.index
		if s.key != "" {
			end := skipJSON(rest)
			found = string(rest[:end]) == s.key
			rest = rest[end+len(": "):]
		}
		end := skipJSON(rest)
		if found {
			return rest[:end], true
		}
		if rest[end] != ',' {
			return nil, false
		}
		rest = rest[end+len(", "):]
	}
}

// skipJSON returns the length of the value that b begins with.
func skipJSON(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

// appendUnescaped appends the text of a string in which there are escapes.
func appendUnescaped(dst, s []byte) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			dst = append(dst, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'u':
			r, n := unescapedRune(s[i+1:])
			dst = utf8.AppendRune(dst, r)
			i += n
		default:
			dst = append(dst, s[i])
		}
	}
	return dst
}

// unescapedRune reads the digits behind \u, and those of a second surrogate.
func unescapedRune(s []byte) (r rune, n int) {
	r = hexRune(s)
	if utf16.IsSurrogate(r) && len(s) >= 10 && s[4] == '\\' && s[5] == 'u' {
		if both := utf16.DecodeRune(r, hexRune(s[6:])); both != utf8.RuneError {
			return both, 10
		}
	}
	return r, min(4, len(s))
}

func hexRune(s []byte) (r rune) {
	for _, c := range s[:min(4, len(s))] {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		}
	}
	return r
}
