package event_test

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

func TestJSONText(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{`null`, `null`},
		{`true`, `true`},
		{`false`, `false`},
		{`0`, `0`},
		{`-9223372036854775808`, `-9223372036854775808`},
		{`18446744073709551615`, `18446744073709551615`},
		{`18446744073709551616`, `18446744073709552000`},
		{`1.5`, `1.5`},
		{`1e-7`, `1e-7`},
		{`1e-10`, `1e-10`},
		{`1e21`, `1e+21`},
		{`0.000001`, `0.000001`},
		{`"x"`, `"x"`},
		{`""`, `""`},
		{`"\u0001\t\r\n\"\\\/é😀\u2028"`, `"\u0001\t\r\n\"\\/é😀\u2028"`},
		{`"<&>"`, `"<&>"`},
		{`[]`, `[]`},
		{`{}`, `{}`},
		{`[1,[2,[]],{}]`, `[1, [2, []], {}]`},
		{`{"b":1,"a":{"c":null,"":true},"b":2}`, `{"a": {"": true, "c": null}, "b": 2}`},
	} {
		v, err := event.ParseJSON(tc.in)
		if err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		if got := v.Text(); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.in, got, tc.want)
		}
	}
	for _, bad := range []string{"", "nul", "1 2", `{"a"}`, "1e999", strings.Repeat("[", 5000), `{"` + strings.Repeat("k", 1<<16) + `":1}`} {
		if v, err := event.ParseJSON(bad); err == nil {
			t.Errorf("%.20q was parsed as %s", bad, v.Text())
		}
	}
}

// jsonBin builds binary JSON: a type byte, numbers little-endian, the rest as it is.
func jsonBin(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		default:
			b, _ = binary.Append(b, binary.LittleEndian, p)
		}
	}
	return b
}

func TestJSONBinary(t *testing.T) {
	// year<<50 | month<<46 | day<<41 | hour<<36 | minute<<30 | second<<24 | µs<<4
	core := uint64(2024)<<50 | 1<<46 | 2<<41 | 3<<36 | 4<<30 | 5<<24 | 600000<<4
	fromTiDB, err := hex.DecodeString("010100000035000000130000000100031400000061030000002100000009170000000c1f000000040000000001000000000000000178")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		bin  []byte
		want string
	}{
		{fromTiDB, `{"a": [1, "x", null]}`},
		{jsonBin(byte(0x0e), core), `"2024-01-02"`},
		{jsonBin(byte(0x0f), core), `"2024-01-02 03:04:05.600000"`},
		{jsonBin(byte(0x10), core), `"2024-01-02 03:04:05.600000"`},
		{jsonBin(byte(0x0f), uint64(0)), `"0000-00-00 00:00:00.000000"`},
		{jsonBin(byte(0x11), int64(-36672500000000), uint32(1)), `"-10:11:12.500000"`},
		{jsonBin(byte(0x0d), byte(253), byte(3), "abc"), `"base64:type253:YWJj"`},
		{jsonBin(byte(0x0c), byte(2), "a\xff"), `"a\ufffd"`},
		{jsonBin(byte(0x0b), math.Float64bits(-0.5)), `-0.5`},
	} {
		v, err := event.JSONValue(tc.bin)
		if err != nil {
			t.Errorf("%x: %v", tc.bin, err)
			continue
		}
		if got := v.Text(); got != tc.want {
			t.Errorf("%x: got %s, want %s", tc.bin, got, tc.want)
		}
		for cut := range tc.bin {
			if v, err := event.JSONValue(tc.bin[:cut]); err == nil {
				t.Errorf("%x was accepted as %s", tc.bin[:cut], v.Text())
			}
		}
	}
}

func TestJSONBinaryErrors(t *testing.T) {
	array := func(size uint32, entries ...any) []byte {
		return append(jsonBin(byte(0x03), uint32(len(entries)/2), size), jsonBin(entries...)...)
	}
	for name, bad := range map[string][]byte{
		"unknown type":        {0x7f, 0},
		"unknown literal":     {0x04, 3},
		"literal in array":    array(13, byte(0x04), uint32(3)),
		"infinity":            jsonBin(byte(0x0b), math.Float64bits(math.Inf(1))),
		"month 15":            jsonBin(byte(0x0e), uint64(15)<<46),
		"string too long":     {0x0c, 5, 'a'},
		"endless length":      {0x0c, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80},
		"huge count":          jsonBin(byte(0x03), uint32(math.MaxUint32), uint32(8)),
		"size beyond the end": jsonBin(byte(0x03), uint32(0), uint32(9)),
		"array in itself":     array(13, byte(0x03), uint32(0)),
		"value in the header": array(13, byte(0x09), uint32(4)),
		"value at the end":    array(13, byte(0x09), uint32(13)),
	} {
		if v, err := event.JSONValue(bad); err == nil {
			t.Errorf("%s: %x was accepted as %.50s", name, bad, v.Text())
		}
	}
}

// Entries that share their values would make a small document render without
// end: 40 levels of two entries each are 2^40 values.
func TestJSONSharedValuesAreRefused(t *testing.T) {
	doc := jsonBin(byte(0x03), uint32(0), uint32(8))
	for range 40 {
		inner := doc[1:]
		size := uint32(8 + 10 + len(inner))
		doc = jsonBin(byte(0x03), uint32(2), size, byte(0x03), uint32(18), byte(0x03), uint32(18), inner)
	}
	if _, err := event.JSONValue(doc); err == nil {
		t.Error("shared values were accepted")
	}
}

func TestJSONDepth(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	v, err := event.ParseJSON(nested(100)) // the most that TiDB stores
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Text(); got != nested(100) {
		t.Errorf("got %s", got)
	}
	if _, err := event.ParseJSON(nested(1001)); err == nil {
		t.Error("1001 levels were accepted")
	}
}

// Whatever is accepted renders as JSON, of a length bounded by the input's.
func FuzzJSONValue(f *testing.F) {
	for _, s := range []string{
		"010100000035000000130000000100031400000061030000002100000009170000000c1f000000040000000001000000000000000178",
		"030000000008000000", "09ffffffffffffffff", "0c03737472", "0402",
	} {
		bin, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bin)
	}
	f.Add(jsonBin(byte(0x0f), uint64(2024)<<50|1<<46|2<<41))
	f.Add(jsonBin(byte(0x11), int64(-1), uint32(6)))
	f.Add(jsonBin(byte(0x0d), byte(253), byte(3), "abc"))
	f.Fuzz(func(t *testing.T, bin []byte) {
		v, err := event.JSONValue(bin)
		if err != nil {
			return
		}
		text := v.AppendText(nil)
		if !json.Valid(text) {
			t.Errorf("%x: got %s", bin, text)
		}
		// Six characters are the longest escape of a byte.
		if len(text) > 40+8*len(bin) {
			t.Errorf("%d bytes became %d characters", len(bin), len(text))
		}
	})
}

// What is parsed renders as the same document.
func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,"x",null]}`, `[]`, `"\ud83d\ude00"`, `1.25e-3`, `{"b":{},"a":[true,false]}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := event.ParseJSON(text)
		if err != nil {
			return
		}
		again, err := event.ParseJSON(v.Text())
		if err != nil {
			t.Fatalf("%q rendered as %q: %v", text, v.Text(), err)
		}
		if again.Text() != v.Text() {
			t.Errorf("%q rendered as %q, then as %q", text, v.Text(), again.Text())
		}
	})
}
