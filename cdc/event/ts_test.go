package event_test

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

func TestTs(t *testing.T) {
	const ts = event.Ts(470633840749576193)
	if got := ts.Time().Format(time.RFC3339Nano); got != "2026-11-22T05:33:45.418Z" || ts.Logical() != 1 {
		t.Errorf("time %s, logical %d", got, ts.Logical())
	}
	if back := event.NewTs(ts.Time()); back != ts-1 {
		t.Errorf("NewTs(Time()) = %d, want the same without the logical part", back)
	}
	if d := ts.Add(-time.Hour).Time().Sub(ts.Time()); d != -time.Hour {
		t.Errorf("an hour before is %v away", d)
	}
	parsed, err := event.ParseTs(ts.String())
	if err != nil || parsed != ts {
		t.Errorf("ParseTs(String()) = %d, %v", parsed, err)
	}
	for _, bad := range []string{"", "-1", "1.5", "now", "99999999999999999999"} {
		if _, err := event.ParseTs(bad); err == nil {
			t.Errorf("ParseTs(%q) succeeded", bad)
		}
	}
}

func TestTableSpan(t *testing.T) {
	span := event.TableSpan(104)
	// The prefix of row keys of table 104, and the first key behind them.
	if got := hex.EncodeToString(span.Start); got != "7480000000000000685f72" {
		t.Errorf("start %s", got)
	}
	if got := hex.EncodeToString(span.End); got != "7480000000000000685f73" {
		t.Errorf("end %s", got)
	}
	row := append(bytes.Clone(span.Start), 0x80, 0, 0, 0, 0, 0, 0, 1)
	index := append(bytes.Clone(span.Start[:9]), "_i"...)
	if !span.Contains(row) || span.Contains(index) || span.Contains(span.End) || event.TableSpan(105).Contains(row) {
		t.Error("the span does not hold exactly the table's rows")
	}
	if !(event.Span{Start: []byte("a")}).Contains([]byte("zzz")) {
		t.Error("an empty end is not the end of the key space")
	}
}

func TestRowChanged(t *testing.T) {
	image := []event.Value{event.TextValue("a"), {}}
	for kind, row := range map[event.Kind]*event.RowChanged{
		event.Insert: {Columns: image},
		event.Update: {Columns: image, PreColumns: image},
		event.Delete: {PreColumns: image},
	} {
		if row.Kind() != kind || len(row.Image()) != 2 {
			t.Errorf("kind %s, want %s", row.Kind(), kind)
		}
	}
	text := []byte("abc")
	row := &event.RowChanged{Key: []byte("k"), Columns: []event.Value{event.TextBytesValue(text)}}
	clone := row.Clone()
	text[0], row.Key[0] = 'X', 'X'
	row.Columns[0] = event.Value{}
	if clone.Columns[0].Text() != "abc" || string(clone.Key) != "k" || clone.Kind() != event.Insert {
		t.Errorf("the clone shares memory: %q %q", clone.Columns[0].Text(), clone.Key)
	}
}
