package canalrow

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/codec/internal/column"
)

// maxElems is MySQL's limit for the elements of an ENUM.
const maxElems = 65535

// ParseType returns the column that a message's text of a type describes. Length
// and Decimal are -1, and Elems nil, if the text does not tell.
func ParseType(name, text string) (event.ColumnInfo, error) {
	c := event.ColumnInfo{Name: name, Length: -1, Decimal: -1}
	base, rest := text, ""
	if i := strings.IndexAny(text, "( "); i >= 0 {
		base, rest = text[:i], text[i:]
	}
	if err := column.SetType(&c, base); err != nil {
		return c, err
	}
	if strings.HasPrefix(rest, "(") {
		end := strings.LastIndexByte(rest, ')')
		if end < 0 || !setLength(&c, rest[1:end]) {
			return c, fmt.Errorf("column %s: the type %q is malformed", name, text)
		}
		rest = rest[end+1:]
	}
	for word := range strings.FieldsSeq(rest) {
		switch word {
		case "unsigned":
			c.Flag |= event.FlagUnsigned
		case "zerofill":
			c.Flag |= event.FlagZerofill
		default:
			return c, fmt.Errorf("column %s: the type %q is not known", name, text)
		}
	}
	return c, nil
}

// setLength reads what stands in parentheses behind a type's name.
func setLength(c *event.ColumnInfo, text string) bool {
	if c.Type == event.TypeEnum || c.Type == event.TypeSet {
		var ok bool
		c.Elems, ok = parseElems(text)
		return ok
	}
	length, decimal, two := strings.Cut(text, ",")
	n, err := strconv.ParseUint(strings.TrimSpace(length), 10, 32)
	if err != nil {
		return false
	}
	switch c.Type {
	case event.TypeDatetime, event.TypeTimestamp, event.TypeDuration:
		c.Decimal = int(n)
		return !two && n <= 6
	}
	c.Length = int(n)
	if two {
		n, err = strconv.ParseUint(strings.TrimSpace(decimal), 10, 8)
		c.Decimal = int(n)
	}
	return err == nil
}

// parseElems reads 'a','it”s','b\\'.
func parseElems(text string) (elems []string, ok bool) {
	for len(elems) < maxElems {
		if !strings.HasPrefix(text, "'") {
			return nil, false
		}
		var elem []byte
		i := 1
		for ; i < len(text); i++ {
			if text[i] == '\'' || text[i] == '\\' {
				if i+1 == len(text) || text[i+1] != text[i] {
					break
				}
				i++ // doubled: one of them
			}
			elem = append(elem, text[i])
		}
		if i == len(text) || text[i] != '\'' {
			return nil, false
		}
		elems = append(elems, string(elem))
		if text = text[i+1:]; text == "" {
			return elems, true
		}
		if text[0] != ',' {
			return nil, false
		}
		text = text[1:]
	}
	return nil, false
}
