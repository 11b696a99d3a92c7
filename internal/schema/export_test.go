package schema

// What the tests of unexported functions need.
var (
	HashKey     = hashKey
	FieldKey    = fieldKey
	FieldRange  = fieldRange
	CutField    = cutField
	AppendBytes = appendBytes
	CutBytes    = cutBytes
	PeekTable   = peekTable
)

// Sizes returns how many ids, names and superseded versions are held.
func (s *Storage) Sizes() (ids, names, obsolete int) {
	s.ids.all(func(int64, *chain) { ids++ })
	return ids, len(s.mu.names), len(s.mu.obsolete)
}
