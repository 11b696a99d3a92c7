package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
)

// A consumer is a process of its own that runs a changefeed with its checkpoint in
// a directory, so that it can be killed. What its sink gets it hands to the test,
// and waits for the answer: a call is a line of JSON on its standard output, the
// answer one on its standard input.

// consumerVar makes this test binary a consumer; it holds a consumerConfig.
const consumerVar = "TIDBCDC_E2E_CONSUMER"

type consumerConfig struct {
	ID, PD, Dir, Rule string
	StartTs, TargetTs event.Ts
	// What follows is of a consumer that writes to a database, see mysql_test.go.
	SinkURI           string
	Except            []string // rules that leave tables out
	WholeTransactions bool
}

// sinkCall is a call of the sink; one of its parts is set.
type sinkCall struct {
	Tables     []*event.TableInfo `json:",omitempty"`
	Rows       []wireRow          `json:",omitempty"`
	DDL        *event.DDL         `json:",omitempty"`
	Checkpoint event.Ts           `json:",omitempty"`
}

type sinkAnswer struct{ Error string }

// wireRow is a row with its values as texts; Table is an index.
type wireRow struct {
	StartTs, CommitTs event.Ts
	Table             int
	PhysicalTableID   int64
	Key               []byte
	Columns, Pre      [][]byte // nil for NULL
}

func wireValues(values []event.Value) [][]byte {
	if values == nil {
		return nil
	}
	out := make([][]byte, len(values))
	for i, v := range values {
		if !v.IsNull() {
			out[i] = append([]byte{}, text(v)...)
		}
	}
	return out
}

func values(wire [][]byte) []event.Value {
	if wire == nil {
		return nil
	}
	out := make([]event.Value, len(wire))
	for i, b := range wire {
		if b != nil {
			out[i] = event.TextBytesValue(b)
		}
	}
	return out
}

// consume is the main function of a consumer.
func consume(config string) error {
	var c consumerConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	level := slog.LevelError
	if c.SinkURI != "" {
		level = slog.LevelInfo // the sink's own doings are tested
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{c.PD}, Logger: logger, DialTimeout: time.Minute})
	if err != nil {
		return err
	}
	f, err := filter.New(filter.Config{Rules: append([]string{c.Rule}, c.Except...)})
	if err != nil {
		return err
	}
	checkpoints, err := cdc.NewDirCheckpoints(c.Dir)
	if err != nil {
		return err
	}
	to, closer, err := c.open(ctx, cancel, logger)
	if err != nil {
		return err
	}
	if c.SinkURI != "" && !c.WholeTransactions {
		if to, err = strictly(ctx, to, checkpoints, &c); err != nil {
			return err
		}
	}
	feed, err := cdc.NewChangefeed(cdc.Config{
		ID: c.ID, Upstream: up, Filter: f, StartTs: c.StartTs, TargetTs: c.TargetTs, Checkpoints: checkpoints,
		Sink: to, WholeTransactions: c.WholeTransactions, Logger: logger,
		ForceReplicate: true, WriteConcurrency: map[bool]int{false: 2, true: 1}[c.WholeTransactions], CheckpointInterval: 20 * time.Millisecond, BatchRows: 64,
		MemoryQuota: 1 << 20, SpillDir: c.Dir, // so that there is something to leave behind
	})
	if err != nil {
		return err
	}
	stop := tellIfStuck(feed, logger)
	defer stop()
	return errors.Join(feed.Run(ctx), closer(), up.Close())
}

// tellIfStuck logs where a changefeed is that does not come further.
func tellIfStuck(feed *cdc.Changefeed, logger *slog.Logger) (stop func()) {
	ended := make(chan struct{})
	go func() {
		tick := time.NewTicker(20 * time.Second)
		defer tick.Stop()
		for last := feed.Status().CheckpointTs; ; last = feed.Status().CheckpointTs {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			if st := feed.Status(); st.CheckpointTs == last {
				logger.Error("no progress", "status", fmt.Sprintf("%+v", st))
			}
		}
	}()
	return func() { close(ended) }
}

// open opens the consumer's sink: the test, or a database.
func (c *consumerConfig) open(ctx context.Context, cancel context.CancelCauseFunc, logger *slog.Logger) (sink.Sink, func() error, error) {
	if c.SinkURI == "" {
		return &pipeSink{in: json.NewDecoder(os.Stdin), out: json.NewEncoder(os.Stdout)}, func() error { return nil }, nil
	}
	go func() { // ends with the process
		_, err := io.Copy(io.Discard, os.Stdin)
		cancel(fmt.Errorf("the test has gone: %w", errors.Join(io.EOF, err)))
	}()
	for {
		s, closer, err := sink.Openers{"mysql": mysql.Open}.Open(ctx, c.SinkURI, sink.Config{Changefeed: c.ID, Logger: logger, TimeZone: time.UTC})
		if err == nil {
			return s, closer.Close, nil
		}
		if sink.IsPermanent(err) || ctx.Err() != nil {
			return nil, nil, err
		}
		logger.Warn("will try again", "error", err) // the connection was killed
	}
}

// strictSink validates what a consumer writes to a database, of one process's life:
// that ends with the first violation.
type strictSink struct{ *cdctest.Validator }

func strictly(ctx context.Context, inner sink.Sink, checkpoints cdc.CheckpointStore, c *consumerConfig) (sink.Sink, error) {
	stored, err := checkpoints.Load(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	return &strictSink{cdctest.Validate(inner, cdctest.ValidatorConfig{StartTs: max(stored, c.StartTs), Concurrent: true})}, nil
}

func (s *strictSink) check(err error) error {
	if broken := s.Err(); broken != nil {
		return sink.Permanent(fmt.Errorf("promises broken: %w", broken))
	}
	return err
}

// WriteRows implements sink.Sink.
func (s *strictSink) WriteRows(ctx context.Context, rows []*event.RowChanged) error {
	return s.check(s.Validator.WriteRows(ctx, rows))
}

// WriteDDL implements sink.Sink.
func (s *strictSink) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	return s.check(s.Validator.WriteDDL(ctx, ddl))
}

// WriteCheckpoint implements sink.CheckpointWriter.
func (s *strictSink) WriteCheckpoint(ctx context.Context, ts event.Ts) error {
	return s.check(s.Validator.WriteCheckpoint(ctx, ts))
}

// pipeSink is the consumer's sink.
type pipeSink struct {
	mu  sync.Mutex
	in  *json.Decoder
	out *json.Encoder
}

func (s *pipeSink) call(c sinkCall) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.out.Encode(c); err != nil {
		return sink.Permanent(err)
	}
	var a sinkAnswer
	if err := s.in.Decode(&a); err != nil {
		return sink.Permanent(err) // the test has gone
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}

// WriteRows implements sink.Sink.
func (s *pipeSink) WriteRows(_ context.Context, rows []*event.RowChanged) error {
	var c sinkCall
	for _, r := range rows {
		if n := len(c.Tables); n == 0 || c.Tables[n-1] != r.Table {
			c.Tables = append(c.Tables, r.Table)
		}
		c.Rows = append(c.Rows, wireRow{
			r.StartTs, r.CommitTs, len(c.Tables) - 1, r.PhysicalTableID, r.Key, wireValues(r.Columns), wireValues(r.PreColumns),
		})
	}
	return s.call(c)
}

// WriteDDL implements sink.Sink.
func (s *pipeSink) WriteDDL(_ context.Context, ddl *event.DDL) error {
	return s.call(sinkCall{DDL: ddl})
}

// WriteCheckpoint implements sink.CheckpointWriter.
func (s *pipeSink) WriteCheckpoint(_ context.Context, ts event.Ts) error {
	return s.call(sinkCall{Checkpoint: ts})
}

// consumer is the test's side of the process.
type consumer struct {
	cmd  *exec.Cmd
	done chan error // how the process ended, after its last call has been answered
}

// startConsumer starts a process that delivers to a sink.
func startConsumer(ctx context.Context, t *testing.T, c consumerConfig, to interface {
	sink.Sink
	sink.CheckpointWriter
},
) *consumer {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), consumerVar+"="+string(config))
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &consumer{cmd: cmd, done: make(chan error, 1)}
	go func() {
		err := answer(ctx, bufio.NewReader(stdout), stdin, to)
		p.done <- errors.Join(cmd.Wait(), err)
	}()
	return p
}

// answer serves the calls of a consumer until it ends.
func answer(ctx context.Context, from io.Reader, back io.Writer, to interface {
	sink.Sink
	sink.CheckpointWriter
},
) error {
	in, out := json.NewDecoder(from), json.NewEncoder(back)
	for {
		var c sinkCall
		if err := in.Decode(&c); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read from consumer: %w", err)
		}
		var err error
		switch {
		case c.DDL != nil:
			err = to.WriteDDL(ctx, c.DDL)
		case c.Checkpoint != 0:
			err = to.WriteCheckpoint(ctx, c.Checkpoint)
		default:
			var rows []*event.RowChanged
			for _, r := range c.Rows {
				rows = append(rows, &event.RowChanged{
					StartTs: r.StartTs, CommitTs: r.CommitTs, Table: c.Tables[r.Table], PhysicalTableID: r.PhysicalTableID,
					Key: r.Key, Columns: values(r.Columns), PreColumns: values(r.Pre),
				})
			}
			err = to.WriteRows(ctx, rows)
		}
		var a sinkAnswer
		if err != nil {
			a.Error = err.Error()
		}
		if out.Encode(a) != nil {
			return nil // it was killed
		}
	}
}
