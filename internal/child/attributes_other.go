//go:build !linux

package child

import "syscall"

// attributes put a child in a group of its own. Only Kill and Stop end it.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// awaitStop is for systems that tell when a child has stopped.
func awaitStop(int) error { return nil }
