package playground_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pingcap/tidb/pkg/util/codec"
	tikverr "github.com/tikv/client-go/v2/error"
	"github.com/tikv/client-go/v2/txnkv"
	"github.com/tikv/client-go/v2/txnkv/txnsnapshot"
)

const (
	oldRows   = 300
	bulkMiB   = 200
	bulkValue = 16 << 10
)

// schemaVersionKey is the meta key that every DDL changes: a string of TiDB's
// meta structures.
var schemaVersionKey = codec.EncodeUint(codec.EncodeBytes([]byte{'m'}, []byte("SchemaVersionKey")), 's')

// TestOldVersions reads rows and a meta key at old timestamps, after enough
// writes to flush many memtables, in every way a client can.
func TestOldVersions(t *testing.T) {
	ctx := t.Context()
	name, id := createTable(t, "id BIGINT PRIMARY KEY, v VARCHAR(20), KEY iv (v)")
	created := now(t)
	cli, err := txnkv.NewClient([]string{env.info.PD})
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	var keys [][]byte
	for i := range oldRows {
		keys = append(keys, rowKey(id, int64(i)))
	}
	keys = append(keys, schemaVersionKey)

	// Three generations of all keys, each remembered as it is before any flush.
	type generation struct {
		ts     uint64
		label  string
		values map[string]string
	}
	var generations []generation
	for _, label := range []string{"first", "second", "third"} {
		values := ""
		for i := range oldRows {
			values += fmt.Sprintf(",(%d,'%s-%d')", i, label, i)
		}
		exec(t, "REPLACE INTO "+name+" VALUES "+values[1:])
		exec(t, "ALTER TABLE "+name+" COMMENT = '"+label+"'")
		g := generation{ts: now(t), label: label, values: map[string]string{}}
		for _, key := range keys {
			v, err := cli.GetSnapshot(g.ts).Get(ctx, key)
			if err != nil {
				t.Fatalf("get %x: %v", key, err)
			}
			g.values[string(key)] = string(v)
		}
		generations = append(generations, g)
	}
	for _, g := range generations {
		checkSQL(t, name, g.ts, g.label)
	}
	writeBulk(t)
	if n := flushed(t); n < 8 {
		t.Fatalf("only %d tables were flushed: the test proves nothing", n)
	}

	for _, g := range generations {
		for how, read := range readers(ctx, keys) {
			got, err := read(cli.GetSnapshot(g.ts))
			if err != nil {
				t.Fatalf("%s at the %s generation: %v", how, g.label, err)
			}
			wrong := 0
			for key, want := range g.values {
				if how == "scan" && key == string(schemaVersionKey) {
					continue // another range
				}
				if got[key] != want {
					wrong++
				}
			}
			if wrong > 0 {
				t.Errorf("%s at the %s generation: %d of %d keys are wrong", how, g.label, wrong, len(g.values))
			}
		}
		checkSQL(t, name, g.ts, g.label)
	}
	if _, err := cli.GetSnapshot(created).Get(ctx, keys[0]); !errors.Is(err, tikverr.ErrNotExist) {
		t.Errorf("get before the first version: %v, want not found", err)
	}
}

type reader func(*txnsnapshot.KVSnapshot) (map[string]string, error)

// readers are the ways to read keys. The scan covers the rows alone.
func readers(ctx context.Context, keys [][]byte) map[string]reader {
	return map[string]reader{
		"get": func(s *txnsnapshot.KVSnapshot) (map[string]string, error) {
			out := map[string]string{}
			for _, key := range keys {
				v, err := s.Get(ctx, key)
				if err != nil {
					return nil, err
				}
				out[string(key)] = string(v)
			}
			return out, nil
		},
		"batch get": func(s *txnsnapshot.KVSnapshot) (map[string]string, error) {
			out := map[string]string{}
			values, err := s.BatchGet(ctx, keys)
			for key, v := range values {
				out[key] = string(v)
			}
			return out, err
		},
		"scan": func(s *txnsnapshot.KVSnapshot) (map[string]string, error) {
			out := map[string]string{}
			last := append(append([]byte(nil), keys[oldRows-1]...), 0)
			it, err := s.Iter(keys[0], last)
			for ; err == nil && it.Valid(); err = it.Next() {
				out[string(it.Key())] = string(it.Value())
			}
			return out, err
		},
	}
}

// checkSQL reads the rows through TiDB, whose reads of many points go through
// the coprocessor.
func checkSQL(t *testing.T, table string, ts uint64, label string) {
	t.Helper()
	conn, err := env.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), fmt.Sprintf("SET @@tidb_snapshot = '%d'", ts)); err != nil {
		t.Fatalf("read at %d: %v", ts, err)
	}
	defer conn.ExecContext(context.WithoutCancel(t.Context()), "SET @@tidb_snapshot = ''")
	points := "0"
	for i := 1; i < oldRows; i++ {
		points += fmt.Sprintf(",%d", i)
	}
	for _, query := range []string{
		fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE v LIKE '%s-%%'", table, label),
		fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE id IN (%s) AND v LIKE '%s-%%'", table, points, label),
		fmt.Sprintf("SELECT /*+ use_index(%s, iv) */ COUNT(*) FROM %s WHERE v LIKE '%s-%%' AND id >= 0", table, table, label),
	} {
		var n int
		if err := conn.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
			t.Fatalf("%.60s…: %v", query, err)
		}
		if n != oldRows {
			t.Errorf("%.60s… at the %s generation: %d rows, want %d", query, label, n, oldRows)
		}
	}
}

// writeBulk fills memtables.
func writeBulk(t *testing.T) {
	t.Helper()
	exec(t, "DROP TABLE IF EXISTS bulk")
	exec(t, "CREATE TABLE bulk (id BIGINT PRIMARY KEY, v MEDIUMBLOB)")
	value := make([]byte, bulkValue)
	const perInsert = 64
	query := "INSERT INTO bulk VALUES (?,?)"
	for range perInsert - 1 {
		query += ",(?,?)"
	}
	for n := 0; n < bulkMiB<<20/bulkValue; n += perInsert {
		args := make([]any, 0, 2*perInsert)
		for i := range perInsert {
			args = append(args, n+i, value)
		}
		exec(t, query, args...)
	}
}

// flushed counts the engine's table files.
func flushed(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(env.info.Dir, "kv", "kv", "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// TestSnapshotOfTransfers: sessions move money between accounts, in one-phase and
// async commits; whoever looks sees all of it, at any moment and in the end.
func TestSnapshotOfTransfers(t *testing.T) {
	const accounts, balance, sessions, looks = 10, 1000, 3, 2000
	name, _ := createTable(t, "id INT PRIMARY KEY, balance BIGINT NOT NULL")
	for id := range accounts {
		exec(t, fmt.Sprintf("INSERT INTO %s VALUES (%d, %d)", name, id, balance))
	}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var transfers atomic.Int64
	for session := range sessions {
		group.Go(func() {
			for rng := rand.New(rand.NewPCG(1, uint64(session))); ctx.Err() == nil; {
				if err := transfer(ctx, name, rng.IntN(accounts), rng.IntN(accounts)); err == nil {
					transfers.Add(1)
				}
			}
		})
	}
	for look := range looks {
		var sum int
		if err := env.db.QueryRowContext(ctx, "SELECT SUM(balance) FROM "+name).Scan(&sum); err != nil {
			t.Error(err)
			break
		}
		if sum != accounts*balance {
			t.Errorf("look %d, %d transfers: the balances sum up to %d, want %d", look, transfers.Load(), sum, accounts*balance)
			break
		}
	}
	stop()
	group.Wait()
	var sum int
	if err := env.db.QueryRowContext(t.Context(), "SELECT SUM(balance) FROM "+name).Scan(&sum); err != nil || sum != accounts*balance {
		t.Errorf("after %d transfers the balances sum up to %d, want %d; %v", transfers.Load(), sum, accounts*balance, err)
	}
}

func transfer(ctx context.Context, table string, from, to int) error {
	tx, err := env.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, part := range [][2]int{{from, -1}, {to, 1}} {
		add := fmt.Sprintf("INSERT INTO %s VALUES (%d, %d) ON DUPLICATE KEY UPDATE balance = balance + VALUES(balance)", table, part[0], part[1])
		if _, err := tx.ExecContext(ctx, add); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}
