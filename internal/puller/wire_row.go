package puller

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// row is a Row of an event. Its bytes are positions in the event's payload: a
// slice of rows is filled for every event, and without pointers neither the
// collector nor its write barriers have to do with it.
type row struct {
	startTs, commitTs event.Ts
	generation        uint64
	key, value, old   section
	typ               cdcpb.Event_LogType
	op                event.Op // zero: one this client does not know
	hash              uint32   // of PREWRITE, COMMIT and ROLLBACK, set by the matcher
}

// section is a part of a payload. Payloads are below maxMessageSize.
type section struct{ start, end uint32 }

func (s section) of(payload []byte) []byte { return payload[s.start:s.end] }

// size returns the bytes of key, value and old value.
func (r *row) size() int {
	return int(r.key.end - r.key.start + r.value.end - r.value.start + r.old.end - r.old.start)
}

// The tags of Row's fields: number<<3 | wire type.
const (
	tagStartTs    = 1<<3 | uint64(protowire.VarintType)
	tagCommitTs   = 2<<3 | uint64(protowire.VarintType)
	tagType       = 3<<3 | uint64(protowire.VarintType)
	tagOp         = 4<<3 | uint64(protowire.VarintType)
	tagKey        = 5<<3 | uint64(protowire.BytesType)
	tagValue      = 6<<3 | uint64(protowire.BytesType)
	tagOldValue   = 7<<3 | uint64(protowire.BytesType)
	tagGeneration = 10<<3 | uint64(protowire.VarintType)

	tagEntry = 1<<3 | uint64(protowire.BytesType) // of Entries
)

// Fields of Row that are not read, and the highest number.
const (
	expireTsField  = 8
	txnSourceField = 9
	lastRowField   = 10
)

// decodeRows appends the rows of an event's payload, an Entries message.
func decodeRows(rows []row, payload []byte) ([]row, error) {
	if uint64(len(payload)) > math.MaxUint32 {
		return rows, fmt.Errorf("rows of %d bytes exceed the limit of a message", len(payload))
	}
	for at := 0; at < len(payload); {
		if payload[at] != byte(tagEntry) {
			f, rest, err := nextField(payload[at:])
			if err != nil {
				return rows, err
			}
			if f.num == 1 {
				if err := f.expect(protowire.BytesType); err != nil {
					return rows, err
				}
				// The tag is written in a longer form than it need be.
				end := len(payload) - len(rest)
				rows = append(rows, row{})
				if err := rows[len(rows)-1].decode(payload[:end], end-len(f.bytes)); err != nil {
					return rows, err
				}
			}
			at = len(payload) - len(rest)
			continue
		}
		size, n := uvarint(payload[at+1:])
		at += 1 + n
		if n == 0 || size > uint64(len(payload)-at) {
			return rows, errTruncated
		}
		end := at + int(size)
		rows = append(rows, row{})
		if err := rows[len(rows)-1].decode(payload[:end], at); err != nil {
			return rows, err
		}
		at = end
	}
	return rows, nil
}

// decode reads the row that begins at a position of the payload and is its rest.
func (r *row) decode(payload []byte, at int) error {
	for at = r.decodeTs(payload, at); at < len(payload); {
		tag, n := uvarint(payload[at:])
		if n == 0 {
			return errTruncated
		}
		v, m := uint64(0), 0
		if typ := protowire.Type(tag & 7); typ == protowire.VarintType || typ == protowire.BytesType {
			if v, m = uvarint(payload[at+n:]); m == 0 {
				return errTruncated
			}
		}
		next := at + n + m // behind a varint, or before the bytes
		switch tag {
		case tagStartTs:
			r.startTs = event.Ts(v)
		case tagCommitTs:
			r.commitTs = event.Ts(v)
		case tagType:
			r.typ = cdcpb.Event_LogType(v) //nolint:gosec // an enum is what its low 32 bits say
		case tagOp:
			r.op = opOf(cdcpb.Event_Row_OpType(v)) //nolint:gosec // likewise
		case tagGeneration:
			r.generation = v
		case tagKey, tagValue, tagOldValue:
			if v > uint64(len(payload)-next) {
				return errTruncated
			}
			s := section{uint32(next), uint32(next) + uint32(v)} //nolint:gosec // see decodeRows
			next += int(v)                                       //nolint:gosec // checked above
			switch tag {
			case tagKey:
				r.key = s
			case tagValue:
				r.value = s
			default:
				r.old = s
			}
		default:
			var err error
			if next, err = skipRowField(payload, at); err != nil {
				return err
			}
		}
		at = next
	}
	return nil
}

// decodeTs reads the timestamps that a row begins with, in the form that stores
// write them, and returns the position behind them: a quarter of the time of a row
// if it were done field by field and byte by byte.
func (r *row) decodeTs(payload []byte, at int) int {
	const field = 1 + 9 // a tag, and what a TSO from 1978 to 3084 takes
	if b := payload[at:]; len(b) >= field && b[0] == byte(tagStartTs) && isUvarint9(b[1:field]) {
		r.startTs = event.Ts(uvarint9(b[1:field]))
		at += field
	}
	if b := payload[at:]; len(b) >= field && b[0] == byte(tagCommitTs) && isUvarint9(b[1:field]) {
		r.commitTs = event.Ts(uvarint9(b[1:field]))
		at += field
	}
	return at
}

// isUvarint9 reports whether b, of nine bytes, is one varint.
func isUvarint9(b []byte) bool {
	const more = 0x8080808080808080
	return binary.LittleEndian.Uint64(b)&more == more && b[8] < 0x80
}

// uvarint9 decodes it, pairs of groups of bits at a time.
func uvarint9(b []byte) uint64 {
	x := binary.LittleEndian.Uint64(b)
	x = x&0x007f007f007f007f | x&0x7f007f007f007f00>>1
	x = x&0x00003fff00003fff | x&0x3fff00003fff0000>>2
	x = x&0x000000000fffffff | x&0x0fffffff00000000>>4
	return x | uint64(b[8])<<56
}

// skipRowField returns the position behind a field that is of no interest.
func skipRowField(payload []byte, at int) (next int, err error) {
	f, rest, err := nextField(payload[at:])
	if err != nil {
		return 0, err
	}
	unused := f.num == expireTsField || f.num == txnSourceField
	if f.num <= lastRowField && (!unused || f.typ != protowire.VarintType) {
		return 0, fmt.Errorf("field %d of a row has wire type %d", f.num, f.typ)
	}
	return len(payload) - len(rest), nil
}

// uvarint decodes a varint. It returns 0 for n if there is none. The first byte is
// looked at here, where the compiler can inline it: most varints have one.
func uvarint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return longUvarint(b)
}

func longUvarint(b []byte) (v uint64, n int) {
	const longest = 10
	for i, c := range b[:min(len(b), longest)] {
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// opOf returns zero for an operation this client does not know.
func opOf(op cdcpb.Event_Row_OpType) event.Op {
	switch op {
	case cdcpb.Event_Row_PUT:
		return event.OpPut
	case cdcpb.Event_Row_DELETE:
		return event.OpDelete
	}
	return 0
}
