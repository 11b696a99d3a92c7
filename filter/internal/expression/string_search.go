package expression

import (
	"errors"
	"strings"
)

func instr(a []*node) (*node, error) { return locate(a[1], a[0]) }

// locate compiles LOCATE: where a string stands in another, from 1, or 0.
func locate(a, b *node) (*node, error) {
	c, _, err := collationOf(a, b)
	if err != nil {
		return nil, err
	}
	if c.weight != nil {
		// Some versions of TiDB compare letters in lower case instead, with accents.
		return nil, errors.New("LOCATE and INSTR are not exact with this collation: write COLLATE utf8mb4_bin, or LIKE")
	}
	s, err := texts([]*node{a, b})
	if err != nil {
		return nil, err
	}
	f, g := s[0].strings, s[1].strings
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		if !ok {
			return 0, false
		}
		in, ok := g(m)
		i := strings.Index(in, v)
		if i < 0 {
			return 0, ok
		}
		return c.count(in[:i]) + 1, ok
	}), s...)
}

func findInSet(a []*node) (*node, error) {
	c, _, err := collationOf(a...)
	if err != nil {
		return nil, err
	}
	s, err := texts(a)
	if err != nil {
		return nil, err
	}
	f, g := s[0].strings, s[1].strings
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := f(m)
		if !ok {
			return 0, false
		}
		list, ok := g(m)
		if !ok || list == "" {
			return 0, ok
		}
		for i := int64(1); ; i++ {
			item, rest, more := strings.Cut(list, ",")
			if c.compare(v, item) == 0 {
				return i, true
			}
			if !more {
				return 0, true
			}
			list = rest
		}
	}), s...)
}

// field compiles FIELD: which of the others the first string or integer is.
func field(a []*node) (*node, error) {
	k := a[0].kind
	for _, n := range a {
		if n.kind != k || k != kindString && k != kindInt || n.hybrid() || n.unsigned != a[0].unsigned && k == kindInt {
			return nil, errMixedResults
		}
	}
	var equals []func(*machine) (int64, bool)
	for _, n := range a[1:] {
		eq, err := compareAs(k, equal, false, a[0], n)
		if err != nil {
			return nil, err
		}
		equals = append(equals, eq.ints)
	}
	return fold(newInt(func(m *machine) (int64, bool) {
		for i, eq := range equals {
			if v, ok := eq(m); ok && v != 0 {
				return int64(i) + 1, true
			}
		}
		return 0, true
	}), a...)
}

func strcmp(a []*node) (*node, error) {
	c, _, err := collationOf(a...)
	if err != nil {
		return nil, err
	}
	s, err := texts(a)
	if err != nil {
		return nil, err
	}
	result := comparing(s[0].strings, s[1].strings, c.compare)
	return fold(newInt(func(m *machine) (int64, bool) {
		v, ok := result(m)
		return int64(v), ok
	}), s...)
}
