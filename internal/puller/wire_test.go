package puller

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"github.com/pingcap/kvproto/pkg/errorpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// describe decodes a message, as stream.handle does, to a text.
func describe(data []byte) (string, error) {
	got, err := describePieces(data, len(data)+1)
	for _, size := range []int{1, 2, 7, 30} {
		other, otherErr := describePieces(data, size)
		if other != got || fmt.Sprint(otherErr) != fmt.Sprint(err) {
			return "", fmt.Errorf("%q, %w, but in pieces of %d: %q, %w", got, err, size, other, otherErr)
		}
	}
	return got, err
}

func describePieces(data []byte, size int) (string, error) {
	msg := new(framePool).take(inPieces(data, size))
	var b strings.Builder
	var resolved wireResolvedTs
	hasResolved := false
	for msg.left > 0 {
		f, err := msg.next()
		if err != nil {
			return "", err
		}
		if f.num > 2 {
			continue
		}
		if err := f.expect(protowire.BytesType); err != nil {
			return "", err
		}
		if f.num == 2 {
			hasResolved = true
			if err := resolved.decode(f.bytes); err != nil {
				return "", err
			}
			continue
		}
		e, err := decodeEvent(f.bytes)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "region %d request %d", e.regionID, e.requestID)
		switch e.content {
		case contentRows:
			rows, err := decodeRows(nil, e.payload)
			if err != nil {
				return "", err
			}
			for _, r := range rows {
				fmt.Fprintf(&b, "\n  %s %s %d-%d gen %d %x=%x/%x", r.typ, r.op, r.startTs, r.commitTs, r.generation,
					r.key.of(e.payload), r.value.of(e.payload), r.old.of(e.payload))
			}
		case contentError:
			var failure cdcpb.Error
			if err := failure.Unmarshal(e.payload); err != nil {
				return "", err
			}
			fmt.Fprintf(&b, " error %s", failure.String())
		case contentResolvedTs:
			fmt.Fprintf(&b, " resolved %d", e.resolvedTs)
		}
		b.WriteByte('\n')
	}
	if hasResolved {
		fmt.Fprintf(&b, "resolved %d request %d regions %d\n", resolved.ts, resolved.requestID, resolved.regions)
	}
	return b.String(), nil
}

// describeGenerated is describe with the generated code.
func describeGenerated(data []byte) (string, error) {
	var msg cdcpb.ChangeDataEvent
	if err := msg.Unmarshal(data); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range msg.Events {
		fmt.Fprintf(&b, "region %d request %d", e.RegionId, e.RequestId)
		switch content := e.Event.(type) {
		case *cdcpb.Event_Entries_:
			for _, r := range content.Entries.Entries {
				fmt.Fprintf(&b, "\n  %s %s %d-%d gen %d %x=%x/%x", r.Type, opOf(r.OpType), r.StartTs, r.CommitTs, r.Generation,
					r.Key, r.Value, r.OldValue)
			}
		case *cdcpb.Event_Error:
			fmt.Fprintf(&b, " error %s", content.Error.String())
		case *cdcpb.Event_ResolvedTs:
			fmt.Fprintf(&b, " resolved %d", content.ResolvedTs)
		}
		b.WriteByte('\n')
	}
	if r := msg.ResolvedTs; r != nil {
		fmt.Fprintf(&b, "resolved %d request %d regions %d\n", r.Ts, r.RequestId, r.Regions)
	}
	return b.String(), nil
}

// agree checks that a message is decoded as the generated code does it. What
// that refuses may be accepted only in parts that are skipped here.
func agree(t *testing.T, data []byte) {
	t.Helper()
	want, wantErr := describeGenerated(data)
	got, err := describe(data)
	switch {
	case wantErr != nil:
	case err != nil && !overlong(data):
		t.Fatalf("message %x: %v; want\n%s", data, err, want)
	case err == nil && got != want:
		t.Fatalf("message %x:\n%s\nwant\n%s", data, got, want)
	}
}

// overlong reports whether the message may contain what the generated code takes
// although the format forbids it: varints of more than 64 bits, field numbers
// beyond 2^29, groups whose ends are mixed up.
func overlong(data []byte) bool {
	const tagBytes = 5
	run := 0
	for _, c := range data {
		switch {
		case c&7 == byte(protowire.StartGroupType): // perhaps the first byte of a tag
			return true
		case c >= 0x80:
			if run++; run >= tagBytes-1 {
				return true
			}
			continue
		}
		run = 0
	}
	return false
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, rng.IntN(n+1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func randomRow(rng *rand.Rand) *cdcpb.Event_Row {
	ts := func() uint64 { return rng.Uint64() >> rng.IntN(64) }
	return &cdcpb.Event_Row{
		StartTs: ts(), CommitTs: ts(), Generation: ts() >> rng.IntN(64), ExpireTsUnixSecs: ts(), TxnSource: ts(),
		Type: cdcpb.Event_LogType(rng.IntN(7)), OpType: cdcpb.Event_Row_OpType(rng.IntN(4)),
		Key: randomBytes(rng, 20), Value: randomBytes(rng, 300), OldValue: randomBytes(rng, 200),
	}
}

func randomMessage(rng *rand.Rand) *cdcpb.ChangeDataEvent {
	msg := &cdcpb.ChangeDataEvent{}
	for range rng.IntN(4) {
		e := &cdcpb.Event{RegionId: rng.Uint64() >> rng.IntN(64), RequestId: uint64(rng.IntN(300)), Index: uint64(rng.IntN(3))}
		switch rng.IntN(7) {
		case 0:
			e.Event = &cdcpb.Event_ResolvedTs{ResolvedTs: rng.Uint64()}
		case 1:
			e.Event = &cdcpb.Event_Error{Error: &cdcpb.Error{NotLeader: &errorpb.NotLeader{RegionId: 7}}}
		case 2:
			e.Event = &cdcpb.Event_Admin_{Admin: &cdcpb.Event_Admin{}}
		case 3:
			e.Event = &cdcpb.Event_LongTxn_{LongTxn: &cdcpb.Event_LongTxn{}}
		default:
			entries := &cdcpb.Event_Entries{}
			for range rng.IntN(5) {
				entries.Entries = append(entries.Entries, randomRow(rng))
			}
			e.Event = &cdcpb.Event_Entries_{Entries: entries}
		}
		msg.Events = append(msg.Events, e)
	}
	if rng.IntN(3) == 0 {
		msg.ResolvedTs = &cdcpb.ResolvedTs{Ts: rng.Uint64(), RequestId: uint64(rng.IntN(3))}
		for range rng.IntN(5) {
			msg.ResolvedTs.Regions = append(msg.ResolvedTs.Regions, rng.Uint64()>>rng.IntN(64))
		}
	}
	return msg
}

func TestDecodeAsGenerated(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 20000 {
		data, err := randomMessage(rng).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		want, err := describeGenerated(data)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := describe(data); err != nil || got != want {
			t.Fatalf("message %x: %v\n%s\nwant\n%s", data, err, got, want)
		}
		if len(data) == 0 {
			continue
		}
		for range 5 {
			mutated := bytes.Clone(data)
			switch at := rng.IntN(len(data)); rng.IntN(4) {
			case 0:
				mutated = mutated[:at]
			case 1:
				mutated[at] ^= 1 << rng.IntN(8)
			case 2:
				mutated = slices.Insert(mutated, at, byte(rng.Uint32()))
			default:
				mutated = slices.Delete(mutated, at, at+1)
			}
			agree(t, mutated)
		}
	}
}

func FuzzDecode(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		data, err := randomMessage(rng).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(agree)
}

// unhex reads bytes in hex, with spaces.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeGolden(t *testing.T) {
	for name, tc := range map[string]struct{ data, want string }{
		"empty": {"", ""},
		"a row": {
			"0a 1c 0807 3809 1a16" + "0a14 0805 1006 1804 2001 2a01 6b 3202 7677 3a01 6f 4803",
			"region 7 request 9\n  COMMITTED put 5-6 gen 0 6b=7677/6f\n",
		},
		"fields from the last to the first, and unknown ones": {
			"0a 22 1a1c" + "0a1a 5002 3a01 6f 3201 76 2a01 6b 2002 1801 0805 7a01 00 9d01 00000000" + "3809 0807",
			"region 7 request 9\n  PREWRITE delete 5-0 gen 2 6b=76/6f\n",
		},
		"the last occurrence of a field counts": {
			"0a 0e 0807 0808 1a08" + "0a06 2a01 6b 2a01 6c",
			"region 8 request 0\n  UNKNOWN unknown op 0-0 gen 0 6c=/\n",
		},
		"the last alternative counts":    {"0a 04 1a00 3005", "region 0 request 0 resolved 5\n"},
		"an alternative of no interest":  {"0a 04 3005 4200", "region 0 request 0\n"},
		"tags longer than they need be":  {"0a 0b 8800 07 9a00 05 8a00 02 1802", "region 7 request 0\n  COMMIT unknown op 0-0 gen 0 =/\n"},
		"resolved ts":                    {"12 09 0a03 01ac02 1005 1809", "resolved 5 request 9 regions [1 300]\n"},
		"resolved ts of unpacked ids":    {"12 06 0801 0802 1005", "resolved 5 request 0 regions [1 2]\n"},
		"resolved ts in two occurrences": {"12 04 0801 1005 12 04 0802 1006", "resolved 6 request 0 regions [1 2]\n"},
		"unknown fields of the message":  {"1a 02 ffff 1b 1c 20 00 25 00000000 29 0000000000000000", ""},
	} {
		t.Run(name, func(t *testing.T) {
			data := unhex(t, tc.data)
			if got, err := describe(data); err != nil || got != tc.want {
				t.Fatalf("got %q, %v; want %q", got, err, tc.want)
			}
			if got, err := describeGenerated(data); err != nil || got != tc.want {
				t.Fatalf("generated code: %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

var malformed = map[string]string{
	"a varint that does not end":         "0a 02 08ff",
	"an event longer than the message":   "0a 05 0807",
	"rows longer than the event":         "0a 02 1a05",
	"a row longer than the rows":         "0a 04 1a02 0a05",
	"a key longer than the row":          "0a 06 1a04 0a02 2a05",
	"a key of 2^63 bytes":                "0a 0f 1a0d 0a0b 2a8080808080808080 8001",
	"a ts that does not end":             "0a 06 1a04 0a02 08ff",
	"a ts of eleven bytes":               "0a 11 1a0f 0a0d 08ffffffffffffffffffff01 00",
	"an unknown field longer than a row": "0a 06 1a04 0a02 7a05",
	"a ts as bytes":                      "0a 06 1a04 0a02 0a00",
	"a key as a number":                  "0a 06 1a04 0a02 2800",
	"rows as a number":                   "0a 02 1801",
	"a region id as bytes":               "0a 02 0a00",
	"an event as a number":               "08 01",
	"a row as a number":                  "0a 04 1a02 0801",
	"field zero":                         "0a 02 0000",
	"the end of a group":                 "0a 01 0c",
	"an unknown wire type":               "0a 01 0f",
	"regions that do not end":            "12 03 0a01 ff",
	"a resolved ts as bytes":             "12 02 1200",
}

func TestDecodeMalformed(t *testing.T) {
	for name, data := range malformed {
		t.Run(name, func(t *testing.T) {
			if got, err := describe(unhex(t, data)); err == nil {
				t.Errorf("decoded to %q", got)
			}
			if got, err := describeGenerated(unhex(t, data)); err == nil {
				t.Errorf("generated code decoded to %q", got)
			}
		})
	}
}

// A message that cannot be read ends the stream, and its regions with a
// protocol error.
func TestMalformedEndsStream(t *testing.T) {
	s, r := oneRegion(t, true)
	event := append([]byte{0x0a, 0, 0x08, byte(r.id()), 0x38, byte(r.sub.id)}, 0x1a, 0x04, 0x0a, 0x02, 0x2a, 0x05)
	event[1] = byte(len(event) - 2)
	for name, data := range map[string][]byte{
		"message": {0x0a}, "event": {0x0a, 1, 8}, "rows": event, "resolved ts": {0x12, 1, 8},
	} {
		err := s.handle(new(framePool).take(inPieces(data, 1)))
		var known *regionError
		if !errors.As(err, &known) || known.kind != kindProtocol || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		s.worked = true
		if f := s.failure(fmt.Errorf("receive: %w", err)); f != known {
			t.Errorf("%s: regions fail with %v", name, f)
		}
	}
}
