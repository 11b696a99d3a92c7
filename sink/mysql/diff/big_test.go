package diff_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/sink/mysql/diff"
)

// fillRows inserts rows 1 to n of the table big on both sides.
func fillRows(t testing.TB, n int, dbs ...*sql.DB) {
	t.Helper()
	const perStatement = 5000
	for from := 1; from <= n; from += perStatement {
		var b strings.Builder
		b.WriteString("INSERT INTO big.big VALUES ")
		for i := from; i < from+perStatement && i <= n; i++ {
			if i > from {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "(%d,%d,'c%d',x'%016x')", i, i%997, i*7, i)
		}
		for _, db := range dbs {
			exec(t, db, b.String())
		}
	}
}

const bigTable = "CREATE TABLE big (id BIGINT PRIMARY KEY, k INT, c VARCHAR(40), b VARBINARY(16))"

// TestOneBit flips a bit in a table of many chunks.
func TestOneBit(t *testing.T) {
	const n = 100_000
	for _, p := range pairs[:2] {
		t.Run(p.name, func(t *testing.T) {
			up, down := p.fill(t, "big", bigTable)
			fillRows(t, n, up, down)
			o := diff.Options{Filter: only(t, "big.*"), ChunkRows: 7000}
			var last diff.Progress
			o.Progress = func(p diff.Progress) { last = p }
			start := time.Now()
			if r := compare(t, up, down, o); !r.Equal() || last.Rows != n {
				t.Fatalf("progress %+v:\n%s", last, report(t, r))
			}
			t.Logf("%.0f rows/s", n/time.Since(start).Seconds())
			exec(t, down, "UPDATE big.big SET b = x'000000000001046b' WHERE id = 66666")
			want := "big.big: DIFFERENT, 100000 rows upstream, 1 with other values\n  different row id=66666\n" +
				"    b: x'000000000001046a' upstream, x'000000000001046b' downstream\n1 of 1 tables differ\n"
			if got := report(t, compare(t, up, down, o)); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}

			// Every row downstream that the upstream has not is counted, though
			// they are many times a chunk and all in one of its ranges.
			exec(t, up, "DELETE FROM big.big WHERE id > 1000")
			o.ChunkRows, o.MaxDifferences = 500, 3
			r := compare(t, up, down, o).Tables[0]
			if r.Missing != 0 || r.Different != 0 || r.Extra != n-1000 || len(r.Differences) != 3 || r.Rows != 1000 {
				t.Errorf("got %d missing, %d different, %d extra, %d kept of %d rows", r.Missing, r.Different, r.Extra, len(r.Differences), r.Rows)
			}
		})
	}
}

// BenchmarkCompare compares a narrow table of a million rows.
func BenchmarkCompare(b *testing.B) {
	const n = 1_000_000
	for _, p := range pairs[:2] {
		b.Run(strings.ReplaceAll(p.name, " ", "-"), func(b *testing.B) {
			up, down := p.fill(b, "big", bigTable)
			fillRows(b, n, up, down)
			b.ReportAllocs()
			for b.Loop() {
				if r := compare(b, up, down, diff.Options{Filter: only(b, "big.*")}); !r.Equal() {
					b.Fatal(report(b, r))
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
