package event

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseTemporal reads a date, datetime or timestamp (in UTC) as TiDB prints it:
// 2024-07-22, 2024-07-22 01:02:03 or 2024-07-22 01:02:03.000456, also with a T
// between date and clock. The value has fsp digits after the second; further
// ones are rounded off if that does not carry into the seconds, else cut.
func ParseTemporal(kind ValueKind, text string, fsp int) (Value, error) {
	date, clock, hasClock := strings.Cut(text, " ")
	if !hasClock {
		date, clock, hasClock = strings.Cut(text, "T")
	}
	var t DateTime
	ok := parseFields(date, '-', &t.Year, &t.Month, &t.Day)
	if ok && hasClock {
		var frac string
		clock, frac, _ = strings.Cut(clock, ".")
		ok = parseFields(clock, ':', &t.Hour, &t.Minute, &t.Second) && parseMicro(frac, fsp, &t.Microsecond)
	}
	if !ok {
		return Value{}, fmt.Errorf("parse %s %q: want yyyy-mm-dd hh:mm:ss.ffffff", kind, text)
	}
	if kind == KindDate {
		t = DateTime{Year: t.Year, Month: t.Month, Day: t.Day}
	}
	return TemporalValue(kind, t, fsp)
}

// ParseDuration reads a TIME as TiDB prints it, [-]hh:mm:ss[.ffffff]. The value
// has fsp digits after the second; see [ParseTemporal].
func ParseDuration(text string, fsp int) (Value, error) {
	clock, negative := strings.CutPrefix(text, "-")
	clock, frac, _ := strings.Cut(clock, ".")
	var hour, minute, second, micro int
	if !parseFields(clock, ':', &hour, &minute, &second) || minute > 59 || second > 59 || hour > 838 ||
		!parseMicro(frac, fsp, &micro) {
		return Value{}, fmt.Errorf("parse time %q: want [-]hh:mm:ss.ffffff", text)
	}
	d := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute +
		time.Duration(second)*time.Second + time.Duration(micro)*time.Microsecond
	if negative {
		d = -d
	}
	return DurationValue(d, fsp), nil
}

// parseFields reads three numbers with sep between them.
func parseFields(s string, sep byte, fields ...*int) bool {
	parts := strings.Split(s, string(sep))
	if len(parts) != len(fields) {
		return false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return false
		}
		*fields[i] = int(n)
	}
	return true
}

// parseMicro reads the digits after a second as microseconds, rounded to fsp digits.
func parseMicro(digits string, fsp int, micro *int) bool {
	if digits == "" {
		return true
	}
	n, err := strconv.ParseUint((digits + "000000")[:maxFsp], 10, 32)
	if err != nil {
		return false
	}
	unit := 1
	for i := int(clampFsp(fsp)); i < maxFsp; i++ {
		unit *= 10
	}
	*micro = (int(n) + unit/2) / unit * unit
	if *micro >= 1e6 {
		*micro = 1e6 - unit
	}
	return true
}
