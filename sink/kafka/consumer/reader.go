package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// reader reads one partition, an answer for each grant.
type reader struct {
	cfg    *Config
	client *client
	topic  string
	id     int32
	set    recordSet
	end    int64 // what the partition held when Run began
	decode *messageDecoder
	grants chan struct{} // of capacity 1
}

// batch is what one answer held.
type batch struct {
	partition int // its index among those of the Run
	events    []codec.Event
	records   []record // instead of events, if they are not decoded before it is their turn
	bytes     int      // of its messages
	atEnd     bool     // the partition's end of when Run began has been reached
}

// run sends batches until ctx ends.
func (r *reader) run(ctx context.Context, partition int, out chan<- batch) error {
	for {
		select {
		case <-r.grants:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		b, err := r.read(ctx)
		if err != nil {
			return fmt.Errorf("read partition %d of topic %s: %w", r.id, r.topic, err)
		}
		b.partition = partition
		select {
		case out <- b:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// read returns what the next answer holds, or nothing if nothing comes for a while.
func (r *reader) read(ctx context.Context) (batch, error) {
	var records []record
	err := r.client.retry(ctx, func(ctx context.Context) (err error) {
		records, err = r.fetch(ctx)
		return err
	})
	if err != nil {
		return batch{}, err
	}
	b := batch{atEnd: r.set.next >= r.end}
	if r.cfg.described() {
		b.records = records
		return b, nil
	}
	for i := range records {
		m := &records[i]
		events, err := r.events(ctx, m)
		if err != nil {
			return b, err
		}
		b.events = append(b.events, events...)
		b.bytes += len(m.key) + len(m.value)
	}
	return b, nil
}

// events decodes a message.
func (r *reader) events(ctx context.Context, m *record) ([]codec.Event, error) {
	events, err := r.decode.events(ctx, m.key, m.value)
	if err != nil {
		return nil, fmt.Errorf("message at offset %d: %w", m.offset, err)
	}
	for i := range events {
		if e := &events[i]; e.HandleKeyOnly && e.Row.Columns != nil && !r.cfg.HandleKeyRows {
			return nil, fmt.Errorf("message at offset %d: a row of %s has only its handle key, because it was too large: "+
				"let the changefeed keep large messages with claim-check, and read the row upstream at ts %d", m.offset, e.Row.Table.Name(), e.Row.CommitTs)
		}
	}
	return events, nil
}

// fetch asks the broker once.
func (r *reader) fetch(ctx context.Context) ([]record, error) {
	const (
		maxWait       = 500 * time.Millisecond
		maxBytes      = 1 << 20 // and always one batch
		readCommitted = 1
	)
	answer, err := r.client.transport.RoundTrip(ctx, r.client.Addr, &fetch.Request{
		ReplicaID: -1, MaxWaitTime: int32(maxWait.Milliseconds()), MinBytes: 1, MaxBytes: maxBytes, IsolationLevel: readCommitted, SessionEpoch: -1,
		Topics: []fetch.RequestTopic{{Topic: r.topic, Partitions: []fetch.RequestPartition{{
			Partition: r.id, CurrentLeaderEpoch: -1, FetchOffset: r.set.next, LogStartOffset: -1, PartitionMaxBytes: maxBytes,
		}}}},
	})
	if err != nil {
		return nil, err
	}
	res, ok := answer.(*fetch.Response)
	switch {
	case !ok:
		return nil, fmt.Errorf("the broker answered with %T", answer)
	case res.ErrorCode != 0:
		return nil, kafka.Error(res.ErrorCode)
	case len(res.Topics) == 0 || len(res.Topics[0].Partitions) == 0:
		return nil, errors.New("the broker's answer lacks the partition")
	}
	p := &res.Topics[0].Partitions[0]
	switch code := kafka.Error(p.ErrorCode); {
	case code == kafka.OffsetOutOfRange:
		return nil, fmt.Errorf("%w: records from offset %d on have been deleted before they were read", code, r.set.next)
	case p.ErrorCode != 0:
		return nil, code
	}
	before := r.set.next
	records, err := r.set.take(nil, p)
	if err != nil {
		r.set.next = before // nothing of it counts
	}
	return records, err
}
