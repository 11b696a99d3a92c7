//go:build !linux

package etcdserver

import "syscall"

// childAttributes put the server in a group of its own, so that the terminal's
// Ctrl-C does not reach it. Only Close ends it.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
