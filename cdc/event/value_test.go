package event_test

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// must returns v, or fails the test if it could not be made.
func must(t testing.TB) func(v event.Value, err error) event.Value {
	t.Helper()
	return func(v event.Value, err error) event.Value {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestValueIs24Bytes(t *testing.T) {
	if n := unsafe.Sizeof(event.Value{}); n > 24 { // less where a pointer is
		t.Errorf("a Value takes %d bytes, want at most 24", n)
	}
}

func TestValueTextAndAny(t *testing.T) {
	v := must(t)
	elems := []string{"red", "green", "blue"}
	clock := event.DateTime{Year: 2024, Month: 7, Day: 22, Hour: 1, Minute: 2, Second: 3, Microsecond: 456}
	for _, tc := range []struct {
		value event.Value
		kind  event.ValueKind
		text  string
		any   any
	}{
		{event.Value{}, event.KindNull, "", nil},
		{event.Int64Value(-5), event.KindInt64, "-5", int64(-5)},
		{event.Uint64Value(math.MaxUint64), event.KindUint64, "18446744073709551615", uint64(math.MaxUint64)},
		{event.Float32Value(1.1), event.KindFloat32, "1.1", float32(1.1)},
		{event.Float64Value(-0.25), event.KindFloat64, "-0.25", -0.25},
		{event.TextValue("héllo"), event.KindText, "héllo", "héllo"},
		{event.TextBytesValue([]byte("x")), event.KindText, "x", "x"},
		{event.TextValue(""), event.KindText, "", ""},
		{event.BytesValue([]byte{0, 255}), event.KindBytes, "\x00\xff", []byte{0, 255}},
		{v(event.ParseDecimal("-12.34", 2)), event.KindDecimal, "-12.34", "-12.34"},
		{v(event.TemporalValue(event.KindDate, clock, 0)), event.KindDate, "2024-07-22", "2024-07-22"},
		{v(event.TemporalValue(event.KindDatetime, clock, 6)), event.KindDatetime, "2024-07-22 01:02:03.000456", "2024-07-22 01:02:03.000456"},
		{v(event.TemporalValue(event.KindDatetime, clock, 4)), event.KindDatetime, "2024-07-22 01:02:03.0004", "2024-07-22 01:02:03.0004"},
		{v(event.TemporalValue(event.KindTimestamp, clock, 0)), event.KindTimestamp, "2024-07-22 01:02:03", "2024-07-22 01:02:03"},
		{event.DurationValue(-time.Hour, 0), event.KindDuration, "-01:00:00", "-01:00:00"},
		{event.BitValue(5, 9), event.KindBit, "5", []byte{0, 5}},
		{event.EnumValue(2, elems), event.KindEnum, "green", "green"},
		{event.EnumValue(0, elems), event.KindEnum, "", ""},
		{event.EnumValue(4, elems), event.KindEnum, "", ""},
		{event.SetValue(5, elems), event.KindSet, "red,blue", "red,blue"},
		{event.SetValue(0, elems), event.KindSet, "", ""},
		{event.SetValue(1<<63|2, elems), event.KindSet, "green", "green"},
		{event.SetValue(0, nil), event.KindSet, "", ""},
		{v(event.ParseJSON(`{"b":[1,2],"a":1}`)), event.KindJSON, `{"a": 1, "b": [1, 2]}`, json.RawMessage(`{"a": 1, "b": [1, 2]}`)},
		{v(event.ParseVector("[1, 2.5]")), event.KindVector, "[1,2.5]", []float32{1, 2.5}},
	} {
		if tc.value.Kind() != tc.kind {
			t.Errorf("%s %q: kind %s", tc.kind, tc.text, tc.value.Kind())
		}
		if got := tc.value.Text(); got != tc.text {
			t.Errorf("%s: Text() = %q, want %q", tc.kind, got, tc.text)
		}
		if got := string(tc.value.AppendText([]byte("pre "))); got != "pre "+tc.text {
			t.Errorf("%s: AppendText = %q, want %q", tc.kind, got, "pre "+tc.text)
		}
		if got := tc.value.Any(); !reflect.DeepEqual(got, tc.any) {
			t.Errorf("%s: Any() = %#v, want %#v", tc.kind, got, tc.any)
		}
		if c := tc.value.Clone(); !event.Equal(c, tc.value) || c.Text() != tc.text {
			t.Errorf("%s: clone is %q, want %q", tc.kind, c.Text(), tc.text)
		}
	}
}

func TestValueNumbers(t *testing.T) {
	v := must(t)
	elems := []string{"x", "y"}
	for _, tc := range []struct {
		value event.Value
		i     int64
		u     uint64
		f     float64
	}{
		{event.Int64Value(-1), -1, math.MaxUint64, -1},
		{event.Uint64Value(math.MaxUint64), -1, math.MaxUint64, math.MaxUint64},
		{event.Float32Value(1.5), 0, 0, 1.5},
		{event.Float64Value(1e300), 0, 0, 1e300},
		{v(event.ParseDecimal("-12.50", 2)), 0, 0, -12.5},
		{event.BitValue(7, 3), 7, 7, 0},
		{event.EnumValue(2, elems), 2, 2, 0},
		{event.SetValue(3, elems), 3, 3, 0},
		{event.TextValue("12"), 0, 0, 0},
		{event.DurationValue(time.Second, 0), 0, 0, 0},
		{event.Value{}, 0, 0, 0},
	} {
		if tc.value.Int64() != tc.i || tc.value.Uint64() != tc.u || tc.value.Float64() != tc.f {
			t.Errorf("%s %s: got %d, %d, %v, want %d, %d, %v", tc.value.Kind(), tc.value.Text(),
				tc.value.Int64(), tc.value.Uint64(), tc.value.Float64(), tc.i, tc.u, tc.f)
		}
	}
}

func TestFloatText(t *testing.T) {
	for _, tc := range []struct {
		value event.Value
		want  string
	}{
		{event.Float64Value(0), "0"},
		{event.Float64Value(1e14), "100000000000000"},
		{event.Float64Value(999999999999999), "999999999999999"},
		{event.Float64Value(1e15), "1e15"},
		{event.Float64Value(-1.5e20), "-1.5e20"},
		{event.Float64Value(1e300), "1e300"},
		{event.Float64Value(1e-15), "0.000000000000001"},
		{event.Float64Value(1.5e-16), "1.5e-16"},
		{event.Float64Value(0.1), "0.1"},
		{event.Float32Value(0.1), "0.1"},
		{event.Float32Value(16777216), "16777216"},
		{event.Float32Value(3e38), "3e38"},
		{event.Float32Value(1e-30), "1e-30"},
	} {
		if got := tc.value.Text(); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}

func TestBitBytes(t *testing.T) {
	for _, tc := range []struct {
		width int
		bits  uint64
		want  []byte
	}{
		{1, 1, []byte{1}},
		{8, 0x80, []byte{0x80}},
		{9, 0x101, []byte{1, 1}},
		{64, 1 << 63, []byte{0x80, 0, 0, 0, 0, 0, 0, 0}},
	} {
		if got := event.BitValue(tc.bits, tc.width).Bytes(); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("BIT(%d) %#x: got %x, want %x", tc.width, tc.bits, got, tc.want)
		}
	}
}

func TestVectorErrors(t *testing.T) {
	for _, bad := range [][]byte{nil, {1, 0, 0}, {1, 0, 0, 0}, {1, 0, 0, 0, 0, 0, 0}, {255, 255, 255, 255}} {
		if v, err := event.VectorValue(bad); err == nil {
			t.Errorf("%x was accepted as %s", bad, v.Text())
		}
	}
	for _, bad := range []string{"", "1,2", "[1,2", "[1,,2]", "[x]", "[1e99]"} {
		if v, err := event.ParseVector(bad); err == nil {
			t.Errorf("%q was parsed as %s", bad, v.Text())
		}
	}
	if v, err := event.ParseVector(" [ ] "); err != nil || v.Text() != "[]" {
		t.Errorf("got %s, %v", v.Text(), err)
	}
}

func TestEqual(t *testing.T) {
	v := must(t)
	elems := []string{"a", "b"}
	distinct := []event.Value{
		{},
		event.Int64Value(1), event.Int64Value(2), event.Uint64Value(1), event.Float64Value(1), event.Float32Value(1),
		event.TextValue("1"), event.TextValue(""), event.BytesValue([]byte("1")), event.TextValue("2"),
		v(event.ParseDecimal("1", 0)), v(event.ParseDecimal("1", 1)), v(event.ParseDecimal("-1", 0)),
		event.DurationValue(1e9, 0), event.BitValue(1, 1),
		event.EnumValue(1, elems), event.EnumValue(2, elems), event.SetValue(1, elems), event.SetValue(2, elems),
		v(event.ParseJSON("1")), v(event.ParseJSON("[1]")), v(event.ParseVector("[1]")), v(event.ParseVector("[2]")),
		v(event.TemporalValue(event.KindDate, event.DateTime{Year: 2024}, 0)),
		v(event.TemporalValue(event.KindDatetime, event.DateTime{Year: 2024}, 0)),
	}
	for i, a := range distinct {
		for j, b := range distinct {
			if got, want := event.Equal(a, b.Clone()), i == j; got != want {
				t.Errorf("Equal(%s %s, %s %s) = %v", a.Kind(), a.Text(), b.Kind(), b.Text(), got)
			}
		}
	}
	if !event.Equal(event.SetValue(3, []string{"a", "b"}), event.SetValue(3, elems)) {
		t.Error("sets of equal names differ")
	}
	if nan := event.Float64Value(math.NaN()); !event.Equal(nan, nan) {
		t.Error("NaN differs from itself")
	}
}

func TestCloneSharesNothing(t *testing.T) {
	buf := []byte("text")
	v := event.TextBytesValue(buf)
	c := v.Clone()
	buf[0] = 'T'
	if v.Text() != "Text" {
		t.Error("value does not alias the bytes it was made of")
	}
	if c.Text() != "text" {
		t.Error("clone changed with the original")
	}
}

// Every accessor answers for every kind, with whatever fits.
func TestAccessorsAreTotal(t *testing.T) {
	v := must(t)
	for _, value := range []event.Value{
		{},
		event.Int64Value(1), event.TextValue("x"), event.EnumValue(0, nil), event.SetValue(9, nil), event.BitValue(1, 0),
		v(event.ParseJSON("{}")), v(event.ParseVector("[]")), v(event.ParseDecimal("0", 0)),
		v(event.PackedTimeValue(event.KindTimestamp, 0, -1)), event.DurationValue(math.MinInt64, 9),
	} {
		value.Int64()
		value.Uint64()
		value.Float64()
		value.Bytes()
		value.Vector()
		value.DateTime()
		value.Duration()
		value.Fsp()
		value.Time(nil)
		value.Any()
		value.AppendTextIn(nil, nil)
		value.Clone()
		event.Equal(value, value)
	}
	if s := event.ValueKind(99).String(); s != "unknown kind 99" {
		t.Errorf("got %q", s)
	}
}
