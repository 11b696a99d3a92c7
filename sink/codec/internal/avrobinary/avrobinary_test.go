package avrobinary_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"

	"github.com/tidbcdc/tidbcdc/sink/codec/internal/avrobinary"
)

// TestPrimitives compares what is written with another implementation, and reads it back.
func TestPrimitives(t *testing.T) {
	check := func(name, schema string, value any, got []byte) {
		t.Helper()
		want, err := avro.Marshal(avro.MustParse(schema), value)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s %v: got %x, want %x", name, value, got, want)
		}
	}
	for _, n := range []int64{0, -1, 1, 63, 64, -64, -65, 8191, 1 << 40, math.MaxInt64, math.MinInt64} {
		b := avrobinary.AppendLong(nil, n)
		check("long", `"long"`, n, b)
		if got := avrobinary.NewReader(b).Long(); got != n {
			t.Errorf("read %d as %d", n, got)
		}
	}
	for _, n := range []int{0, 1, 63, 64, 8191, 8192, 1 << 20} {
		s := strings.Repeat("x", n)
		b := avrobinary.AppendString(nil, s)
		check("string", `"string"`, s, b)
		if got := avrobinary.InsertLength(append([]byte("ab"), s...), 2); !bytes.Equal(got, append([]byte("ab"), b...)) {
			t.Errorf("InsertLength of %d bytes differs", n)
		}
		if got := avrobinary.NewReader(b).String(); got != s {
			t.Errorf("read %d bytes as %d", n, len(got))
		}
	}
	check("bytes", `"bytes"`, []byte{0, 255}, avrobinary.AppendBytes(nil, []byte{0, 255}))
	check("boolean", `"boolean"`, true, avrobinary.AppendBool(nil, true))
	check("float", `"float"`, float32(1.5), avrobinary.AppendFloat(nil, 1.5))
	check("double", `"double"`, -0.1, avrobinary.AppendDouble(nil, -0.1))
}

func TestReaderErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
		read func(*avrobinary.Reader)
	}{
		{"long cut", []byte{0x80}, func(r *avrobinary.Reader) { r.Long() }},
		{"long of 11 bytes", bytes.Repeat([]byte{0xff}, 11), func(r *avrobinary.Reader) { r.Long() }},
		{"int too large", avrobinary.AppendLong(nil, 1<<31), func(r *avrobinary.Reader) { r.Int() }},
		{"negative length", avrobinary.AppendLong(nil, -1), func(r *avrobinary.Reader) { r.Bytes() }},
		{"length beyond the end", []byte{8, 1}, func(r *avrobinary.Reader) { r.Bytes() }},
		{"huge length", avrobinary.AppendLong(nil, math.MaxInt64), func(r *avrobinary.Reader) { r.Bytes() }},
		{"branch", []byte{4}, func(r *avrobinary.Reader) { r.Index(2) }},
		{"boolean", []byte{2}, func(r *avrobinary.Reader) { r.Bool() }},
		{"float", []byte{1, 2, 3}, func(r *avrobinary.Reader) { r.Float() }},
		{"double", make([]byte, 7), func(r *avrobinary.Reader) { r.Double() }},
		{"items", avrobinary.AppendLong(nil, 1<<40), func(r *avrobinary.Reader) { r.Items(func() { t.Error("an item") }) }},
		{"block count", avrobinary.AppendLong(nil, math.MinInt64), func(r *avrobinary.Reader) { r.Items(func() {}) }},
		{"no last block", []byte{2, 2}, func(r *avrobinary.Reader) { r.Items(func() { r.Long() }) }},
	} {
		r := avrobinary.NewReader(tt.data)
		tt.read(r)
		if r.Err() == nil {
			t.Errorf("%s: no error", tt.name)
		}
	}
}
