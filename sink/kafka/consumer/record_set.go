package consumer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

// record is one message of a partition.
type record struct {
	offset     int64
	key, value []byte // nil if there is none
}

// recordSet takes records out of answers to fetch requests with the isolation level
// read_committed. These end before the first transaction that is still open, but hold
// the records of those that were aborted, which the answer lists.
type recordSet struct {
	// next is the offset of the next record.
	next int64
	// aborted are the producers whose transaction, from here on, will be aborted: the
	// offsets at which they begin, sorted, and not yet ended.
	aborted map[int64][]int64
}

// take appends the records of an answer, from next on.
func (s *recordSet) take(dst []record, p *fetch.ResponsePartition) ([]record, error) {
	s.aborted = map[int64][]int64{}
	for _, t := range p.AbortedTransactions {
		s.aborted[t.ProducerID] = append(s.aborted[t.ProducerID], t.FirstOffset)
	}
	for _, begins := range s.aborted {
		slices.SortFunc(begins, cmp.Compare)
	}
	from := s.next
	stream, ok := p.RecordSet.Records.(*protocol.RecordStream)
	if !ok {
		return dst, nil
	}
	for _, batch := range stream.Records {
		var err error
		switch b := batch.(type) {
		case *protocol.ControlBatch:
			err = s.control(b)
		case *protocol.RecordBatch:
			skip := b.Attributes.Transactional() && s.isAborted(b.ProducerID, b.BaseOffset)
			dst, err = s.records(dst, b, skip)
		default: // a format from before transactions
			dst, err = s.records(dst, b, false)
		}
		if err != nil {
			return dst, err
		}
	}
	if s.next == from && len(stream.Records) > 0 {
		// Compaction took the rest of the batch, but not its place.
		s.next++
	}
	return dst, nil
}

func (s *recordSet) isAborted(producer, offset int64) bool {
	begins := s.aborted[producer]
	return len(begins) > 0 && begins[0] <= offset
}

// control notes the end of a transaction.
func (s *recordSet) control(b *protocol.ControlBatch) error {
	for {
		r, err := b.ReadControlRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the end of a transaction: %w", err)
		}
		s.next = max(s.next, r.Offset+1)
		const abort = 0
		if r.Type == abort && s.isAborted(b.ProducerID, r.Offset) {
			s.aborted[b.ProducerID] = s.aborted[b.ProducerID][1:]
		}
	}
}

func (s *recordSet) records(dst []record, b protocol.RecordReader, skip bool) ([]record, error) {
	for {
		r, err := b.ReadRecord()
		if errors.Is(err, io.EOF) {
			return dst, nil
		}
		if err != nil {
			return dst, fmt.Errorf("read a record: %w", err)
		}
		offset := r.Offset
		key, err := readBytes(r.Key)
		if err != nil {
			return dst, err
		}
		value, err := readBytes(r.Value)
		if err != nil {
			return dst, err
		}
		// A batch begins before next if that is in its middle.
		if offset < s.next {
			continue
		}
		s.next = offset + 1
		if !skip {
			dst = append(dst, record{offset, key, value})
		}
	}
}

// readBytes returns the bytes, nil if there are none, and gives their memory back.
func readBytes(b protocol.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer b.Close()
	out, err := protocol.ReadAll(b)
	if err != nil {
		return nil, fmt.Errorf("read a record: %w", err)
	}
	if out == nil {
		out = []byte{} // of length 0, which is not the same as none
	}
	return out, nil
}
