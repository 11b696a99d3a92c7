//go:build unix

package rowtest

import (
	"syscall"
	"time"
)

// cpuTime returns the time that the process has spent on a CPU, as the peer was
// measured: unlike the clock it does not count the time that others had the CPU.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
