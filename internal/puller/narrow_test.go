package puller

import (
	"bufio"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/pingcap/kvproto/pkg/cdcpb"
)

// NarrowRows returns inserts of sysbench rows as COMMITTED, with
// timestamps as large as those of PD are today.
func NarrowRows(tb testing.TB) []*cdcpb.Event_Row {
	tb.Helper()
	f, err := os.Open("../rowcodec/testdata/narrow.insert.jsonl.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	const base = 460_000_000 << 30 // a TSO of the year 2026
	var rows []*cdcpb.Event_Row
	for lines := bufio.NewScanner(plain); lines.Scan(); {
		var in struct {
			StartTs  uint64 `json:"start_ts"`
			CommitTs uint64 `json:"commit_ts"`
			Key      string `json:"key"`
			Value    string `json:"value"`
		}
		if err := json.Unmarshal(lines.Bytes(), &in); err != nil {
			tb.Fatal(err)
		}
		rows = append(rows, &cdcpb.Event_Row{
			Type: cdcpb.Event_COMMITTED, OpType: cdcpb.Event_Row_PUT,
			StartTs: base + in.StartTs, CommitTs: base + in.CommitTs,
			Key: unhex(in.Key), Value: unhex(in.Value),
		})
	}
	return rows
}

// PrewriteAndCommit returns the two rows that become a COMMITTED row. The
// COMMIT repeats the value, as stores do with values of up to 255 bytes.
func PrewriteAndCommit(committed *cdcpb.Event_Row) (prewrite, commit *cdcpb.Event_Row) {
	p, c := *committed, *committed
	p.Type, p.CommitTs = cdcpb.Event_PREWRITE, 0
	c.Type = cdcpb.Event_COMMIT
	return &p, &c
}

// NarrowMessage returns a message of n events. Those of a scan have as many rows
// as a store puts into one; live they have the given number, and prewrites
// and commits take turns.
func NarrowMessage(rows []*cdcpb.Event_Row, live bool, n, perEvent int) *cdcpb.ChangeDataEvent {
	msg := &cdcpb.ChangeDataEvent{}
	add := func(rows []*cdcpb.Event_Row) {
		msg.Events = append(msg.Events, &cdcpb.Event{Event: &cdcpb.Event_Entries_{Entries: &cdcpb.Event_Entries{Entries: rows}}})
	}
	for at := 0; len(msg.Events) < n; at += perEvent {
		var first, second []*cdcpb.Event_Row
		for i := range perEvent {
			row := rows[(at+i)%len(rows)]
			if live {
				p, c := PrewriteAndCommit(row)
				first, second = append(first, p), append(second, c)
				continue
			}
			first = append(first, row)
		}
		add(first)
		if live {
			add(second)
		}
	}
	return msg
}
