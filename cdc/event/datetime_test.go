package event_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

func TestTemporalText(t *testing.T) {
	v := must(t)
	for _, tc := range []struct {
		kind event.ValueKind
		text string
		fsp  int
		want string // "" means the text itself
		real bool   // the calendar has the date
	}{
		{event.KindDate, "2024-02-29", 0, "", true},
		{event.KindDate, "2023-02-29", 0, "", false},
		{event.KindDate, "0000-00-00", 0, "", false},
		{event.KindDate, "9999-12-31", 0, "", true},
		{event.KindDatetime, "0000-00-00 00:00:00", 0, "", false},
		{event.KindDatetime, "2024-00-00 00:00:00", 0, "", false},
		{event.KindDatetime, "2024-02-31 10:00:00.123", 3, "", false},
		{event.KindDatetime, "2024-04-31 10:00:00", 0, "", false},
		{event.KindDatetime, "1900-02-29 00:00:00", 0, "", false},
		{event.KindDatetime, "2000-02-29 00:00:00", 0, "", true},
		{event.KindDatetime, "2024-12-31 23:59:59.999999", 6, "", true},
		{event.KindDatetime, "2024-12-31T23:59:59", 0, "2024-12-31 23:59:59", true},
		{event.KindDatetime, "2024-12-31", 2, "2024-12-31 00:00:00.00", true},
		{event.KindDatetime, "2024-12-31 01:02:03.4567", 3, "2024-12-31 01:02:03.457", true},
		{event.KindTimestamp, "1970-01-01 00:00:01", 0, "", true},
	} {
		want := tc.want
		if want == "" {
			want = tc.text
		}
		value := v(event.ParseTemporal(tc.kind, tc.text, tc.fsp))
		if got := value.Text(); got != want {
			t.Errorf("%s: got %s", want, got)
		}
		got, ok := value.Time(nil)
		if ok != tc.real {
			t.Errorf("%s: Time() says the date exists: %v", want, ok)
		}
		if ok && !strings.HasPrefix(got.Format("2006-01-02 15:04:05.000000"), want) {
			t.Errorf("%s: Time() = %v", want, got)
		}
	}
}

func TestTemporalFields(t *testing.T) {
	in := event.DateTime{Year: 9999, Month: 12, Day: 31, Hour: 23, Minute: 59, Second: 58, Microsecond: 999999}
	v := must(t)(event.TemporalValue(event.KindDatetime, in, 3))
	if v.DateTime() != in || v.Fsp() != 3 {
		t.Errorf("got %+v with %d digits", v.DateTime(), v.Fsp())
	}
	for _, bad := range []event.DateTime{
		{Year: 10000}, {Year: -1}, {Month: 13}, {Day: 32}, {Hour: 24}, {Minute: 60}, {Second: 60}, {Microsecond: 1e6},
	} {
		if v, err := event.TemporalValue(event.KindDatetime, bad, 0); err == nil {
			t.Errorf("%+v was accepted as %s", bad, v.Text())
		}
	}
	for _, bad := range []uint64{math.MaxUint64, 24 << 36, 60 << 30, 60 << 24, 1e6, 10000 * 13 << 46} {
		if v, err := event.PackedTimeValue(event.KindDatetime, bad, 0); err == nil {
			t.Errorf("packed %#x was accepted as %s", bad, v.Text())
		}
	}
	if _, err := event.PackedTimeValue(event.KindText, 0, 0); err == nil {
		t.Error("a packed time was accepted as text")
	}
}

// Berlin put its clocks back at 01:00 UTC on 27 October 2024: 02:30 came twice.
// The two instants stay two, and a zone only decides how they are shown.
func TestTimestampIn(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skipf("no time zone data: %v", err)
	}
	v := must(t)
	before := v(event.ParseTemporal(event.KindTimestamp, "2024-10-27 00:30:00.25", 2))
	after := v(event.ParseTemporal(event.KindTimestamp, "2024-10-27 01:30:00.25", 2))
	for _, value := range []event.Value{before, after} {
		if got := string(value.AppendTextIn(nil, berlin)); got != "2024-10-27 02:30:00.25" {
			t.Errorf("got %s", got)
		}
	}
	a, _ := before.Time(berlin)
	b, _ := after.Time(berlin)
	if b.Sub(a) != time.Hour || a.Location() != berlin {
		t.Errorf("got %v and %v", a, b)
	}
	if event.Equal(before, after) {
		t.Error("two instants are equal")
	}
	// A DATETIME has no zone.
	plain := v(event.ParseTemporal(event.KindDatetime, "2024-10-27 00:30:00", 0))
	if got := string(plain.AppendTextIn(nil, berlin)); got != "2024-10-27 00:30:00" {
		t.Errorf("got %s", got)
	}
	if at, _ := plain.Time(berlin); at.UTC().Hour() != 22 {
		t.Errorf("got %v", at.UTC())
	}
	zero := v(event.ParseTemporal(event.KindTimestamp, "0000-00-00 00:00:00", 0))
	if got := string(zero.AppendTextIn(nil, berlin)); got != "0000-00-00 00:00:00" {
		t.Errorf("got %s", got)
	}
	// The end of MySQL's range has no local form; it is shown in UTC.
	end := v(event.ParseTemporal(event.KindTimestamp, "9999-12-31 23:59:59", 0))
	if got := string(end.AppendTextIn(nil, berlin)); got != "9999-12-31 23:59:59" {
		t.Errorf("got %s", got)
	}
}

func TestTimestampValue(t *testing.T) {
	at := time.Date(2024, 7, 22, 3, 2, 3, 456789, time.FixedZone("+02", 7200))
	v := must(t)(event.TimestampValue(at, 6))
	if v.Text() != "2024-07-22 01:02:03.000456" {
		t.Errorf("got %s", v.Text())
	}
	if _, err := event.TimestampValue(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), 0); err == nil {
		t.Error("year 10000 was accepted")
	}
}

func TestDurationText(t *testing.T) {
	v := must(t)
	for _, tc := range []struct {
		text string
		fsp  int
	}{
		{"00:00:00", 0},
		{"-00:00:00.000001", 6},
		{"838:59:59.000000", 6},
		{"-838:59:59", 0},
		{"100:00:00.50", 2},
		{"12:34:56.789", 3},
	} {
		value := v(event.ParseDuration(tc.text, tc.fsp))
		if value.Text() != tc.text {
			t.Errorf("%s: got %s", tc.text, value.Text())
		}
		if back := event.DurationValue(value.Duration(), tc.fsp); !event.Equal(back, value) {
			t.Errorf("%s: Duration() = %v", tc.text, value.Duration())
		}
	}
	// What no column can hold is still rendered.
	if got := event.DurationValue(math.MinInt64, 6).Text(); got != "-2562047:47:16.854775" {
		t.Errorf("got %s", got)
	}
	for _, bad := range []string{"", "1", "1:2", "839:00:00", "00:60:00", "00:00:60", "a:b:c", "00:00:00.x", "--01:00:00"} {
		if value, err := event.ParseDuration(bad, 0); err == nil {
			t.Errorf("%q was parsed as %s", bad, value.Text())
		}
	}
}

func TestParseTemporalErrors(t *testing.T) {
	for _, bad := range []string{"", "2024", "2024-13-01", "2024-01-32", "2024-01-01 24:00:00", "2024-01-01 00:00", "x-y-z", "2024-01-01 00:00:00.z", "-1-01-01"} {
		if value, err := event.ParseTemporal(event.KindDatetime, bad, 0); err == nil {
			t.Errorf("%q was parsed as %s", bad, value.Text())
		}
	}
}
