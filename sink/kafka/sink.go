package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"gocloud.dev/blob"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/dispatcher"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
	"github.com/tidbcdc/tidbcdc/sink/codec/simple"
)

// Sink writes changes to Kafka. Its methods may be called from any goroutine.
type Sink struct {
	cfg       Config
	client    *client
	topics    *topics
	producer  *producer
	selectors selectors
	bucket    *blob.Bucket // nil without claim checks
	encoders  chan codec.Encoder
	calls     sync.Pool // *call
	plans     sync.Map  // *event.TableInfo to *tablePlan
	planned   atomic.Int64
	active    activeTopics
	// bootstraps is for encoders that are bootstrappers. bootstrapped: all tables of the
	// start have been, if that is configured.
	bootstraps   bootstraps
	bootstrapped atomic.Bool
	once         *exactlyOnce // nil unless Config.ExactlyOnce
	cancel       context.CancelFunc
	closed       sync.Once
}

var (
	_ sink.Sink             = (*Sink)(nil)
	_ sink.CheckpointWriter = (*Sink)(nil)
	_ sink.TablesWriter     = (*Sink)(nil)
	_ sink.TableChecker     = (*Sink)(nil)
)

// keptEncoders is how many encoders wait for the next call.
const keptEncoders = 32

// New connects to Kafka and finds or makes the topic. Close the Sink when no call is
// under way any more. ctx bounds the opening only.
func New(ctx context.Context, cfg Config) (*Sink, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Sink{cfg: cfg, encoders: make(chan codec.Encoder, keptEncoders)}
	var err error
	if s.selectors, err = newSelectors(cfg.ColumnSelectors, cfg.CaseSensitive); err != nil {
		return nil, err
	}
	for _, warning := range cfg.Dispatcher.Warnings() {
		cfg.Logger.Warn(warning)
	}
	if cfg.Acks == AcksNone {
		cfg.Logger.Warn("required-acks is 0: changes that are lost on the way to Kafka are lost")
	}
	s.bootstraps.cadence = simple.Bootstraps{Interval: cfg.BootstrapInterval, Rows: cfg.BootstrapRows}
	s.client = newClient(&s.cfg)
	s.topics = newTopics(&s.cfg, s.client)
	s.producer = newProducer(&s.cfg, s.client)
	// The workers live until Close.
	var running context.Context
	running, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.producer.start(running)
	return s, nil
}

func (s *Sink) connect(ctx context.Context) error {
	// Wrong addresses and credentials are to be told soon.
	first, cancel := context.WithTimeout(ctx, s.cfg.DialTimeout+s.client.timeout)
	defer cancel()
	if err := s.reach(first); err != nil {
		return err
	}
	if _, err := s.topics.get(first, s.cfg.Topic); err != nil {
		return err
	}
	e, err := s.encoder()
	if err != nil {
		return err
	}
	if s.cfg.LargeMessage.Handling != RefuseLarge {
		if _, ok := e.(codec.LargeRowEncoder); !ok {
			return invalid("large-message-handle-option: the protocol cannot say that a message is not whole")
		}
	}
	s.release(e)
	if s.cfg.LargeMessage.Handling == ClaimCheck {
		if s.bucket, err = s.cfg.LargeMessage.OpenBucket(ctx, s.cfg.LargeMessage.StorageURI); err != nil {
			return fmt.Errorf("open claim-check-storage-uri: %w", err)
		}
	}
	if s.cfg.ExactlyOnce {
		s.once, err = openExactlyOnce(ctx, s)
	}
	return err
}

// Close ends what is on its way, whose calls fail, and waits for it.
func (s *Sink) Close() error {
	var err error
	s.closed.Do(func() {
		s.cancel()
		s.producer.close()
		s.client.close()
		if s.bucket != nil {
			err = s.bucket.Close()
		}
		for _, c := range s.cfg.closers {
			err = errors.Join(err, c.Close())
		}
	})
	return err
}

// encoder returns an encoder for one call, which releases it.
func (s *Sink) encoder() (codec.Encoder, error) {
	select {
	case e := <-s.encoders:
		return e, nil
	default:
	}
	limit := s.cfg.MaxMessageBytes
	if t, ok := s.topics.lookup(s.cfg.Topic); ok {
		limit = min(limit, t.maxBytes)
	}
	e, err := s.cfg.NewEncoder(limit - batchOverhead - recordOverhead)
	if err != nil {
		return nil, fmt.Errorf("make an encoder: %w", err)
	}
	return e, nil
}

func (s *Sink) release(e codec.Encoder) {
	select {
	case s.encoders <- e:
	default:
	}
}

// WriteRows returns when all rows have been written, with as many acknowledgements
// as configured.
func (s *Sink) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	if len(rows) == 0 {
		return nil
	}
	var err error
	if s.once != nil {
		err = s.once.writeRows(ctx, rows)
	} else {
		err = s.writeRows(ctx, rows)
	}
	if err != nil {
		s.bootstraps.reset()
		return fmt.Errorf("write %d rows from table %s.%s, commit ts %d to %d: %w", len(rows), rows[0].Table.Schema, rows[0].Table.Table,
			rows[0].CommitTs, rows[len(rows)-1].CommitTs, err)
	}
	return nil
}

func (s *Sink) writeRows(ctx context.Context, rows []*event.RowChanged) error {
	c := s.call()
	if err := s.route(ctx, c, rows); err != nil {
		return err
	}
	d := newDelivery()
	if err := s.encodeAll(ctx, c, func(p *partition, r run) { s.producer.enqueue(d, p, r.messages, r.from, r.to) }); err != nil {
		s.producer.abandon(d, err)
		return err
	}
	if err := s.producer.wait(ctx, d); err != nil {
		return err // workers may still read the messages of c
	}
	s.calls.Put(c)
	return nil
}

// WriteDDL sends a DDL to the topics of the tables that it changes, to partition 0 or to
// all, as the protocol wants it.
func (s *Sink) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	for _, c := range ddl.Changes {
		if c.Before != nil {
			s.plans.Delete(c.Before)
		}
	}
	var err error
	names := s.ddlTopics(ddl)
	if s.once != nil {
		err = s.once.writeDDL(ctx, ddl, names)
	} else {
		err = s.broadcast(ctx, names, s.cfg.DDLToFirstPartition, func(e codec.Encoder, m *codec.Messages, topic string) error {
			return e.AppendDDL(m, topic, ddl)
		})
	}
	if err != nil {
		return fmt.Errorf("write DDL with commit ts %d: %w", ddl.CommitTs, err)
	}
	s.active.change(ddl, s.cfg.Dispatcher)
	return nil
}

// ddlTopics returns the topics of the tables by their names before the DDL, and the
// default topic for a DDL of a database.
func (s *Sink) ddlTopics(ddl *event.DDL) []string {
	switch ddl.Type {
	case event.DDLCreateSchema, event.DDLDropSchema, event.DDLModifySchemaCharset, event.DDLModifySchemaPlacement,
		event.DDLRecoverSchema, event.DDLModifySchemaReadOnly, event.DDLFlashbackCluster:
		return []string{s.cfg.Topic}
	}
	var names []string
	for _, c := range ddl.Changes {
		table := c.Before
		if table == nil {
			table = c.After
		}
		if name := s.cfg.Dispatcher.Topic(table.Schema, table.Table); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return []string{s.cfg.Dispatcher.DDLTopic(ddl)}
	}
	return names
}

// CheckTable implements [sink.TableChecker]: it says whether the rules for topics and
// partitions and the column selectors fit a table.
func (s *Sink) CheckTable(table *event.TableInfo) error {
	if err := s.cfg.Dispatcher.Check(table); err != nil {
		return sink.Permanent(err)
	}
	_, err := s.plan(table)
	return err
}

// WriteTables makes the topics of these tables the ones that get watermarks, and with
// Config.BootstrapAll sends the schemas of all tables once.
func (s *Sink) WriteTables(ctx context.Context, tables []*event.TableInfo) error {
	s.active.set(tables, s.cfg.Dispatcher)
	if !s.cfg.BootstrapAll || s.bootstrapped.Load() {
		return nil
	}
	if err := s.bootstrapAll(ctx, tables); err != nil {
		s.bootstraps.reset()
		return fmt.Errorf("write the schemas of %d tables: %w", len(tables), err)
	}
	s.bootstrapped.Store(true)
	return nil
}

// WriteCheckpoint sends a watermark to all partitions of the topics of all tables, or of
// the default topic if there are none. Tables are those of WriteTables, or without such a
// call those that have had changes.
func (s *Sink) WriteCheckpoint(ctx context.Context, ts event.Ts) error {
	err := s.broadcast(ctx, s.active.names(s.cfg.Topic), false, func(e codec.Encoder, m *codec.Messages, topic string) error {
		return e.AppendWatermark(m, topic, ts)
	})
	if err != nil {
		return fmt.Errorf("write watermark %d: %w", ts, err)
	}
	return nil
}

// broadcast sends what appendTo appends to partitions of topics.
func (s *Sink) broadcast(
	ctx context.Context, names []string, firstOnly bool, appendTo func(codec.Encoder, *codec.Messages, string) error,
) error {
	e, err := s.encoder()
	if err != nil {
		return err
	}
	defer s.release(e)
	d := newDelivery()
	for _, name := range names {
		var m *codec.Messages
		var to []*partition
		if m, to, err = s.announce(ctx, name, firstOnly, func(m *codec.Messages) error { return appendTo(e, m, name) }); err != nil {
			s.producer.abandon(d, err)
			return err
		}
		for _, p := range to {
			s.producer.enqueue(d, p, m, 0, m.Len())
		}
	}
	return s.producer.wait(ctx, d)
}

// announce encodes what goes to several partitions of a topic, and says to which.
func (s *Sink) announce(
	ctx context.Context, name string, firstOnly bool, appendTo func(*codec.Messages) error,
) (*codec.Messages, []*partition, error) {
	m := &codec.Messages{}
	if err := appendTo(m); err != nil {
		return nil, nil, sink.Permanent(err)
	}
	if m.Len() == 0 {
		return m, nil, nil
	}
	t, err := s.topics.get(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if m, err = s.compressValues(m); err != nil {
		return nil, nil, err
	}
	for i := range m.Len() {
		if msg := m.At(i); t.exceededBy(&msg) {
			return nil, nil, s.tooLarge(t, &msg, "a DDL or schema")
		}
	}
	if firstOnly {
		return m, t.partitions[:1], nil
	}
	return m, t.partitions, nil
}

// activeTopics are the topics of the tables that are replicated.
type activeTopics struct {
	mu sync.RWMutex
	// told: sorted comes from set, which knows better than what rows and DDLs tell.
	told   bool
	tables map[int64]string // by table id
	sorted []string         // nil if it has to be made anew
}

func (a *activeTopics) add(table *event.TableInfo, topic string) {
	a.mu.RLock()
	known := a.told || a.tables[table.ID] == topic
	a.mu.RUnlock()
	if known {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told {
		return
	}
	if a.tables == nil {
		a.tables = map[int64]string{}
	}
	a.tables[table.ID], a.sorted = topic, nil
}

func (a *activeTopics) change(ddl *event.DDL, d *dispatcher.Dispatcher) {
	for _, c := range ddl.Changes {
		if c.Before != nil {
			a.mu.Lock()
			if !a.told {
				delete(a.tables, c.Before.ID)
				a.sorted = nil
			}
			a.mu.Unlock()
		}
		if c.After != nil && !c.After.View && !c.After.Sequence {
			a.add(c.After, d.Topic(c.After.Schema, c.After.Table))
		}
	}
}

// set makes the topics of tables the active ones.
func (a *activeTopics) set(tables []*event.TableInfo, d *dispatcher.Dispatcher) {
	sorted := make([]string, 0, 1)
	for _, t := range tables {
		// Many tables may share a topic.
		if topic := d.Topic(t.Schema, t.Table); len(sorted) == 0 || sorted[len(sorted)-1] != topic {
			sorted = append(sorted, topic)
		}
	}
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told, a.tables, a.sorted = true, nil, sorted
}

// names returns the topics, or the default one if there are none.
func (a *activeTopics) names(defaultTopic string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sorted == nil {
		for _, topic := range a.tables {
			a.sorted = append(a.sorted, topic)
		}
		slices.Sort(a.sorted)
		a.sorted = slices.Compact(a.sorted)
	}
	if len(a.sorted) == 0 {
		return []string{defaultTopic}
	}
	return a.sorted
}
