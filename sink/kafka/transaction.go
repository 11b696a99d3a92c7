package kafka

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// exactlyOnce writes each call's rows in a transaction, together with the position
// that the table then has. A table's transactional id belongs to it alone, so that
// tables do not wait for each other, and whoever writes a table next fences whoever
// wrote it before.
//
// A position says that everything before it has been written. That is so because a
// physical table is one span, whose rows come in order.
type exactlyOnce struct {
	sink     *Sink
	progress *progress
	mu       struct {
		sync.Mutex
		writers map[string]*txnWriter // by what they write
	}
}

// txnWriter writes what belongs to one transactional id. Its fields belong to who
// holds the token in turn.
type txnWriter struct {
	turn chan struct{}
	id   string // transactional id, and key of the progress
	// open: state is valid and no transaction is under way.
	open      bool
	state     producerState // its sequence is not used
	sequences map[*partition]int32
	position  position
}

// position is a place in the order in which rows of a table are delivered.
type position struct {
	CommitTs event.Ts `json:"commit_ts"`
	StartTs  event.Ts `json:"start_ts"`
	// Op is 0 for a delete, which comes first, and 1 for anything else.
	Op  int    `json:"op"`
	Key []byte `json:"key"`
}

func (p *position) compare(o *position) int {
	return cmp.Or(cmp.Compare(p.CommitTs, o.CommitTs), cmp.Compare(p.StartTs, o.StartTs), cmp.Compare(p.Op, o.Op), bytes.Compare(p.Key, o.Key))
}

// positionOf returns a row's position, whose key is the row's.
func positionOf(row *event.RowChanged) position {
	p := position{CommitTs: row.CommitTs, StartTs: row.StartTs, Op: 1, Key: row.Key}
	if row.Columns == nil {
		p.Op = 0
	}
	return p
}

func openExactlyOnce(ctx context.Context, s *Sink) (*exactlyOnce, error) {
	t, err := s.topics.get(ctx, s.cfg.ProgressTopic)
	if err != nil {
		return nil, fmt.Errorf("open the progress of exactly-once: %w", err)
	}
	o := &exactlyOnce{sink: s, progress: newProgress(s.client, t.partitions[0])}
	o.mu.writers = map[string]*txnWriter{}
	return o, nil
}

func (o *exactlyOnce) writer(what string) *txnWriter {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.mu.writers[what]
	if w == nil {
		w = &txnWriter{turn: make(chan struct{}, 1), id: "tidbcdc." + o.sink.cfg.Changefeed + "." + what}
		w.turn <- struct{}{}
		o.mu.writers[what] = w
	}
	return w
}

// writeRows writes rows beyond the positions of their tables. Rows of a call are of
// one, unless transactions are delivered whole.
func (o *exactlyOnce) writeRows(ctx context.Context, rows []*event.RowChanged) error {
	if !slices.ContainsFunc(rows, func(r *event.RowChanged) bool { return r.PhysicalTableID != rows[0].PhysicalTableID }) {
		return o.writeTable(ctx, rows)
	}
	byTable := slices.Clone(rows)
	slices.SortStableFunc(byTable, func(a, b *event.RowChanged) int { return cmp.Compare(a.PhysicalTableID, b.PhysicalTableID) })
	for len(byTable) > 0 {
		n := slices.IndexFunc(byTable, func(r *event.RowChanged) bool { return r.PhysicalTableID != byTable[0].PhysicalTableID })
		if n < 0 {
			n = len(byTable)
		}
		if err := o.writeTable(ctx, byTable[:n]); err != nil {
			return err
		}
		byTable = byTable[n:]
	}
	return nil
}

func (o *exactlyOnce) writeTable(ctx context.Context, rows []*event.RowChanged) error {
	s := o.sink
	return o.commit(ctx, o.writer("table."+strconv.FormatInt(rows[0].PhysicalTableID, 10)), func(at *position) ([]outgoing, position, error) {
		fresh := rows
		if p := positionOf(rows[0]); p.compare(at) <= 0 {
			fresh = slices.DeleteFunc(slices.Clone(rows), func(row *event.RowChanged) bool {
				p := positionOf(row)
				return p.compare(at) <= 0
			})
		}
		if len(fresh) == 0 {
			return nil, position{}, nil
		}
		c := s.call()
		if err := s.route(ctx, c, fresh); err != nil {
			return nil, position{}, err
		}
		var out []outgoing
		if err := s.encodeAll(ctx, c, func(p *partition, r run) { out = appendOutgoing(out, p, r) }); err != nil {
			return nil, position{}, err
		}
		last := positionOf(fresh[len(fresh)-1])
		last.Key = bytes.Clone(last.Key)
		return out, last, nil
	})
}

// ddlWriter names who writes a DDL. DDLs of different tables come in any order, so that
// each table has a position of its own; those of a table come in the order of commit ts.
func ddlWriter(ddl *event.DDL) string {
	if len(ddl.Changes) == 0 {
		return "ddl"
	}
	t := ddl.Changes[0].Before
	if t == nil {
		t = ddl.Changes[0].After
	}
	return "ddl." + strconv.FormatInt(t.ID, 10)
}

// writeDDL writes a DDL beyond the last one of its table.
func (o *exactlyOnce) writeDDL(ctx context.Context, ddl *event.DDL, names []string) error {
	s := o.sink
	return o.commit(ctx, o.writer(ddlWriter(ddl)), func(at *position) ([]outgoing, position, error) {
		p := position{CommitTs: ddl.CommitTs, StartTs: ddl.StartTs, Key: binary.BigEndian.AppendUint64(nil, uint64(ddl.JobID))}
		if p.compare(at) <= 0 {
			return nil, position{}, nil
		}
		e, err := s.encoder()
		if err != nil {
			return nil, position{}, err
		}
		defer s.release(e)
		var out []outgoing
		for _, name := range names {
			m, to, err := s.announce(ctx, name, s.cfg.DDLToFirstPartition, func(m *codec.Messages) error { return e.AppendDDL(m, name, ddl) })
			if err != nil {
				return nil, position{}, err
			}
			for _, part := range to {
				out = appendOutgoing(out, part, run{m, 0, m.Len()})
			}
		}
		return out, p, nil
	})
}

// outgoing is what a transaction writes to a partition.
type outgoing struct {
	partition *partition
	runs      []run
}

func appendOutgoing(out []outgoing, p *partition, r run) []outgoing {
	i := slices.IndexFunc(out, func(o outgoing) bool { return o.partition == p })
	if i < 0 {
		return append(out, outgoing{p, []run{r}})
	}
	out[i].runs = append(out[i].runs, r)
	return out
}

// commit writes what make returns, which gets the writer's position and returns the
// new one, in a transaction. Nothing to write needs none.
func (o *exactlyOnce) commit(
	ctx context.Context, w *txnWriter, make func(*position) ([]outgoing, position, error),
) error {
	select {
	case <-w.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { w.turn <- struct{}{} }()
	ctx, cancel := context.WithTimeoutCause(ctx, o.sink.cfg.DeliveryTimeout, errDelivery)
	defer cancel()
	if !w.open {
		if err := o.open(ctx, w); err != nil {
			return fmt.Errorf("open transactional id %s: %w", w.id, err)
		}
	}
	out, next, err := make(&w.position)
	if err != nil || len(out) == 0 {
		return err
	}
	record, err := o.progress.record(w.id, &next)
	if err != nil {
		return err
	}
	out = append(out, outgoing{o.progress.partition, []run{{record, 0, 1}}})
	// Whatever goes wrong from here on: the next attempt begins with open, which ends
	// this transaction and learns whether it was committed.
	w.open = false
	if err := o.transact(ctx, w, out); err != nil {
		return fmt.Errorf("write in transaction %s: %w", w.id, err)
	}
	w.open, w.position = true, next
	return nil
}

// open ends what another writer of the same id has under way, fences it, and reads
// where it got to.
func (o *exactlyOnce) open(ctx context.Context, w *txnWriter) error {
	err := o.retry(ctx, func(ctx context.Context) (err error) {
		w.state, err = o.sink.client.newProducerID(ctx, w.id, o.sink.cfg.TransactionTimeout)
		return err
	})
	if err != nil {
		return err
	}
	if w.position, err = o.progress.position(ctx, w.id); err != nil {
		return err
	}
	w.sequences, w.open = map[*partition]int32{}, true
	return nil
}

func (o *exactlyOnce) transact(ctx context.Context, w *txnWriter, out []outgoing) error {
	if err := o.begin(ctx, w, out); err != nil {
		return err
	}
	if err := o.sendAll(ctx, w, out); err != nil {
		return err
	}
	return o.retry(ctx, func(ctx context.Context) error {
		res, err := o.sink.client.EndTxn(ctx, &kafka.EndTxnRequest{
			TransactionalID: w.id, ProducerID: int(w.state.id), ProducerEpoch: int(w.state.epoch), Committed: true,
		})
		if err != nil {
			return err
		}
		return res.Error
	})
}

var errDelivery = errors.New("the broker has not answered in time")

// begin makes the partitions parts of the transaction.
func (o *exactlyOnce) begin(ctx context.Context, w *txnWriter, out []outgoing) error {
	req := &kafka.AddPartitionsToTxnRequest{
		TransactionalID: w.id, ProducerID: int(w.state.id), ProducerEpoch: int(w.state.epoch), Topics: map[string][]kafka.AddPartitionToTxn{},
	}
	for _, p := range out {
		name := p.partition.topic.name
		req.Topics[name] = append(req.Topics[name], kafka.AddPartitionToTxn{Partition: int(p.partition.id)})
	}
	return o.retry(ctx, func(ctx context.Context) error {
		res, err := o.sink.client.AddPartitionsToTxn(ctx, req)
		if err != nil {
			return err
		}
		for name, partitions := range res.Topics {
			for _, p := range partitions {
				// The other partitions are told that they were not attempted; what counts is why.
				if p.Error != nil && !errors.Is(p.Error, operationNotAttempted) {
					return fmt.Errorf("add partition %d of topic %s: %w", p.Partition, name, p.Error)
				}
			}
		}
		return nil
	})
}

// operationNotAttempted is a code that kafka-go has a name of its own sense for.
const operationNotAttempted = kafka.Error(55)

// retry repeats a request to the coordinator.
func (o *exactlyOnce) retry(ctx context.Context, request func(context.Context) error) error {
	// The markers of the last transaction take the coordinator a few milliseconds.
	const first = 2 * time.Millisecond
	for wait := first; ; wait = min(2*wait, backoffMax) {
		attempt, cancel := context.WithTimeout(ctx, o.sink.client.timeout)
		err := request(attempt)
		cancel()
		if err == nil || !isRetriable(err) {
			return fencedHint(err)
		}
		if sleepErr := sleep(ctx, wait); sleepErr != nil {
			return fmt.Errorf("%w, last: %w", sleepErr, err)
		}
		if !errors.Is(err, kafka.ConcurrentTransactions) {
			o.sink.client.refresh()
		}
	}
}

func fencedHint(err error) error {
	if errors.Is(err, kafka.ProducerFenced) || errors.Is(err, kafka.InvalidProducerEpoch) {
		return fmt.Errorf("%w: another writer of the changefeed has taken over, or the transaction has taken longer than its timeout", err)
	}
	return err
}

// sendAll writes everything, each partition's messages in order, one batch of each at a time.
func (o *exactlyOnce) sendAll(ctx context.Context, w *txnWriter, out []outgoing) error {
	var builder batchBuilder
	var open []*partition // stand-ins that carry a queue and a batch
	own := map[*partition]*partition{}
	for _, p := range out {
		part := &partition{topic: p.partition.topic, id: p.partition.id, limit: min(p.partition.topic.maxBytes, maxBatchBytes)}
		part.leader = o.sink.producer.leader(p.partition)
		part.producer = producerState{w.state.id, w.state.epoch, w.sequences[p.partition]}
		d := newDelivery()
		for _, r := range p.runs {
			part.queue = append(part.queue, segment{r, d})
		}
		own[part] = p.partition
		open = append(open, part)
	}
	for wait := backoffMin; ; {
		open = slices.DeleteFunc(open, func(part *partition) bool {
			if part.sending.count == 0 {
				part.fill()
			}
			if part.sending.count > 0 {
				return false
			}
			w.sequences[own[part]] = part.producer.sequence
			return true
		})
		if len(open) == 0 {
			return nil
		}
		progressed, err := o.sendRound(ctx, w, &builder, open)
		switch {
		case err != nil && !isRetriable(err):
			return err
		case progressed:
			wait = backoffMin
		default:
			if sleepErr := sleep(ctx, wait); sleepErr != nil {
				return fmt.Errorf("%w, last: %w", sleepErr, err)
			}
			wait = min(2*wait, backoffMax)
		}
	}
}

// sendRound makes an attempt with the batches of one leader, and reports whether any
// was written. The error is the gravest.
func (o *exactlyOnce) sendRound(ctx context.Context, w *txnWriter, builder *batchBuilder, open []*partition) (bool, error) {
	var batches []partitionBatch
	for _, part := range open {
		if part.leader != open[0].leader {
			continue
		}
		s := &part.sending
		if len(s.encoded) == 0 {
			var err error
			if s.encoded, err = builder.append(s.encoded, s.runs, part.producer, true, o.sink.cfg.Compression); err != nil {
				return false, sink.Permanent(err)
			}
		}
		batches = append(batches, partitionBatch{part.topic.name, part.id, s.encoded, part})
	}
	errs, err := o.sink.client.produce(ctx, w.id, batches)
	if err != nil {
		errs = slices.Repeat([]error{err}, len(batches))
		for _, b := range batches {
			b.queue.sending.shared = true
		}
	}
	progressed := false
	var worst error
	for i, b := range batches {
		switch err := errs[i]; {
		case err == nil, errors.Is(err, kafka.DuplicateSequenceNumber):
			b.queue.producer.advance(b.queue.sending.count)
			b.queue.sending.reset()
			progressed = true
		case isTooLarge(err) && b.queue.sending.count > 1:
			b.queue.limit = max(b.queue.sending.bytes/2, 1)
			b.queue.putBack()
			progressed = true
		case worst == nil || isRetriable(worst):
			worst = explain(b.queue, err)
		}
	}
	if worst != nil && movesLeader(worst) {
		if why := o.sink.producer.relocate(ctx, batches); why != nil && notInLayout(worst) {
			worst = why
		}
	}
	return progressed, fencedHint(worst)
}
