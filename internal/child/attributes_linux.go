package child

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes put a child in a group of its own and end it with the thread that
// started it, and so with this process, however that ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitStop waits until all threads of a child have stopped: those that run on another
// core go on for a moment after the signal. The child remains to be waited for.
func awaitStop(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
