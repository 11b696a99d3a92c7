package column

import "strings"

// JoinElems joins the names of an ENUM or SET for the parameter allowed of a
// schema; a comma within one is escaped.
func JoinElems(elems []string) string {
	escaped := make([]string, len(elems))
	for i, e := range elems {
		escaped[i] = strings.ReplaceAll(e, ",", `\,`)
	}
	return strings.Join(escaped, ",")
}

// SplitElems undoes JoinElems, as far as it can be undone: a backslash at the end
// of a name looks like the escape of the comma behind it.
func SplitElems(allowed string) []string {
	var elems []string
	var name []byte
	for i := 0; i < len(allowed); i++ {
		switch {
		case allowed[i] == '\\' && i+1 < len(allowed) && allowed[i+1] == ',':
			i++
			name = append(name, ',')
		case allowed[i] == ',':
			elems = append(elems, string(name))
			name = name[:0]
		default:
			name = append(name, allowed[i])
		}
	}
	return append(elems, string(name))
}

// Sanitize makes a name that Avro allows: characters other than A to Z, a to z, 0
// to 9 and _ become _, and a leading digit gets a _ in front.
func Sanitize(name string) string {
	var b strings.Builder
	for i, r := range name {
		digit := r >= '0' && r <= '9'
		switch {
		case i == 0 && digit:
			b.WriteByte('_')
			b.WriteRune(r)
		case digit, r == '_', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
			b.WriteRune(r)
		default:
			b.WriteByte('_')
		}
	}
	return b.String()
}
