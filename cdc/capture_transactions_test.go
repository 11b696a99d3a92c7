package cdc_test

import (
	"context"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// wholeSink notes the tables of each transaction that it gets.
type wholeSink struct {
	sink.RowFunc
	mu           sync.Mutex
	transactions map[event.Ts][]string // by commit ts
}

func (s *wholeSink) WriteTransactions(_ context.Context, rows []*event.RowChanged) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range rows {
		s.transactions[row.CommitTs] = append(s.transactions[row.CommitTs], row.Table.Table)
	}
	return nil
}

// TestSpecWholeTransactions: a capture that works alone keeps transactions whole if
// the Spec wants it, whatever its WriteConcurrency, and the sink can.
func TestSpecWholeTransactions(t *testing.T) {
	whole := &wholeSink{
		RowFunc:      func(context.Context, []*event.RowChanged) error { return errors.New("WriteRows was called") },
		transactions: map[event.Ts][]string{},
	}
	n := newNode(t, func(c *cdc.CaptureConfig) {
		c.WriteConcurrency = 4
		c.Openers["whole"] = func(context.Context, *url.URL, sink.Config) (sink.Sink, io.Closer, error) {
			return whole, closeFunc(func() {}), nil
		}
	})
	a := n.cluster.CreateTable("shop", "a", cdctest.Int("id").PrimaryKey())
	b := n.cluster.CreateTable("shop", "b", cdctest.Int("id").PrimaryKey())
	start := n.cluster.Oracle().Now()
	tx := n.cluster.Begin()
	tx.Insert(a, 1)
	tx.Insert(b, 1)
	tx.Insert(b, 2)
	commitTs := tx.Commit()
	target := n.cluster.Oracle().Now()

	_, err := n.CreateChangefeed(t.Context(), cdc.Spec{ID: "no", SinkURI: "test://", StartTs: start, TargetTs: target, WholeTransactions: true})
	if !errors.Is(err, cdc.ErrInvalidSpec) || !strings.Contains(err.Error(), "whole-transactions") {
		t.Errorf("a sink that cannot keep transactions whole: %v", err)
	}
	n.create(cdc.Spec{ID: "yes", SinkURI: "whole://", StartTs: start, TargetTs: target, WholeTransactions: true})
	n.awaitState("yes", cdc.StateFinished)
	whole.mu.Lock()
	defer whole.mu.Unlock()
	if got, want := whole.transactions[commitTs], []string{"a", "b", "b"}; !slices.Equal(got, want) {
		t.Errorf("the transaction has rows of %v, want %v", got, want)
	}
}

// TestSpecWholeTransactionsInCluster: captures that share tables cannot.
func TestSpecWholeTransactionsInCluster(t *testing.T) {
	c := newCaptures(t, 1)
	start := c.watch()
	_, err := c.owner().CreateChangefeed(t.Context(), cdc.Spec{ID: "feed", SinkURI: "test://", StartTs: start, WholeTransactions: true})
	if !errors.Is(err, cdc.ErrInvalidSpec) || !strings.Contains(err.Error(), "--standalone") {
		t.Errorf("in a cluster: %v", err)
	}
}
