package event

import (
	"fmt"
	"time"
)

// DateTime is the fields of a DATE, DATETIME or TIMESTAMP. They need not form a
// date that exists: MySQL has a zero date (all fields 0), dates without a month
// or day (2024-00-00) and, in some SQL modes, days such as February 31st.
type DateTime struct {
	Year, Month, Day     int
	Hour, Minute, Second int
	Microsecond          int
}

// TiDB packs the fields into one number that sorts like the times:
//
//	year*13+month | day 5 bits | hour 5 bits | minute 6 bits | second 6 bits | microsecond 24 bits
const (
	packedMonths = 13
	maxYear      = 9999
	maxFsp       = 6
)

func unpackTime(packed uint64) DateTime {
	ym := int(packed >> 46)
	return DateTime{
		Year: ym / packedMonths, Month: ym % packedMonths, Day: int(packed >> 41 & 31),
		Hour: int(packed >> 36 & 31), Minute: int(packed >> 30 & 63), Second: int(packed >> 24 & 63),
		Microsecond: int(packed & (1<<24 - 1)),
	}
}

func (t DateTime) pack() uint64 {
	ym := uint64(t.Year*packedMonths + t.Month)
	return ym<<46 | uint64(t.Day)<<41 | uint64(t.Hour)<<36 | uint64(t.Minute)<<30 | uint64(t.Second)<<24 | uint64(t.Microsecond)
}

// valid reports whether every field is in MySQL's range; the date need not exist.
func (t DateTime) valid() bool {
	return uint(t.Year) <= maxYear && uint(t.Month) <= 12 && uint(t.Day) <= 31 &&
		uint(t.Hour) <= 23 && uint(t.Minute) <= 59 && uint(t.Second) <= 59 && uint(t.Microsecond) < 1e6
}

// exists reports whether the calendar has the date.
func (t DateTime) exists() bool {
	return t.Month >= 1 && t.Day >= 1 && t.Day <= daysIn(t.Year, t.Month)
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

func (t DateTime) in(loc *time.Location) time.Time {
	return time.Date(t.Year, time.Month(t.Month), t.Day, t.Hour, t.Minute, t.Second, t.Microsecond*1000, loc)
}

func dateTimeOf(t time.Time) DateTime {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	return DateTime{year, int(month), day, hour, minute, second, t.Nanosecond() / 1000}
}

// TemporalValue returns a KindDate, KindDatetime or KindTimestamp value of the
// given fields, those of a timestamp in UTC, and fsp digits after the second.
// A date that does not exist is accepted as MySQL does; a field out of range,
// such as month 13, is an error.
func TemporalValue(kind ValueKind, t DateTime, fsp int) (Value, error) {
	if !t.valid() {
		return Value{}, fmt.Errorf("make %s: fields out of range: %+v", kind, t)
	}
	return PackedTimeValue(kind, t.pack(), fsp)
}

// PackedTimeValue is [TemporalValue] for the packed number that TiKV stores.
func PackedTimeValue(kind ValueKind, packed uint64, fsp int) (Value, error) {
	if kind < KindDate || kind > KindTimestamp {
		return Value{}, fmt.Errorf("make temporal value: kind is %s", kind)
	}
	// The year's field is checked last because the division costs most.
	if packed&(1<<24-1) >= 1e6 || packed>>24&63 > 59 || packed>>30&63 > 59 || packed>>36&31 > 23 ||
		packed>>46 >= (maxYear+1)*packedMonths {
		return Value{}, fmt.Errorf("read %s: fields out of range: %+v", kind, unpackTime(packed))
	}
	return Value{kind: kind, num: packed, scale: clampFsp(fsp)}, nil
}

// clampFsp maps "not specified" (-1) to 0 and keeps rendering within six digits.
func clampFsp(fsp int) uint8 { return uint8(min(max(fsp, 0), maxFsp)) }

// TimestampValue returns a KindTimestamp value of an instant, cut to
// microseconds, with fsp digits after the second. Years beyond 9999 are an error.
func TimestampValue(t time.Time, fsp int) (Value, error) {
	return TemporalValue(KindTimestamp, dateTimeOf(t.UTC()), fsp)
}

// DateTime returns the fields of a KindDate, KindDatetime or KindTimestamp,
// those of a timestamp in UTC; zero for other kinds.
func (v Value) DateTime() DateTime {
	if v.kind < KindDate || v.kind > KindTimestamp {
		return DateTime{}
	}
	return unpackTime(v.num)
}

// Time returns a KindTimestamp as the instant it is, shown in loc, and a
// KindDate or KindDatetime as the instant when clocks in loc show it (a time
// skipped by a change of the clocks is moved as by [time.Date]). A nil loc is
// UTC. It reports false for a date that does not exist and for other kinds.
func (v Value) Time(loc *time.Location) (time.Time, bool) {
	if loc == nil {
		loc = time.UTC
	}
	t := v.DateTime()
	if !t.exists() {
		return time.Time{}, false
	}
	if v.kind == KindTimestamp {
		return t.in(time.UTC).In(loc), true
	}
	return t.in(loc), true
}

// Fsp returns how many digits after the second the column declares, for
// temporal kinds and KindDuration.
func (v Value) Fsp() int {
	if v.kind >= KindDate && v.kind <= KindDuration {
		return int(v.scale)
	}
	return 0
}

// appendTemporal renders a date, datetime or timestamp; a timestamp in loc,
// where nil is UTC.
func (v Value) appendTemporal(dst []byte, loc *time.Location) []byte {
	t := unpackTime(v.num)
	if v.kind == KindTimestamp && loc != nil && loc != time.UTC && t.exists() {
		// A zone may push the ends of MySQL's range out of it: they stay in UTC.
		if local := dateTimeOf(t.in(time.UTC).In(loc)); local.valid() {
			t = local
		}
	}
	dst = t.appendDate(dst)
	if v.kind == KindDate {
		return dst
	}
	dst = append(dst, ' ')
	return t.appendClock(dst, v.scale)
}

func (t DateTime) appendDate(dst []byte) []byte {
	dst = appendTwo(appendTwo(dst, t.Year/100), t.Year%100)
	dst = appendTwo(append(dst, '-'), t.Month)
	return appendTwo(append(dst, '-'), t.Day)
}

func (t DateTime) appendClock(dst []byte, fsp uint8) []byte {
	dst = appendTwo(dst, t.Hour)
	dst = appendTwo(append(dst, ':'), t.Minute)
	dst = appendTwo(append(dst, ':'), t.Second)
	return appendFraction(dst, t.Microsecond, fsp)
}

func appendTwo(dst []byte, n int) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

// appendFraction appends the first fsp digits of the microseconds, cut off, not
// rounded: what is stored was rounded to fsp when it was written.
func appendFraction(dst []byte, micro int, fsp uint8) []byte {
	if fsp == 0 {
		return dst
	}
	dst = appendPadded(append(dst, '.'), uint32(micro), maxFsp)
	return dst[:len(dst)-maxFsp+int(fsp)]
}

// DurationValue returns a KindDuration (TIME) value with fsp digits after the second.
func DurationValue(d time.Duration, fsp int) Value {
	return Value{kind: KindDuration, num: uint64(d), scale: clampFsp(fsp)}
}

// Duration returns a KindDuration, else 0.
func (v Value) Duration() time.Duration {
	if v.kind != KindDuration {
		return 0
	}
	return time.Duration(v.num)
}

// appendDuration renders [-]hh:mm:ss[.ffffff]; hours may take more than two digits.
func appendDuration(dst []byte, d time.Duration, fsp uint8) []byte {
	ns := uint64(d)
	if d < 0 {
		dst = append(dst, '-')
		ns = -ns
	}
	seconds := ns / 1e9
	hours := seconds / 3600
	if hours < 100 {
		dst = appendTwo(dst, int(hours))
	} else {
		dst = fmt.Append(dst, hours)
	}
	dst = appendTwo(append(dst, ':'), int(seconds/60%60))
	dst = appendTwo(append(dst, ':'), int(seconds%60))
	return appendFraction(dst, int(ns%1e9/1000), fsp)
}
