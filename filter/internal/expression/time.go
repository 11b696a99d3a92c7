package expression

import (
	"strconv"
	"strings"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// packedTime is the fields of a time in one number that sorts like the times:
// year*13+month, day 5 bits, hour 5, minute 6, second 6, microsecond 24. 0 is
// MySQL's zero date.
type packedTime uint64

func pack(t event.DateTime) packedTime {
	return packedTime(t.Year*13+t.Month)<<46 | packedTime(t.Day)<<41 | packedTime(t.Hour)<<36 |
		packedTime(t.Minute)<<30 | packedTime(t.Second)<<24 | packedTime(t.Microsecond)
}

func (p packedTime) fields() event.DateTime {
	ym := int(p >> 46)
	return event.DateTime{
		Year: ym / 13, Month: ym % 13, Day: int(p >> 41 & 31),
		Hour: int(p >> 36 & 31), Minute: int(p >> 30 & 63), Second: int(p >> 24 & 63), Microsecond: int(p & (1<<24 - 1)),
	}
}

// date cuts off the time of day.
func (p packedTime) date() packedTime { return p &^ (1<<41 - 1) }

func packGo(t time.Time) packedTime {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	return pack(event.DateTime{
		Year: year, Month: int(month), Day: day, Hour: hour, Minute: minute, Second: second, Microsecond: t.Nanosecond() / 1000,
	})
}

// utc is the time with these fields in UTC. ok is false for a date that the
// calendar does not have.
func (p packedTime) utc() (t time.Time, ok bool) {
	f := p.fields()
	if f.Month == 0 || f.Day == 0 || f.Day > daysIn(f.Year, f.Month) {
		return time.Time{}, false
	}
	return time.Date(f.Year, time.Month(f.Month), f.Day, f.Hour, f.Minute, f.Second, f.Microsecond*1000, time.UTC), true
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// unpackColumn reads a DATE, DATETIME or TIMESTAMP.
func unpackColumn(v *event.Value, zone *time.Location) packedTime {
	if zone != nil && v.Kind() == event.KindTimestamp {
		if t, ok := v.Time(zone); ok {
			return packGo(t)
		}
	}
	return pack(v.DateTime())
}

// round rounds to fsp digits after the second, half up.
func (p packedTime) round(fsp int) (packedTime, bool) {
	unit := int(pow10[6-fsp])
	f := p.fields()
	rest := f.Microsecond % unit
	if rest == 0 {
		return p, true
	}
	f.Microsecond -= rest
	if 2*rest < unit {
		return pack(f), true
	}
	t, ok := pack(f).utc()
	if !ok {
		return 0, false
	}
	t = t.Add(time.Duration(unit) * time.Microsecond)
	return packGo(t), t.Year() <= 9999
}

// number is YYYYMMDD for a DATE, else YYYYMMDDhhmmss.
func (p packedTime) number(date bool) int64 {
	f := p.fields()
	n := int64(f.Year*10000 + f.Month*100 + f.Day)
	if date {
		return n
	}
	return n*1e6 + int64(f.Hour*10000+f.Minute*100+f.Second)
}

// decimalOfTime is number with fsp digits of the microseconds.
func decimalOfTime(p packedTime, date bool, fsp int) decimal {
	d := decimalOfInt(p.number(date))
	if !date && fsp > 0 {
		d.mulAdd(1e6, uint64(p&(1<<24-1)))
		d.scale, d.shown = 6, 6
		d = d.truncated(fsp)
	}
	return d
}

// durationNumber is hhmmss, without the fraction and the sign.
func durationNumber(d time.Duration) int64 {
	s := int64(d.Abs() / time.Second)
	return s/3600*10000 + s/60%60*100 + s%60
}

func decimalOfDuration(d time.Duration, fsp int) decimal {
	out := decimalOfInt(durationNumber(d))
	if fsp > 0 {
		out.mulAdd(1e6, uint64(d.Abs()%time.Second/time.Microsecond))
		out.scale, out.shown = 6, 6
		out = out.truncated(fsp)
	}
	out.negative = d < 0
	return out.normal()
}

// maxDuration is what a TIME can hold.
const maxDuration = 838*time.Hour + 59*time.Minute + 59*time.Second

// roundDuration rounds to fsp digits after the second, half away from zero.
func roundDuration(d time.Duration, fsp int) time.Duration {
	return min(max(d.Round(time.Duration(pow10[9-fsp])), -maxDuration), maxDuration)
}

func (p packedTime) appendText(dst []byte, tp event.ColumnType, fsp int) []byte {
	kind := event.KindDatetime
	if tp == event.TypeDate {
		kind = event.KindDate
	}
	v, _ := event.TemporalValue(kind, p.fields(), fsp) // its fields are in range
	return v.AppendText(dst)
}

// parseTime reads a literal date, with or without a time of day. It takes the
// forms that mean the same everywhere:
//
//	2024-07-22    2024-07-22 01:02:03.000456    2024-07-22T01:02:03
//	20240722      20240722010203.000456
//
// fsp is how many digits after the second are written, 6 at most.
func parseTime(text string) (p packedTime, isDate bool, fsp int, ok bool) {
	text = strings.TrimSpace(text)
	whole, fraction, hasFraction := strings.Cut(text, ".")
	var f event.DateTime
	var digits string
	switch {
	case strings.Contains(whole, "-"):
		date, clock, hasClock := strings.Cut(strings.Replace(whole, "T", " ", 1), " ")
		parts := strings.Split(date, "-")
		if len(parts) != 3 || len(parts[0]) != 4 {
			return 0, false, 0, false
		}
		digits = parts[0] + twoDigits(parts[1]) + twoDigits(parts[2])
		if hasClock {
			parts := strings.Split(clock, ":")
			if len(parts) < 2 || len(parts) > 3 {
				return 0, false, 0, false
			}
			for _, part := range append(parts, "00")[:3] {
				digits += twoDigits(part)
			}
		}
	case len(whole) == 8 || len(whole) == 14:
		digits = whole
	}
	if len(digits) != 8 && len(digits) != 14 || strings.Trim(digits, "0123456789") != "" || hasFraction && len(digits) == 8 {
		return 0, false, 0, false
	}
	at := func(i, n int) int { v, _ := strconv.Atoi(digits[i : i+n]); return v }
	f.Year, f.Month, f.Day = at(0, 4), at(4, 2), at(6, 2)
	isDate = len(digits) == 8
	if !isDate {
		f.Hour, f.Minute, f.Second = at(8, 2), at(10, 2), at(12, 2)
	}
	if hasFraction {
		if len(fraction) > 6 || strings.Trim(fraction, "0123456789") != "" {
			return 0, false, 0, false
		}
		fsp = len(fraction)
		f.Microsecond, _ = strconv.Atoi((fraction + "000000")[:6])
	}
	v, err := event.TemporalValue(event.KindDatetime, f, fsp)
	if err != nil {
		return 0, false, 0, false
	}
	p = pack(v.DateTime())
	if _, exists := p.utc(); !exists && p != 0 {
		return 0, false, 0, false
	}
	return p, isDate, fsp, true
}

func twoDigits(s string) string {
	if len(s) == 1 {
		return "0" + s
	}
	if len(s) != 2 {
		return "x" // no number
	}
	return s
}

// parseDuration reads a literal time of day: [-]hh:mm:ss[.ffffff] or hh:mm, the
// hours with up to three digits.
func parseDuration(text string) (d time.Duration, fsp int, ok bool) {
	text = strings.TrimSpace(text)
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	parts := strings.Split(whole, ":")
	if len(parts) < 2 || len(parts) > 3 || len(parts[0]) > 3 || len(fraction) > 6 || strings.Trim(fraction, "0123456789") != "" {
		return 0, 0, false
	}
	units := [3]time.Duration{time.Hour, time.Minute, time.Second}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || i > 0 && (len(part) != 2 || n > 59) {
			return 0, 0, false
		}
		d += time.Duration(n) * units[i]
	}
	micro, _ := strconv.Atoi((fraction + "000000")[:6])
	d += time.Duration(micro) * time.Microsecond
	if negative {
		d = -d
	}
	return d, len(fraction), d.Abs() <= maxDuration
}

// clock is the time of day.
func (p packedTime) clock() time.Duration {
	f := p.fields()
	return time.Duration(f.Hour)*time.Hour + time.Duration(f.Minute)*time.Minute + time.Duration(f.Second)*time.Second +
		time.Duration(f.Microsecond)*time.Microsecond
}
