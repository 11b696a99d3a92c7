package kafka

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// The size of a record batch (message format 2) without its records, and the most
// that a record adds to its key and value, as TiCDC counts it too.
// See https://kafka.apache.org/documentation/#recordbatch.
const (
	batchOverhead  = 61
	recordOverhead = 36
)

// Offsets in a record batch.
const (
	offsetOfLength     = 8
	offsetOfMagic      = 16
	offsetOfCRC        = 17
	offsetOfAttributes = 21
	offsetOfRecords    = 61
)

const transactionalBit = 0x10

// producerState is what makes a broker accept each batch of a producer once and in
// order: its id and epoch, and the number of its next record in a partition.
type producerState struct {
	id       int64 // -1 if it is not known yet, or there is none
	epoch    int16
	sequence int32
}

// advance counts n records that have been written. Sequence numbers begin again
// at 0 after the largest.
func (s *producerState) advance(n int) {
	s.sequence = int32((int64(s.sequence) + int64(n)) & 0x7fffffff)
}

// run is a part of a Messages: those in [from, to).
type run struct {
	messages *codec.Messages
	from, to int
}

// batchBuilder makes record batches. It keeps its memory; it is not safe for
// concurrent use.
type batchBuilder struct {
	records []byte // uncompressed, if they will be compressed
}

// append appends a record batch of all messages in runs to dst, preceded by its
// size in four bytes, as a produce request has it.
func (b *batchBuilder) append(dst []byte, runs []run, s producerState, transactional bool, c kafka.Compression) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, 4+offsetOfRecords)...)
	count := 0
	var err error
	if c == 0 {
		dst, count = appendRecords(dst, runs)
	} else {
		b.records, count = appendRecords(b.records[:0], runs)
		header := len(dst)
		if dst, err = compress(dst, b.records, c); err != nil {
			return dst[:start], err
		}
		// What does not become smaller could exceed the limit that was kept for it.
		if len(dst)-header >= len(b.records) {
			dst, c = append(dst[:header], b.records...), 0
		}
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	batch := dst[start+4:]
	binary.BigEndian.PutUint32(batch[offsetOfLength:], uint32(len(batch)-offsetOfLength-4))
	batch[offsetOfMagic] = 2
	attributes := uint16(c)
	if transactional {
		attributes |= transactionalBit
	}
	body := batch[offsetOfAttributes:]
	now := uint64(time.Now().UnixMilli())
	binary.BigEndian.PutUint16(body, attributes)
	binary.BigEndian.PutUint32(body[2:], uint32(count-1)) // last offset delta
	binary.BigEndian.PutUint64(body[6:], now)             // first and largest timestamp
	binary.BigEndian.PutUint64(body[14:], now)
	if s.id < 0 {
		s.epoch, s.sequence = -1, -1
	}
	binary.BigEndian.PutUint64(body[22:], uint64(s.id))
	binary.BigEndian.PutUint16(body[30:], uint16(s.epoch))
	binary.BigEndian.PutUint32(body[32:], uint32(s.sequence))
	binary.BigEndian.PutUint32(body[36:], uint32(count))
	binary.BigEndian.PutUint32(batch[offsetOfCRC:], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return dst, nil
}

// appendRecords appends a record for each message, all with the timestamp and the
// headers of none.
func appendRecords(dst []byte, runs []run) ([]byte, int) {
	n := 0
	for _, r := range runs {
		for i := r.from; i < r.to; i++ {
			m := r.messages.At(i)
			// Attributes, timestamp delta and number of headers take one byte each.
			size := 3 + varintLen(int64(n)) + bytesLen(m.Key) + bytesLen(m.Value)
			dst = binary.AppendVarint(dst, int64(size))
			dst = append(dst, 0, 0)
			dst = binary.AppendVarint(dst, int64(n))
			dst = appendBytes(dst, m.Key)
			dst = appendBytes(dst, m.Value)
			dst = append(dst, 0)
			n++
		}
	}
	return dst, n
}

// appendBytes appends a length and bytes; the length of nil is -1.
func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(b)))
	return append(dst, b...)
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

// varintLen is the length of n >= 0 as a zigzag varint.
func varintLen(n int64) int { return (bits.Len64(uint64(n)<<1|1) + 6) / 7 }

func compress(dst, records []byte, c kafka.Compression) ([]byte, error) {
	w := &appendWriter{dst}
	z := c.Codec().NewWriter(w)
	if _, err := z.Write(records); err != nil {
		return w.b, fmt.Errorf("compress a batch with %s: %w", c, err)
	}
	if err := z.Close(); err != nil {
		return w.b, fmt.Errorf("compress a batch with %s: %w", c, err)
	}
	return w.b, nil
}

type appendWriter struct{ b []byte }

var _ io.Writer = (*appendWriter)(nil)

func (w *appendWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}
