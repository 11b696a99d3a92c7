package perf_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// clusterEnv makes the test program a cluster that holds so many rows.
const clusterEnv = "TIDBCDC_PERF_CLUSTER_ROWS"

func TestMain(m *testing.M) {
	if rows, err := strconv.Atoi(os.Getenv(clusterEnv)); err == nil {
		if err := serveCluster(rows); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return
	}
	m.Run()
}

// filledCluster is a cluster in a process of its own, so that its work is not
// counted.
type filledCluster struct {
	pd string
	// start is before the rows were written, end after.
	start, end event.Ts
	commands   io.Writer
}

// startWritingCluster starts a cluster without rows, which write fills.
func startWritingCluster(b *testing.B) filledCluster { return startCluster(b, 0) }

// write makes the cluster write rows in transactions of ten. It does not wait.
func (c *filledCluster) write(b *testing.B, rows int) {
	if _, err := fmt.Fprintln(c.commands, rows); err != nil {
		b.Fatal(err)
	}
}

// startCluster starts a cluster with rows of sysbench's shape.
func startCluster(b *testing.B, rows int) filledCluster {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), clusterEnv+"="+strconv.Itoa(rows))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	c := filledCluster{commands: stdin}
	if _, err := fmt.Sscan(line, &c.pd, (*uint64)(&c.start), (*uint64)(&c.end)); err != nil {
		b.Fatal(err)
	}
	return c
}

// serveCluster is that process. It ends with its standard input.
func serveCluster(rows int) error {
	c, err := cdctest.Start(cdctest.Config{})
	if err != nil {
		return err
	}
	table := sysbenchTable(c)
	start := c.Oracle().Now()
	writer := &rowWriter{cluster: c, table: table}
	writer.write(rows, 500)
	fmt.Println(c.PDAddr(), uint64(start), uint64(c.Oracle().Now()))
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if rows, err = strconv.Atoi(in.Text()); err != nil {
			return err
		}
		writer.write(rows, 10)
	}
	return c.Close()
}

// rowWriter inserts rows, one id after the other.
type rowWriter struct {
	cluster *cdctest.Cluster
	table   *cdctest.Table
	next    int64
}

func (w *rowWriter) write(rows, perTxn int) {
	for end := w.next + int64(rows); w.next < end; {
		txn := w.cluster.Begin()
		for range min(int64(perTxn), end-w.next) {
			txn.Insert(w.table, sysbenchRow(w.next)...)
			w.next++
		}
		txn.Commit()
	}
}

func sysbenchTable(c *cdctest.Cluster) *cdctest.Table {
	return c.CreateTable("test", "sbtest1", cdctest.Int("id").PrimaryKey(),
		cdctest.Int("k").NotNull(), cdctest.Text("c").NotNull(), cdctest.Text("pad").NotNull())
}

// sysbenchRow is a row of sysbench's columns and size: about 200 bytes.
func sysbenchRow(id int64) []any {
	return []any{id, id * 7919 % 1_000_003, fmt.Sprintf("%0119d", id*104729), strings.Repeat("p", 59)}
}
