package child

import "syscall"

// attributes put a child in a group of its own and end it with the thread that
// started it, and so with this process, however that ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
