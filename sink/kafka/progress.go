package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// progress is the topic that holds the position of every transactional id: a record
// for each transaction, of which compaction keeps the last.
//
// It is read with the transactions that are still open, whose end is looked for in
// the log itself, so that one table's position does not wait for other tables'
// transactions, as it would below the last stable offset.
type progress struct {
	client    *client
	partition *partition
	// turn holds a token: who has it may read, and use what follows.
	turn      chan struct{}
	next      int64
	positions map[string]position
	// undecided are the records of transactions without an end, by producer id.
	undecided map[int64]map[string]position
}

func newProgress(c *client, p *partition) *progress {
	out := &progress{
		client: c, partition: p, turn: make(chan struct{}, 1),
		positions: map[string]position{}, undecided: map[int64]map[string]position{},
	}
	out.turn <- struct{}{}
	return out
}

// record returns the message that makes p the position of id.
func (*progress) record(id string, p *position) (*codec.Messages, error) {
	value, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode a position: %w", err)
	}
	m := &codec.Messages{}
	m.Append(append([]byte(id), value...), len(id), len(value), 0, p.CommitTs)
	return m, nil
}

// position reads the topic to its end and returns the position of id, zero if it has none.
// No transaction of id may be open.
func (p *progress) position(ctx context.Context, id string) (position, error) {
	select {
	case <-p.turn:
	case <-ctx.Done():
		return position{}, context.Cause(ctx)
	}
	defer func() { p.turn <- struct{}{} }()
	for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
		done, err := p.read(ctx)
		switch {
		case err == nil && done:
			return p.positions[id], nil
		case err == nil:
			wait = backoffMin
			continue
		case errors.Is(err, kafka.OffsetOutOfRange):
			p.next = 0 // made anew; what had been read stays valid
		case !isRetriable(err):
			return position{}, fmt.Errorf("read topic %s: %w", p.partition.topic.name, err)
		}
		p.client.refresh()
		if sleepErr := sleep(ctx, wait); sleepErr != nil {
			return position{}, fmt.Errorf("read topic %s: %w, last: %w", p.partition.topic.name, sleepErr, err)
		}
	}
}

// read takes in one answer, and reports whether it reached the end of the topic.
func (p *progress) read(ctx context.Context) (bool, error) {
	const maxBytes = 8 << 20
	ctx, cancel := context.WithTimeout(ctx, p.client.timeout)
	defer cancel()
	answer, err := p.client.transport.RoundTrip(ctx, p.client.Addr, &fetch.Request{
		ReplicaID: -1, MaxWaitTime: int32((100 * time.Millisecond).Milliseconds()), MaxBytes: maxBytes, SessionEpoch: -1,
		Topics: []fetch.RequestTopic{{
			Topic: p.partition.topic.name,
			Partitions: []fetch.RequestPartition{{
				Partition: p.partition.id, CurrentLeaderEpoch: -1, FetchOffset: p.next, LogStartOffset: -1, PartitionMaxBytes: maxBytes,
			}},
		}},
	})
	if err != nil {
		return false, err
	}
	res, ok := answer.(*fetch.Response)
	switch {
	case !ok:
		return false, fmt.Errorf("the broker answered with %T", answer)
	case res.ErrorCode != 0:
		return false, kafka.Error(res.ErrorCode)
	case len(res.Topics) == 0 || len(res.Topics[0].Partitions) == 0:
		return false, errNoAnswer
	}
	got := &res.Topics[0].Partitions[0]
	if got.ErrorCode != 0 {
		return false, kafka.Error(got.ErrorCode)
	}
	p.next = max(p.next, got.LogStartOffset)
	if stream, ok := got.RecordSet.Records.(*protocol.RecordStream); ok {
		for _, batch := range stream.Records {
			if err := p.take(batch); err != nil {
				return false, err
			}
		}
	}
	return p.next >= got.HighWatermark, nil
}

// take takes in a batch, which has one record, or none if compaction removed it.
func (p *progress) take(batch protocol.RecordReader) error {
	switch b := batch.(type) {
	case *protocol.RecordBatch:
		defer func() { p.next = max(p.next, b.BaseOffset+1) }()
		for b.BaseOffset >= p.next {
			id, at, err := p.parse(b)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if p.undecided[b.ProducerID] == nil {
				p.undecided[b.ProducerID] = map[string]position{}
			}
			p.undecided[b.ProducerID][id] = at
		}
	case *protocol.ControlBatch:
		defer func() { p.next = max(p.next, b.BaseOffset+1) }()
		for b.BaseOffset >= p.next {
			record, err := b.ReadControlRecord()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read a transaction's end: %w", err)
			}
			const committed = 1
			if record.Type == committed {
				for id, at := range p.undecided[b.ProducerID] {
					p.positions[id] = at
				}
			}
			delete(p.undecided, b.ProducerID)
		}
	}
	return nil
}

func (*progress) parse(b *protocol.RecordBatch) (id string, at position, err error) {
	record, err := b.ReadRecord()
	if err != nil {
		return "", at, err
	}
	key, err := protocol.ReadAll(record.Key)
	if err != nil {
		return "", at, fmt.Errorf("read a position: %w", err)
	}
	value, err := protocol.ReadAll(record.Value)
	if err != nil {
		return "", at, fmt.Errorf("read a position: %w", err)
	}
	if err := json.Unmarshal(value, &at); err != nil {
		return "", at, fmt.Errorf("record %d of the progress topic is not a position; keep other writers off it: %w", record.Offset, err)
	}
	return string(key), at, nil
}
