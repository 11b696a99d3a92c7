package event

import (
	"fmt"
	"strconv"
	"time"
)

// logicalBits is the width of the logical counter in a TSO; the rest is the
// physical part in milliseconds since the Unix epoch.
const logicalBits = 18

// Ts is a timestamp from PD's timestamp oracle (TSO): physical milliseconds
// shifted left by 18 bits, plus a logical counter. It orders every transaction
// of a cluster. Zero means "none".
type Ts uint64

// NewTs returns the smallest timestamp whose physical part is t, in milliseconds.
func NewTs(t time.Time) Ts {
	return Ts(t.UnixMilli() << logicalBits)
}

// ParseTs reads the decimal form that TiDB, TiCDC and [Ts.String] print.
func ParseTs(s string) (Ts, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse ts %q: want a decimal TSO such as 470633840749576193", s)
	}
	return Ts(n), nil
}

// Time returns the physical part, in milliseconds, in UTC.
func (t Ts) Time() time.Time {
	return time.UnixMilli(t.Physical()).UTC()
}

// Physical returns the physical part in milliseconds since the Unix epoch.
func (t Ts) Physical() int64 { return int64(t >> logicalBits) }

// Logical returns the counter that orders timestamps of the same millisecond.
func (t Ts) Logical() int64 { return int64(t & (1<<logicalBits - 1)) }

// Add returns the timestamp d later, with the same logical part.
func (t Ts) Add(d time.Duration) Ts { return t + Ts(d.Milliseconds()<<logicalBits) }

// String returns the decimal form.
func (t Ts) String() string { return strconv.FormatUint(uint64(t), 10) }
