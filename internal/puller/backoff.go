package puller

import (
	"math/rand/v2"
	"time"
)

// settled is how long a region must have been initialised for its next failure
// to count as the first. A failure soon after the scan counts on, or a store that
// fails each region right after its scan would be asked for scans without pause.
const settled = 5 * time.Second

// retryDelay returns how long to wait before attempt n ≥ 1: base·2ⁿ⁻¹ up to limit,
// less up to a half, so that regions which failed together come back apart.
func retryDelay(base, limit time.Duration, attempt int) time.Duration {
	d := limit
	if n := max(attempt-1, 0); n < 30 && base<<n < limit {
		d = base << n
	}
	return d - rand.N(d/2+1)
}
