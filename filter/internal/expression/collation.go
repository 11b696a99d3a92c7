package expression

import (
	"strings"
	"unicode/utf8"
)

// collation says how strings compare.
type collation struct {
	name string
	// binary: of bytes, not of characters.
	binary bool
	// pad: spaces at the end do not count.
	pad bool
	// unknown: it cannot be evaluated, so that nothing may depend on it.
	unknown bool
	// weight maps a character to what it is compared by; nil compares bytes,
	// which sorts UTF-8 by character.
	weight func(rune) rune
}

var (
	binaryCollation = collation{name: "binary", binary: true}
	// textCollation is what a session of TiDB starts with.
	textCollation = collation{name: "utf8mb4_bin", pad: true}
)

// collationByName knows the collations that can be evaluated exactly.
func collationByName(name string) (collation, bool) {
	switch name {
	case "binary", "":
		return binaryCollation, true
	case "utf8mb4_bin", "utf8_bin", "utf8mb3_bin", "ascii_bin", "latin1_bin":
		return collation{name: name, pad: true}, true
	case "utf8mb4_0900_bin":
		return collation{name: name}, true
	case "utf8mb4_general_ci", "utf8_general_ci", "utf8mb3_general_ci":
		return collation{name: name, pad: true, weight: generalWeight}, true
	}
	return collation{}, false
}

// strength tells which of two collations wins: the smaller (MySQL: coercibility).
type strength uint8

const (
	explicit  strength = iota // a COLLATE clause
	none                      // of two columns that disagree
	implicit                  // a column
	coercible                 // a literal
	numeric                   // a number or time as text
	ignorable                 // NULL
)

// sharedCollation decides by which collation nodes are compared or joined.
func sharedCollation(nodes ...*node) (c collation, s strength, ok bool) {
	s = ignorable + 1
	for _, n := range nodes {
		nc, ns := n.collation, n.strength
		if n.kind != kindString {
			// Another kind among strings becomes text of the session.
			if nc = textCollation; ns < numeric {
				ns = numeric
			}
		}
		switch {
		case ns < s:
			// Text of a literal or number gives way to a column, and bytes do not
			// give way to text of a lesser strength.
			c, s = nc, ns
		case ns > s || nc.name == c.name:
		case s == explicit:
			return c, s, false
		case c.binary || nc.binary:
			if nc.binary {
				c = nc
			}
		case strings.HasSuffix(c.name, "_bin") != strings.HasSuffix(nc.name, "_bin") && charsetOf(c) == charsetOf(nc):
			if strings.HasSuffix(nc.name, "_bin") {
				c = nc
			}
		default:
			return c, s, false
		}
	}
	for _, n := range nodes {
		// Bytes become text only if they are valid.
		if !c.binary && n.kind == kindString && n.collation.binary && !n.constant {
			return c, s, false
		}
	}
	return c, s, true
}

func charsetOf(c collation) string {
	charset, _, _ := strings.Cut(c.name, "_")
	return charset
}

func (c *collation) trim(s string) string {
	if c.pad {
		for len(s) > 0 && s[len(s)-1] == ' ' {
			s = s[:len(s)-1]
		}
	}
	return s
}

func (c *collation) compare(a, b string) int {
	a, b = c.trim(a), c.trim(b)
	if c.weight == nil {
		return strings.Compare(a, b)
	}
	for len(a) > 0 && len(b) > 0 {
		ra, na := rune(a[0]), 1
		if ra >= utf8.RuneSelf {
			ra, na = utf8.DecodeRuneInString(a)
		}
		rb, nb := rune(b[0]), 1
		if rb >= utf8.RuneSelf {
			rb, nb = utf8.DecodeRuneInString(b)
		}
		if ra != rb {
			if wa, wb := c.weight(ra), c.weight(rb); wa != wb {
				if wa < wb {
					return -1
				}
				return 1
			}
		}
		a, b = a[na:], b[nb:]
	}
	switch {
	case len(a) > 0:
		return 1
	case len(b) > 0:
		return -1
	}
	return 0
}

// next splits the first character off s: a byte of a binary string.
func (c *collation) next(s string) (r rune, size int) {
	if c.binary || s[0] < utf8.RuneSelf {
		return rune(s[0]), 1
	}
	return utf8.DecodeRuneInString(s)
}

// equalRunes reports whether two characters are equal.
func (c *collation) equalRunes(a, b rune) bool {
	return a == b || c.weight != nil && c.weight(a) == c.weight(b)
}

// generalWeight is the weight of a character in utf8mb4_general_ci: an upper
// case letter, mostly without its accent.
func generalWeight(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			return r - ('a' - 'A')
		}
		return r
	}
	if r > 0xffff {
		return utf8.RuneError
	}
	low, high := 0, len(generalWeights)
	for low < high {
		if mid := (low + high) / 2; generalWeights[mid].last < uint16(r) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == len(generalWeights) || uint16(r) < generalWeights[low].first {
		return r
	}
	run := &generalWeights[low]
	if n := (uint16(r) - run.first); run.step > 0 {
		return rune(run.weight) + rune(n/uint16(run.step))*rune(run.advance)
	}
	return rune(run.weight)
}

// weightRun is a run of characters whose weights differ from themselves. The
// weight of the n-th is weight + n/step*advance, or weight if step is 0.
type weightRun struct {
	first, last, weight uint16
	step, advance       uint8
}
