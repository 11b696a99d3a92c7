package jsontext_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"
)

// TestAppendString reads back with the standard library what was written, with
// special characters at every place of a word.
func TestAppendString(t *testing.T) {
	specials := []string{
		"", "\"", "\\", "\n", "\r", "\t", "\x00", "\x1f", " ", "\x7f", "!", "#", "[", "]",
		"é", "数据", "😀", "\u2028", "\xff", "\xe6\x95", "<&>",
	}
	for _, special := range specials {
		for before := range 18 {
			for _, after := range []int{0, 1, 7, 8, 9} {
				s := strings.Repeat("a", before) + special + strings.Repeat("z", after) + special
				got := jsontext.AppendString([]byte("x"), s)[1:]
				std, _ := json.Marshal(s)
				var back, want string
				if err := json.Unmarshal(got, &back); err != nil {
					t.Fatalf("%q became %s: %v", s, got, err)
				}
				_ = json.Unmarshal(std, &want)
				if back != want {
					t.Fatalf("%q became %s, want %s", s, got, std)
				}
				if b := jsontext.AppendBytes(nil, []byte(s)); string(b) != string(got) {
					t.Fatalf("the bytes of %q became %s, want %s", s, b, got)
				}
			}
		}
	}
	if got := string(jsontext.AppendString(nil, "a<\"\\\n\x01数")); got != `"a<\"\\\n\u0001数"` {
		t.Errorf("got %s", got)
	}
}

func TestAppendBytes(t *testing.T) {
	if got := string(jsontext.AppendLatin1(nil, "\x89PNG\r\"\xff\x00")); got != "\"\u0089PNG\\r\\\"ÿ\\u0000\"" {
		t.Errorf("got %q", got)
	}
	for _, n := range []int{0, 1, 127, 128, 129, 256, 1000} {
		b, want := make([]byte, n), ""
		for i := range b {
			b[i] = byte(i * 7)
			want += string(rune(b[i]))
		}
		if got := jsontext.AppendLatin1(nil, string(b)); !bytes.Equal(got, jsontext.AppendString(nil, want)) {
			t.Errorf("%d bytes became %q", n, got)
		}
	}
	if got := string(jsontext.AppendBase64(nil, []byte{0, 1, 0xff})); got != `"AAH/"` {
		t.Errorf("got %s", got)
	}
}

func TestValue(t *testing.T) {
	v, err := jsontext.Parse([]byte(` { "b" : [1, -2.5e3 ,"x\"]}", {"c":null}] , "a\u00e9":true,"":{}, "n":null } `))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	add := func(name string, value jsontext.Value) error {
		got = append(got, name+"="+value.Text())
		if strings.HasPrefix(string(value), "[") {
			return value.Elements(func(e jsontext.Value) error {
				got = append(got, e.Text())
				return nil
			})
		}
		return nil
	}
	if err := v.Members(add); err != nil {
		t.Fatal(err)
	}
	want := `b=[1, -2.5e3 ,"x\"]}", {"c":null}]|1|-2.5e3|x"]}|{"c":null}|aé=true|={}|n=null`
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestValueErrors(t *testing.T) {
	if _, err := jsontext.Parse([]byte(`{"secret":1`)); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	stop := errors.New("stop")
	for text, member := range map[string]func(jsontext.Value) error{
		`[1]`:     func(v jsontext.Value) error { return v.Members(nil) },
		`{"a":1}`: func(v jsontext.Value) error { return v.Elements(nil) },
		`"a"`:     func(v jsontext.Value) error { return v.Elements(nil) },
		`1`:       func(v jsontext.Value) error { return v.Members(nil) },
		`[1,2]`:   func(v jsontext.Value) error { return v.Elements(func(jsontext.Value) error { return stop }) },
	} {
		v, err := jsontext.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := member(v); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	null, _ := jsontext.Parse([]byte(" null"))
	if err := null.Members(nil); err != nil || !null.IsNull() || !jsontext.Value(nil).IsNull() {
		t.Errorf("null: %v", err)
	}
}

// FuzzValue compares with the standard library.
func FuzzValue(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\\\""}],"c":"é"}`))
	f.Add([]byte(`[[],{},"]",0]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := jsontext.Parse(text)
		if err != nil {
			return
		}
		check(t, v)
	})
}

func check(t *testing.T, v jsontext.Value) {
	t.Helper()
	switch {
	case v[0] == '{':
		var want map[string]json.RawMessage
		if err := json.Unmarshal(v, &want); err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		err := v.Members(func(name string, value jsontext.Value) error {
			got[name] = true
			check(t, value)
			return nil
		})
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %d members, want %d: %v", v, len(got), len(want), err)
		}
	case v[0] == '[':
		var want []json.RawMessage
		if err := json.Unmarshal(v, &want); err != nil {
			t.Fatal(err)
		}
		n := 0
		err := v.Elements(func(value jsontext.Value) error {
			n++
			check(t, value)
			return nil
		})
		if err != nil || n != len(want) {
			t.Fatalf("%s: %d elements, want %d: %v", v, n, len(want), err)
		}
	case v.IsString():
		var want string
		if err := json.Unmarshal(v, &want); err != nil || want != v.Text() {
			t.Fatalf("%s: got %q, want %q", v, v.Text(), want)
		}
	}
}

func BenchmarkAppendString(b *testing.B) {
	s := strings.Repeat("0123456789-", 11)
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf = jsontext.AppendString(buf[:0], s)
	}
}

// TestAppendFloat compares with the standard library.
func TestAppendFloat(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	values := []float64{0, 1, -1.5, 0.1, 1e-6, 9.99e-7, 1e-7, 1e-10, 1e20, 1e21, 1.5e300, 5e-324, math.MaxFloat64, math.MaxFloat32, 1e-45}
	for range 10000 {
		if f := math.Float64frombits(random.Uint64()); !math.IsNaN(f) && !math.IsInf(f, 0) {
			values = append(values, f)
		}
	}
	for _, f := range values {
		want, _ := json.Marshal(f)
		if got := jsontext.AppendFloat(nil, f, 64); !bytes.Equal(got, want) {
			t.Errorf("%v: got %s, want %s", f, got, want)
		}
		short := float32(f)
		if math.IsInf(float64(short), 0) {
			continue
		}
		want, _ = json.Marshal(short)
		if got := jsontext.AppendFloat(nil, float64(short), 32); !bytes.Equal(got, want) {
			t.Errorf("%v: got %s, want %s", short, got, want)
		}
	}
}
