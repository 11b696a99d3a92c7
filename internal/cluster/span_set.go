package cluster

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// SpanSet are physical tables, each with a ts. A value in etcd should be small
// (1.5 MiB is the usual limit of a request) and there may be 100,000 tables, so
// the JSON form is a text: base64 of one varint pair per table, by ascending id,
// of the differences to the table before.
type SpanSet map[int64]event.Ts

// MarshalJSON implements json.Marshaler.
func (s SpanSet) MarshalJSON() ([]byte, error) {
	var buf []byte
	var id, ts int64
	for _, next := range slices.Sorted(maps.Keys(s)) {
		buf = binary.AppendUvarint(buf, uint64(next-id))
		buf = binary.AppendVarint(buf, int64(s[next])-ts)
		id, ts = next, int64(s[next])
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(buf))
}

var errSpanSet = errors.New("decode spans: a pair is cut off")

// UnmarshalJSON implements json.Unmarshaler.
func (s *SpanSet) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("decode spans: %w", err)
	}
	buf, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("decode spans: %w", err)
	}
	out := SpanSet{}
	var id, ts int64
	for len(buf) > 0 {
		idStep, n := binary.Uvarint(buf)
		if n <= 0 {
			return errSpanSet
		}
		buf = buf[n:]
		tsStep, n := binary.Varint(buf)
		if n <= 0 {
			return errSpanSet
		}
		buf = buf[n:]
		id, ts = id+int64(idStep), ts+tsStep
		out[id] = event.Ts(ts)
	}
	*s = out
	return nil
}
