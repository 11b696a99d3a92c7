package mysql_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/sinktest"
)

// TestContract: what every sink promises, on every server and in every mode.
func TestContract(t *testing.T) {
	modes := map[string]string{
		"default": "", "safe mode": "safe-mode=true", "exactly once": "exactly-once=true", "table atomicity": "transaction-atomicity=table",
		"small transactions": "max-txn-row=3&worker-count=4", "statement per row": "batch-dml-enable=false",
		"statement per packet": "multi-stmt-enable=false", "text only": "cache-prep-stmts=false&max-txn-row=100",
		"pessimistic": "tidb-txn-mode=pessimistic",
	}
	onEach(t, func(t *testing.T, s *server) {
		for name, parameters := range modes {
			if s.name == "TiDB" && name != "default" {
				continue // its DDL takes long
			}
			t.Run(name, func(t *testing.T) {
				sinktest.Run(t, func(t testing.TB) sinktest.Subject { return subject(t, s, parameters) })
			})
		}
	})
}

// subject is a sink whose database is empty.
func subject(t testing.TB, s *server, parameters string) sinktest.Subject {
	t.Helper()
	admin := s.connect(t, "", nil)
	mustExec(t, admin, "DROP DATABASE IF EXISTS sinktest", "DROP DATABASE IF EXISTS tidbcdc",
		"DROP USER IF EXISTS writer", "CREATE USER writer IDENTIFIED BY 'a secret'",
		"GRANT ALL ON sinktest.* TO writer", "GRANT ALL ON tidbcdc.* TO writer")
	if s.name == "TiDB" { // to see its DDL jobs
		mustExec(t, admin, "GRANT SUPER ON *.* TO writer")
	}
	rename := func(from, to string) { mustExec(t, admin, "RENAME TABLE sinktest."+from+" TO sinktest."+to) }
	out := sinktest.Subject{
		Sink:       openURI(t, "mysql://writer:a%20secret@"+s.addr+"/?"+parameters),
		State:      true,
		IgnoresDDL: true,
		Concurrent: !strings.Contains(parameters, "exactly-once"), // the suite's spans are of one table
		Got:        func() ([]sinktest.Record, error) { return items(t, admin), nil },
		Break: func() func() {
			rename("item", "hidden")
			return func() { rename("hidden", "item") }
		},
		Refuse: func() func() {
			mustExec(t, admin, "REVOKE INSERT, UPDATE, DELETE ON sinktest.* FROM writer", "FLUSH PRIVILEGES")
			return func() {
				mustExec(t, admin, "GRANT INSERT, UPDATE, DELETE ON sinktest.* TO writer", "FLUSH PRIVILEGES")
			}
		},
	}
	if s.name == "MariaDB" { // TiDB has no LOCK TABLES by default
		out.Block = func() func() {
			conn, err := admin.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.ExecContext(t.Context(), "LOCK TABLES sinktest.item WRITE"); err != nil {
				t.Fatal(err)
			}
			return func() {
				if _, err := conn.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
					t.Error(err)
				}
				conn.Close()
			}
		}
	}
	return out
}

// items returns the rows of the contract's table, whose third column comes later.
func items(t testing.TB, db *sql.DB) []sinktest.Record {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM sinktest.item")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out []sinktest.Record
	for rows.Next() {
		r := sinktest.Record{Kind: event.Insert}
		var note sql.NullString
		if err := rows.Scan([]any{&r.ID, &r.Name, &note}[:len(columns)]...); err != nil {
			t.Fatal(err)
		}
		r.Note = note.String
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
