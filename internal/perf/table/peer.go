package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// comparison relates a benchmark to TiCDC's best figure for the same work: CPU
// nanoseconds per row, collector included, of v8.2.0 built with Go 1.26 on two
// Zen 5 cores. gate, if not 0, is the most that ours may take there. A benchmark may have
// the last part of its package's path before it, as in canal.Rows/narrow.insert.
type comparison struct {
	what, benchmark string
	peer, gate      float64
}

// comparisons are in the order of a row's way. narrow is sysbench's row (196
// bytes), wide has 44 columns of all types.
var comparisons = []comparison{
	{"decode, match, emit: prewrite and commit", "Handle/heap=64MiB/live", 1014, 200},
	{"the same in a program that holds nothing", "Handle/heap=0MiB/live", 1014, 0},
	{"decode, match, emit: a scanned row", "Handle/heap=64MiB/scan", 0, 200},
	{"sort in memory", "Sorter/resolve-every=65536/txn=1", 4192, 150},
	{"sort through disk", "Spilled/txn=1", 4192, 1000},
	{"mount narrow insert", "Mount/narrow.insert", 2326, 200},
	{"mount narrow update", "Mount/narrow.update", 3686, 0},
	{"mount narrow delete", "Mount/narrow.delete", 2286, 0},
	{"mount wide insert", "Mount/wide.insert", 17546, 2500},
	{"mount wide update", "Mount/wide.update", 32513, 0},
	{"filter a row", "filter.Row/rules", 51, 0},
	{"topic and partition by key", "dispatcher.Row/index-value", 1069, 50},
	{"canal-json narrow insert", "canaljson.Rows/plain/narrow.insert", 3058, 300},
	{"canal-json wide insert", "canaljson.Rows/plain/wide.insert", 29498, 3000},
	{"open-protocol narrow insert", "openprotocol.Rows/narrow.insert", 4537, 300},
	{"open-protocol wide insert", "openprotocol.Rows/wide.insert", 40549, 3000},
	{"avro narrow insert", "avro.Avro/narrow.insert", 4239, 200},
	{"avro wide insert", "avro.Avro/wide.insert", 38147, 0},
	{"canal narrow insert", "canal.Rows/narrow.insert", 4919, 0},
	{"simple narrow insert, JSON", "simple.SimpleJSON/narrow.insert", 2906, 0},
	{"simple narrow insert, Avro", "simple.SimpleAvro/narrow.insert", 3899, 0},
	{"debezium narrow insert", "debezium.Debezium/narrow.insert", 7340, 0},
	{"maxwell narrow insert", "maxwell.Maxwell/narrow.insert", 3110, 0},
	{"csv narrow insert", "csv.CSV/narrow.insert", 2509, 0},
	{"whole changefeed, scan to blackhole", "Changefeed", 9200, 1000},
	{"catch-up from a real TiDB", "CatchUp", 9200, 9200 / 3},
}

// printTable writes the table. slower is how much slower this machine is than the
// one of the recorded figures.
func printTable(w io.Writer, results map[string]result, slower float64) error {
	fmt.Fprintf(w, "\nThis machine takes %.2f times as long as the one on which TiCDC was measured; its figures are scaled by that.\n\n", slower)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "| per row\t| ns\t| allocations\t| TiCDC, scaled ns\t| times faster\t| gate, scaled ns\t|")
	fmt.Fprintln(t, "|---\t|---:\t|---:\t|---:\t|---:\t|---:\t|")
	for _, c := range comparisons {
		r, ok := results[c.benchmark]
		if !ok {
			continue
		}
		ns, peer := r.nanoseconds(), c.peer*slower
		allocations, scaled, times, gate := "", "", "", ""
		if c.peer != 0 {
			scaled, times = fmt.Sprintf("%.0f", peer), fmt.Sprintf("%.1f", peer/ns)
		}
		if v, ok := r["allocs/row"]; ok {
			allocations = fmt.Sprintf("%.2g", v)
		}
		if c.gate != 0 {
			gate = fmt.Sprintf("%.0f", c.gate*slower)
			if ns > c.gate*slower {
				gate += " missed"
			}
		}
		fmt.Fprintf(t, "| %s\t| %.0f\t| %s\t| %s\t| %s\t| %s\t|\n", c.what, ns, allocations, scaled, times, gate)
	}
	return t.Flush()
}
