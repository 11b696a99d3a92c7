package etcdserver

import "syscall"

// childAttributes put the server in a group of its own, so that the terminal's
// Ctrl-C does not reach it, and end it with its parent, however that ends.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
