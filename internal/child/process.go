// Package child runs other programs as child processes: the servers of tests and
// benchmarks, and what the demo shows.
//
//	cmd := exec.Command("mariadbd", "--datadir="+dir)
//	p, err := child.Start(ctx, cmd, child.Says("ready for connections"))
//	…
//	defer p.Kill()
//
// A child is in a process group of its own, so that the terminal's Ctrl-C does not
// reach it. On Linux it ends with its parent, however that ends.
package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Process is a child. It runs until Kill or Stop; nil is one that does not run.
// Methods are for one goroutine at a time.
type Process struct {
	cmd   *exec.Cmd     // nil after Kill or Stop
	ended chan struct{} // closed when cmd has ended
	err   error         // how it ended, from then on
}

// Start runs cmd and waits until ready is true of a line that it prints. If the
// child ends before, the error has its last lines. ctx bounds the starting only.
//
// What the child prints goes to cmd.Stdout. So does, and counts, what it prints as
// errors, unless cmd.Stderr is set. If cmd.SysProcAttr is set it stays as it is.
func Start(ctx context.Context, cmd *exec.Cmd, ready func(line string) bool) (*Process, error) {
	out := &output{to: cmd.Stdout, ready: ready, seen: make(chan struct{})}
	cmd.Stdout = out
	if cmd.Stderr == nil {
		cmd.Stderr = out
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = attributes()
	}
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	select {
	case <-out.seen:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("%s ended before it was ready: %s: %s", name(cmd), cmd.ProcessState, out.lastLines())
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("wait for %s: %w", name(cmd), context.Cause(ctx)), p.Kill())
	}
}

// Says returns what is true of a line that contains text.
func Says(text string) func(line string) bool {
	return func(line string) bool { return strings.Contains(line, text) }
}

// run starts the child and ends with it. Linux ends a child when the thread that
// started it ends: so that thread is kept for the child, and waits.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := p.cmd
	err := cmd.Start()
	started <- err
	if err == nil {
		p.err = cmd.Wait()
		close(p.ended)
	}
}

func name(cmd *exec.Cmd) string { return filepath.Base(cmd.Path) }

// PID returns the process id, 0 if the child does not run.
func (p *Process) PID() int {
	if p == nil || p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Kill ends the child as a power failure would, as far as it is concerned. It does
// nothing if the child does not run.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL) }

// Stop asks the child to end in good order and waits for that; after half a minute
// it kills it. It does nothing if the child does not run.
func (p *Process) Stop() error { return p.end(syscall.SIGTERM) }

func (p *Process) end(signal syscall.Signal) error {
	if p.PID() == 0 {
		return nil
	}
	cmd := p.cmd
	p.cmd = nil
	err := cmd.Process.Signal(signal)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	const patience = 30 * time.Second
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	<-p.ended
	var status *exec.ExitError
	if asKilled := signal == syscall.SIGKILL && errors.As(p.err, &status); !asKilled {
		err = errors.Join(err, p.err)
	}
	if err != nil {
		return fmt.Errorf("end %s: %w", name(cmd), err)
	}
	return nil
}

// Pause stops the child where it is: its connections stay open and nothing answers,
// as behind a network that loses every packet. Call resume.
func (p *Process) Pause() (resume func() error, err error) {
	if p.PID() == 0 {
		return nil, errors.New("pause a process: it is not running")
	}
	process := p.cmd.Process
	err = process.Signal(syscall.SIGSTOP)
	if err == nil {
		err = awaitStop(process.Pid)
	}
	if err != nil {
		return nil, fmt.Errorf("pause %s: %w", name(p.cmd), err)
	}
	return func() error { return process.Signal(syscall.SIGCONT) }, nil
}
