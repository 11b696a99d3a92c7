package event

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Span is a half-open range [Start, End) of raw TiKV keys (not
// memcomparable-encoded). An empty End means "to the end of the key space".
type Span struct {
	// TableID is the physical table (a table or one partition) whose rows the
	// span covers, or 0 if it covers something else.
	TableID    int64
	Start, End []byte
}

// TableSpan returns the span that covers all rows, and no index entries, of a
// physical table.
func TableSpan(physicalID int64) Span {
	return Span{
		TableID: physicalID,
		Start:   append(tablePrefix(physicalID), '_', 'r'),
		End:     append(tablePrefix(physicalID), '_', 's'),
	}
}

// tablePrefix returns t{id}: TiDB's key prefix of everything in a table.
func tablePrefix(id int64) []byte {
	b := make([]byte, 0, 11)
	b = append(b, 't')
	return binary.BigEndian.AppendUint64(b, uint64(id)^(1<<63))
}

// Contains reports whether the raw key lies in the span.
func (s Span) Contains(key []byte) bool {
	return bytes.Compare(key, s.Start) >= 0 && (len(s.End) == 0 || bytes.Compare(key, s.End) < 0)
}

// String names the table, or the keys in hex.
func (s Span) String() string {
	if s.TableID != 0 {
		return fmt.Sprintf("table %d", s.TableID)
	}
	return fmt.Sprintf("[%x, %x)", s.Start, s.End)
}
