package expression

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// ofDate makes a function of a date to an integer.
func ofDate(f func(packedTime) (int64, bool)) func([]*node) (*node, error) {
	return func(a []*node) (*node, error) {
		n, err := a[0].asTime()
		if err != nil {
			return nil, err
		}
		get := n.times
		return fold(newInt(func(m *machine) (int64, bool) {
			p, ok := get(m)
			if !ok {
				return 0, false
			}
			return f(p)
		}), n)
	}
}

// inCalendar reports whether neither month nor day is 0.
func (p packedTime) inCalendar() bool {
	f := p.fields()
	return f.Month != 0 && f.Day != 0
}

// days counts days from year 0, in the calendar of today.
func (p packedTime) days() int64 {
	f := p.fields()
	const epoch = 719528 // 1970-01-01
	return time.Date(f.Year, time.Month(f.Month), f.Day, 0, 0, 0, 0, time.UTC).Unix()/86400 + epoch
}

func (p packedTime) weekday() int64 {
	f := p.fields()
	return int64(time.Date(f.Year, time.Month(f.Month), f.Day, 0, 0, 0, 0, time.UTC).Weekday())
}

func dayOfWeek(p packedTime) (int64, bool) { return p.weekday() + 1, p.inCalendar() }
func weekday(p packedTime) (int64, bool)   { return (p.weekday() + 6) % 7, p.inCalendar() }
func toDays(p packedTime) (int64, bool)    { return p.days(), p.inCalendar() }

func dayOfYear(p packedTime) (int64, bool) {
	f := p.fields()
	return int64(time.Date(f.Year, time.Month(f.Month), f.Day, 0, 0, 0, 0, time.UTC).YearDay()), p.inCalendar()
}

func lastDay(a []*node) (*node, error) {
	n, err := a[0].asTime()
	if err != nil {
		return nil, err
	}
	f := n.times
	return fold(newTime(event.TypeDate, 0, func(m *machine) (packedTime, bool) {
		p, ok := f(m)
		if !ok || !p.inCalendar() {
			return 0, false
		}
		d := p.fields()
		return pack(event.DateTime{Year: d.Year, Month: d.Month, Day: daysIn(d.Year, d.Month)}), true
	}), n)
}

func dateOf(a []*node) (*node, error) {
	n, err := a[0].asTime()
	if err != nil {
		return nil, err
	}
	f := n.times
	return fold(newTime(event.TypeDate, 0, func(m *machine) (packedTime, bool) {
		p, ok := f(m)
		return p.date(), ok
	}), n)
}

func dateDiff(a []*node) (*node, error) {
	x, y, err := pair(kindTime, a[0], a[1])
	if err != nil {
		return nil, err
	}
	f, g := x.times, y.times
	return fold(newInt(func(m *machine) (int64, bool) {
		p, ok := f(m)
		if !ok || !p.inCalendar() {
			return 0, false
		}
		q, ok := g(m)
		if !ok || !q.inCalendar() {
			return 0, false
		}
		return p.days() - q.days(), true
	}), x, y)
}

func hours(d time.Duration) int64        { return int64(d.Abs() / time.Hour) }
func minutes(d time.Duration) int64      { return int64(d.Abs() / time.Minute % 60) }
func seconds(d time.Duration) int64      { return int64(d.Abs() / time.Second % 60) }
func microseconds(d time.Duration) int64 { return int64(d.Abs() / time.Microsecond % 1e6) }

// signed is f with the sign of the time of day: EXTRACT has it, HOUR() has not.
func signed(f func(time.Duration) int64) func(time.Duration) int64 {
	return func(d time.Duration) int64 {
		if d < 0 {
			return -f(d)
		}
		return f(d)
	}
}

// ofClock makes a function of a time of day, also that of a date, to an integer.
func ofClock(f func(time.Duration) int64) func([]*node) (*node, error) {
	return func(a []*node) (*node, error) {
		if a[0].kind == kindTime {
			get := a[0].times
			return fold(newInt(func(m *machine) (int64, bool) {
				p, ok := get(m)
				return f(p.clock()), ok
			}), a[0])
		}
		n, err := a[0].asDuration()
		if err != nil {
			return nil, err
		}
		get := n.durations
		return fold(newInt(func(m *machine) (int64, bool) {
			d, ok := get(m)
			return f(d), ok
		}), n)
	}
}

// dateFormat compiles DATE_FORMAT with a literal format.
func dateFormat(a []*node) (*node, error) {
	n, err := a[0].asTime()
	if err != nil {
		return nil, err
	}
	if a[1].kind != kindString || !a[1].constant || a[1].isNull() {
		return nil, errConstant
	}
	format, _ := a[1].strings(nil)
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i == len(format)-1 {
			continue
		}
		i++
		if _, ok := appendFormat(nil, format[i], event.DateTime{}); !ok {
			return nil, fmt.Errorf("%%%c is not known here: use %%Y %%y %%m %%c %%d %%e %%H %%k %%i %%s %%f %%T and %%%%", format[i])
		}
	}
	f := n.times
	return fold(newString(textCollation, a[1].strength, func(m *machine) (string, bool) {
		p, ok := f(m)
		if !ok || p == 0 {
			return "", false
		}
		start, fields := len(m.buf), p.fields()
		for i := 0; i < len(format); i++ {
			if format[i] != '%' || i == len(format)-1 {
				m.buf = append(m.buf, format[i])
				continue
			}
			i++
			m.buf, _ = appendFormat(m.buf, format[i], fields)
		}
		return m.made(start), true
	}), n)
}

func appendFormat(dst []byte, verb byte, t event.DateTime) (_ []byte, ok bool) {
	switch verb {
	case 'Y':
		return appendPadded(dst, t.Year, 4), true
	case 'y':
		return appendPadded(dst, t.Year%100, 2), true
	case 'm':
		return appendPadded(dst, t.Month, 2), true
	case 'c':
		return appendPadded(dst, t.Month, 1), true
	case 'd':
		return appendPadded(dst, t.Day, 2), true
	case 'e':
		return appendPadded(dst, t.Day, 1), true
	case 'H':
		return appendPadded(dst, t.Hour, 2), true
	case 'k':
		return appendPadded(dst, t.Hour, 1), true
	case 'i':
		return appendPadded(dst, t.Minute, 2), true
	case 's', 'S':
		return appendPadded(dst, t.Second, 2), true
	case 'f':
		return appendPadded(dst, t.Microsecond, 6), true
	case 'T':
		dst = append(appendPadded(dst, t.Hour, 2), ':')
		dst = append(appendPadded(dst, t.Minute, 2), ':')
		return appendPadded(dst, t.Second, 2), true
	case '%':
		return append(dst, '%'), true
	}
	return dst, false
}

func appendPadded(dst []byte, n, width int) []byte {
	for limit := int(pow10[width-1]); limit > max(n, 1); limit /= 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

// unixTimestamp compiles UNIX_TIMESTAMP: seconds from 1970, 0 for what is not
// between then and 3001.
func unixTimestamp(c *compiler, _ *ast.FuncCallExpr, a []*node) (*node, error) {
	n, err := a[0].asTime()
	if err != nil {
		return nil, err
	}
	zone := c.zone
	if zone == nil {
		zone = time.UTC
	}
	f, fsp := n.times, max(n.scale, 0)
	micros := func(m *machine) (int64, bool) {
		p, ok := f(m)
		if !ok {
			return 0, false
		}
		d := p.fields()
		if !p.inCalendar() {
			return 0, true
		}
		us := time.Date(d.Year, time.Month(d.Month), d.Day, d.Hour, d.Minute, d.Second, d.Microsecond*1000, zone).UnixMicro()
		const last = 32536771199999999 // 3001-01-18 23:59:59.999999
		if us < 0 || us > last {
			return 0, true
		}
		return us, true
	}
	if fsp == 0 {
		return fold(newInt(func(m *machine) (int64, bool) { us, ok := micros(m); return us / 1e6, ok }), n)
	}
	return fold(newDecimal(fsp, func(m *machine) (decimal, bool) {
		us, ok := micros(m)
		d := decimalOfInt(us)
		d.scale, d.shown = 6, 6
		return d.truncated(fsp), ok
	}), n)
}

func unitOf(e ast.ExprNode) (ast.TimeUnitType, error) {
	u, ok := e.(*ast.TimeUnitExpr)
	if !ok {
		return 0, errors.New("want a unit of time")
	}
	return u.Unit, nil
}

// dateAdd compiles date + INTERVAL n unit, for units of one number.
func dateAdd(call *ast.FuncCallExpr, a []*node, sign int64) (*node, error) {
	unit, err := unitOf(call.Args[2])
	if err != nil {
		return nil, err
	}
	if a[0].kind != kindTime || a[1].kind != kindInt && a[1].kind != kindNull {
		return nil, errors.New("want a column or literal of DATE, DATETIME or TIMESTAMP and an integer number of units")
	}
	n := a[0]
	tp, fsp := n.tp, max(n.scale, 0)
	var unitLength time.Duration
	months := int64(0)
	switch unit {
	case ast.TimeUnitMicrosecond:
		unitLength, fsp = time.Microsecond, 6
	case ast.TimeUnitSecond:
		unitLength = time.Second
	case ast.TimeUnitMinute:
		unitLength = time.Minute
	case ast.TimeUnitHour:
		unitLength = time.Hour
	case ast.TimeUnitDay:
		unitLength = 24 * time.Hour
	case ast.TimeUnitWeek:
		unitLength = 7 * 24 * time.Hour
	case ast.TimeUnitMonth:
		months = 1
	case ast.TimeUnitQuarter:
		months = 3
	case ast.TimeUnitYear:
		months = 12
	default:
		return nil, fmt.Errorf("unit %s is not known here", unit)
	}
	if clock := unitLength != 0 && unitLength < 24*time.Hour; tp != event.TypeDate || clock {
		tp = event.TypeDatetime
	}
	count, err := a[1].asInt()
	if err != nil {
		return nil, err
	}
	f, g := n.times, count.ints
	return fold(newTime(tp, fsp, func(m *machine) (packedTime, bool) {
		p, ok := f(m)
		if !ok {
			return 0, false
		}
		k, ok := g(m)
		if !ok || !p.inCalendar() {
			return 0, false
		}
		return p.plus(sign*k, unitLength, months)
	}), n, count)
}

// plus adds n times a length or a number of months. It is NULL beyond year 9999,
// and before year 1.
func (p packedTime) plus(n int64, length time.Duration, months int64) (packedTime, bool) {
	f := p.fields()
	const most = 1 << 53
	if n > most || n < -most {
		return 0, false
	}
	if months != 0 {
		if n > 1e6 || n < -1e6 {
			return 0, false
		}
		total := int64(f.Year)*12 + int64(f.Month-1) + n*months
		if total < 12 || total >= 10000*12 {
			return 0, false
		}
		f.Year, f.Month = int(total/12), int(total%12)+1
		f.Day = min(f.Day, daysIn(f.Year, f.Month))
		return pack(f), true
	}
	t, ok := p.utc()
	if !ok {
		return 0, false
	}
	// Days and the rest apart, so that nothing overflows.
	const day = int64(24 * time.Hour)
	perDay := day / int64(length)
	if perDay == 0 {
		n, perDay = n*(int64(length)/day), 1
	}
	days, rest := n/perDay, n%perDay
	if days > 4e6 || days < -4e6 {
		return 0, false
	}
	t = t.AddDate(0, 0, int(days))
	if rest != 0 {
		t = t.Add(time.Duration(rest) * length)
	}
	return packGo(t), t.Year() >= 1 && t.Year() <= 9999
}

// timestampDiff compiles TIMESTAMPDIFF: how many whole units lie between two times.
func timestampDiff(_ *compiler, call *ast.FuncCallExpr, a []*node) (*node, error) {
	unit, err := unitOf(call.Args[0])
	if err != nil {
		return nil, err
	}
	x, y, err := pair(kindTime, a[1], a[2])
	if err != nil {
		return nil, err
	}
	var diff func(p, q packedTime) int64
	switch unit {
	case ast.TimeUnitYear:
		diff = func(p, q packedTime) int64 { return monthsBetween(p, q) / 12 }
	case ast.TimeUnitQuarter:
		diff = func(p, q packedTime) int64 { return monthsBetween(p, q) / 3 }
	case ast.TimeUnitMonth:
		diff = monthsBetween
	case ast.TimeUnitWeek:
		diff = func(p, q packedTime) int64 { return microsBetween(p, q) / 1e6 / 86400 / 7 }
	case ast.TimeUnitDay:
		diff = func(p, q packedTime) int64 { return microsBetween(p, q) / 1e6 / 86400 }
	case ast.TimeUnitHour:
		diff = func(p, q packedTime) int64 { return microsBetween(p, q) / 1e6 / 3600 }
	case ast.TimeUnitMinute:
		diff = func(p, q packedTime) int64 { return microsBetween(p, q) / 1e6 / 60 }
	case ast.TimeUnitSecond:
		diff = func(p, q packedTime) int64 { return microsBetween(p, q) / 1e6 }
	case ast.TimeUnitMicrosecond:
		diff = microsBetween
	default:
		return nil, fmt.Errorf("unit %s is not known here", unit)
	}
	f, g := x.times, y.times
	return fold(newInt(func(m *machine) (int64, bool) {
		p, ok := f(m)
		if !ok || !p.inCalendar() {
			return 0, false
		}
		q, ok := g(m)
		if !ok || !q.inCalendar() {
			return 0, false
		}
		return diff(p, q), true
	}), x, y)
}

func (p packedTime) micros() int64 { return p.days()*86400e6 + int64(p.clock()/time.Microsecond) }

func microsBetween(p, q packedTime) int64 { return q.micros() - p.micros() }

// monthsBetween counts whole months.
func monthsBetween(p, q packedTime) int64 {
	if q < p {
		return -monthsBetween(q, p)
	}
	a, b := p.fields(), q.fields()
	n := int64(b.Year-a.Year)*12 + int64(b.Month-a.Month)
	const rest = 1<<46 - 1 // day and time of day
	if q&rest < p&rest {
		n--
	}
	return n
}

// extract compiles EXTRACT(unit FROM x) for units of one number.
func extract(_ *compiler, call *ast.FuncCallExpr, a []*node) (*node, error) {
	unit, err := unitOf(call.Args[0])
	if err != nil {
		return nil, err
	}
	f := partOf(unit)
	if f == nil {
		return nil, fmt.Errorf("unit %s is not known here", unit)
	}
	return f(a[1:])
}

// partOf is the function for one part of a time.
func partOf(unit ast.TimeUnitType) func([]*node) (*node, error) {
	switch unit {
	case ast.TimeUnitYear:
		return ofDate(func(p packedTime) (int64, bool) { return int64(p.fields().Year), true })
	case ast.TimeUnitQuarter:
		return ofDate(func(p packedTime) (int64, bool) { return int64(p.fields().Month+2) / 3, true })
	case ast.TimeUnitMonth:
		return ofDate(func(p packedTime) (int64, bool) { return int64(p.fields().Month), true })
	case ast.TimeUnitDay:
		return ofDate(func(p packedTime) (int64, bool) { return int64(p.fields().Day), true })
	case ast.TimeUnitHour:
		return ofClock(signed(hours))
	case ast.TimeUnitMinute:
		return ofClock(signed(minutes))
	case ast.TimeUnitSecond:
		return ofClock(signed(seconds))
	case ast.TimeUnitMicrosecond:
		return ofClock(signed(microseconds))
	}
	return nil
}

func dateLiteral(a []*node) (*node, error) {
	p, isDate, _, ok := parseTime(literalText(a[0]))
	if !ok || !isDate {
		return nil, errDateLiteral
	}
	return newConstantTime(event.TypeDate, 0, p, true), nil
}

func timestampLiteral(a []*node) (*node, error) {
	p, _, fsp, ok := parseTime(literalText(a[0]))
	if !ok {
		return nil, errDateLiteral
	}
	return newConstantTime(event.TypeDatetime, fsp, p, true), nil
}

func timeLiteral(a []*node) (*node, error) {
	d, fsp, ok := parseDuration(literalText(a[0]))
	if !ok {
		return nil, errTimeLiteral
	}
	n := newDuration(fsp, func(*machine) (time.Duration, bool) { return d, true })
	n.constant = true
	return n, nil
}

func literalText(n *node) string {
	if n.kind != kindString || !n.constant {
		return ""
	}
	s, _ := n.strings(nil)
	return s
}
