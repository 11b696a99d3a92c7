package filter

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxRuleLength bounds a rule, in bytes. It leaves room for a regular expression
// that lists hundreds of tables.
const maxRuleLength = 16 << 10

// RuleError says what is wrong with a table rule.
type RuleError struct {
	// Number is the rule's place in the list, from 1.
	Number int
	// Rule is the rule as given.
	Rule string
	// Position is the character at which it goes wrong, from 1.
	Position int
	// Reason says what is wrong and what would be right.
	Reason string
}

// Error names the rule, the position and the reason.
func (e *RuleError) Error() string {
	rule := e.Rule
	const shown = 200
	if len(rule) > shown {
		rule = strings.ToValidUTF8(rule[:shown], "") + "…"
	}
	return fmt.Sprintf("parse filter rule %d %q: character %d: %s", e.Number, rule, e.Position, e.Reason)
}

// rule is one compiled table rule.
type rule struct {
	schema, table pattern
	include       bool // false if it began with !
}

// ruleParser reads one rule from left to right.
type ruleParser struct {
	number        int
	given         string
	text          string // given without the space at its end
	at            int    // the next byte of text
	caseSensitive bool
}

// parseRule reads the rule with the given number. ok is false for a comment or
// an empty rule. Errors are *RuleError.
func parseRule(number int, text string, caseSensitive bool) (r rule, ok bool, err error) {
	p := &ruleParser{number: number, given: text, text: text, caseSensitive: caseSensitive}
	if len(text) > maxRuleLength {
		return r, false, p.errorAt(maxRuleLength, "the rule has %d bytes, more than %d: split it", len(text), maxRuleLength)
	}
	for i, c := range text {
		if c == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)) {
			return r, false, p.errorAt(i, "the rule is not UTF-8")
		}
	}
	const space = " \t\r\n"
	p.at = len(text) - len(strings.TrimLeft(text, space))
	p.text = strings.TrimRight(text, space)
	switch p.next() {
	case end, '#':
		return r, false, nil
	case '@':
		return r, false, p.errorAt(p.at, "rules are not read from files: list them here, or quote a name that begins with @")
	}
	r.include = p.next() != '!'
	if !r.include {
		p.at++
	}
	if r.schema, err = p.pattern("schema"); err != nil {
		return r, false, err
	}
	if p.next() != '.' {
		return r, false, p.errorAt(p.at, `want "." and a table pattern after the schema pattern, such as "db.*"`)
	}
	p.at++
	if r.table, err = p.pattern("table"); err != nil {
		return r, false, err
	}
	if p.next() != end {
		return r, false, p.errorAt(p.at, "unexpected %q after the table pattern: quote a name that has a dot in it", p.text[p.at:])
	}
	return r, true, nil
}

// end is what next returns behind the last byte.
const end = -1

// next returns the next byte, or end.
func (p *ruleParser) next() rune {
	if p.at >= len(p.text) {
		return end
	}
	return rune(p.text[p.at])
}

func (p *ruleParser) errorAt(at int, format string, args ...any) error {
	return &RuleError{
		Number: p.number, Rule: p.given, Position: utf8.RuneCountInString(p.given[:at]) + 1,
		Reason: fmt.Sprintf(format, args...),
	}
}

// pattern reads the pattern of a schema or a table; what is for messages.
func (p *ruleParser) pattern(what string) (pattern, error) {
	switch p.next() {
	case end, '.':
		return pattern{}, p.errorAt(p.at, "want a %s pattern: a name, a quoted name, wildcards or a /regular expression/", what)
	case '/':
		return p.expression()
	case '"', '`':
		return p.quoted()
	}
	return p.wildcards()
}

// expression reads /…/, in which \/ stands for a slash.
func (p *ruleParser) expression() (pattern, error) {
	start := p.at + 1
	stop := start
	for stop < len(p.text) && p.text[stop] != '/' {
		if p.text[stop] == '\\' {
			stop++
		}
		stop++
	}
	if stop >= len(p.text) {
		return pattern{}, p.errorAt(p.at, `the regular expression has no closing "/"`)
	}
	source := p.text[start:stop]
	if source == "" {
		return pattern{}, p.errorAt(p.at, "the regular expression is empty")
	}
	// What is reported is compiled as written, without the flag.
	compiled, err := regexp.Compile(source)
	if err == nil && !p.caseSensitive {
		compiled, err = regexp.Compile("(?i)" + source)
	}
	if err != nil {
		return pattern{}, p.errorAt(start, "%v", err)
	}
	p.at = stop + 1
	return pattern{kind: regular, expression: compiled}, nil
}

// quoted reads a name in double quotes or backquotes.
func (p *ruleParser) quoted() (pattern, error) {
	quote := p.text[p.at : p.at+1]
	var name strings.Builder
	for rest := p.text[p.at+1:]; ; {
		before, after, closed := strings.Cut(rest, quote)
		if !closed {
			return pattern{}, p.errorAt(p.at, "the quoted name has no closing %s", quote)
		}
		name.WriteString(before)
		if !strings.HasPrefix(after, quote) {
			if name.Len() == 0 {
				return pattern{}, p.errorAt(p.at, "the quoted name is empty")
			}
			p.at = len(p.text) - len(after)
			return p.literal(name.String()), nil
		}
		name.WriteString(quote)
		rest = after[1:]
	}
}

func (p *ruleParser) literal(name string) pattern {
	if !p.caseSensitive {
		name = strings.ToLower(name)
	}
	return pattern{kind: literal, text: name}
}

// wildcards reads an unquoted pattern up to a dot or the end.
func (p *ruleParser) wildcards() (pattern, error) {
	var parts []part
	var text strings.Builder // characters that will be the next run
	add := func(next part) {
		if text.Len() > 0 {
			parts = append(parts, part{kind: run, text: p.literal(text.String()).text})
			text.Reset()
		}
		if next.kind == many && len(parts) > 0 && parts[len(parts)-1].kind == many {
			return // ** is *
		}
		parts = append(parts, next)
	}
	for p.next() != '.' && p.next() != end {
		switch c := p.next(); {
		case c == '*':
			add(part{kind: many})
			p.at++
		case c == '?':
			add(part{kind: one})
			p.at++
		case c == '[':
			cl, err := p.class()
			if err != nil {
				return pattern{}, err
			}
			add(part{kind: oneOf, class: cl})
		case c == '\\':
			r, err := p.escaped()
			if err != nil {
				return pattern{}, err
			}
			text.WriteRune(r)
		case c == '$' || c == '_' || isAlphanumeric(c) || c >= utf8.RuneSelf:
			text.WriteByte(byte(c))
			p.at++
		default:
			return pattern{}, p.errorAt(p.at, `unexpected %q: quote the name, or write \ before the character`, c)
		}
	}
	if len(parts) == 0 {
		return p.literal(text.String()), nil
	}
	if text.Len() > 0 {
		parts = append(parts, part{kind: run, text: p.literal(text.String()).text})
	}
	if len(parts) == 1 && parts[0].kind == many {
		return pattern{kind: everything}, nil
	}
	return wildcardPattern(parts), nil
}

// escaped reads a backslash and the character that it makes literal.
func (p *ruleParser) escaped() (rune, error) {
	r, size := utf8.DecodeRuneInString(p.text[p.at+1:])
	if size == 0 {
		return 0, p.errorAt(p.at, `\ stands at the end: write \\ for a backslash`)
	}
	if isAlphanumeric(r) {
		return 0, p.errorAt(p.at, `\%c has no meaning: \ stands before a character that is no letter or digit`, r)
	}
	p.at += 1 + size
	return r, nil
}

// class reads [a-z] or [!a-z].
func (p *ruleParser) class() (class, error) {
	start := p.at
	c := class{foldCase: !p.caseSensitive}
	p.at++
	if p.next() == '!' {
		c.negated = true
		p.at++
	}
	for p.next() != ']' {
		low, err := p.classCharacter(start)
		if err != nil {
			return c, err
		}
		high := low
		// A dash before the closing bracket stands for itself.
		if p.next() == '-' && !strings.HasPrefix(p.text[p.at:], "-]") {
			at := p.at
			p.at++
			if high, err = p.classCharacter(start); err != nil {
				return c, err
			}
			if low > high {
				return c, p.errorAt(at, "the range %c-%c is empty", low, high)
			}
		}
		c.ranges = append(c.ranges, [2]rune{low, high})
	}
	if len(c.ranges) == 0 {
		return c, p.errorAt(start, "the class of characters is empty")
	}
	p.at++
	return c, nil
}

func (p *ruleParser) classCharacter(start int) (rune, error) {
	switch {
	case p.next() == end:
		return 0, p.errorAt(start, `the class of characters has no closing "]"`)
	case p.next() == '\\':
		return p.escaped()
	case strings.HasPrefix(p.text[p.at:], "[:"):
		return 0, p.errorAt(p.at, `"[:" in a class has no meaning: write \[ for a bracket`)
	}
	r, size := utf8.DecodeRuneInString(p.text[p.at:])
	p.at += size
	return r, nil
}

func isAlphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}
