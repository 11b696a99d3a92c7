// Package sinktest checks a sink against the contract in package sink: rows in
// order, repeats tolerated, rows not kept, DDL between the right rows,
// cancellation, the class of errors, checkpoints, concurrency.
//
// A test hands [Run] a function that opens the sink and says how to read back
// what it holds:
//
//	func TestSink(t *testing.T) {
//		sinktest.Run(t, func(t testing.TB) sinktest.Subject {
//			s := newSink(t.TempDir())
//			t.Cleanup(func() { s.Close() })
//			return sinktest.Subject{Sink: s, Got: s.readBack}
//		})
//	}
//
// All rows are of one table:
//
//	CREATE TABLE sinktest.item (id BIGINT PRIMARY KEY, name VARCHAR(255))
//
// which gets a column in the course of some checks: note VARCHAR(255). Every
// check begins with the DDL that creates the database and the table.
package sinktest

import (
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// Subject is a sink under test. Only Sink has to be set; what the rest leaves
// open is not checked.
type Subject struct {
	Sink sink.Sink

	// Got returns what the sink holds as durable, in the order of writing as far
	// as it keeps one. Repeats may be left in. Set State if it returns the rows of
	// the table instead. Leave it nil if nothing can be read back.
	Got func() ([]Record, error)
	// State says that Got returns the rows that the table has now, each as an
	// insert and in any order, and not the changes that led to them.
	State bool
	// IgnoresDDL says that DDL leaves nothing that Got could return.
	IgnoresDDL bool

	// Concurrent declares that WriteRows may be called from several goroutines,
	// each with rows of other spans (a WriteConcurrency above 1).
	Concurrent bool

	// Checkpoint returns what the last WriteCheckpoint stored, if the sink is a
	// sink.CheckpointWriter and keeps it.
	Checkpoint func() (event.Ts, error)

	// Block makes what the sink writes to stop answering, until unblock is called.
	Block func() (unblock func())
	// Break makes every write fail for a reason that passes, such as a lost
	// connection, until mend is called.
	Break func() (mend func())
	// Refuse makes every write fail for a reason that does not pass by retrying,
	// such as a missing privilege, until accept is called.
	Refuse func() (accept func())
}

// Record is one thing that a sink holds: a row or a DDL.
type Record struct {
	// DDL is the statement of a schema change; then the rest is not looked at.
	DDL string
	// Kind tells deletes from the others. Inserts and updates are not told apart,
	// because many formats do not.
	Kind event.Kind
	ID   int64
	// Name and Note are those of the new image, "" for NULL or no such column. Of
	// a delete they are not looked at.
	Name, Note string
	// CommitTs may be left 0 if the sink does not keep it.
	CommitTs event.Ts
}

// Run checks the sink that open returns, one subtest per part of the contract.
// It opens a fresh one, holding nothing, for each; open registers with
// t.Cleanup what closes it.
func Run(t *testing.T, open func(t testing.TB) Subject) {
	const patience = 10 * time.Second
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			c.run(newBench(t, open(t), patience))
		})
	}
}

// check is one part of the contract.
type check struct {
	name string
	run  func(*bench)
}

func checks() []check {
	return []check{
		{"rows in order", checkRows},
		{"no rows and many rows", checkBatchSizes},
		{"repeats", checkRepeats},
		{"rows not kept", checkNotKept},
		{"rows not changed", checkNotChanged},
		{"DDL between rows", checkDDL},
		{"cancelled before", checkCancelledBefore},
		{"cancelled while blocked", checkCancelledWhileBlocked},
		{"error that passes", checkBroken},
		{"error that stays", checkRefused},
		{"checkpoints", checkCheckpoints},
		{"concurrent writes", checkConcurrent},
	}
}
