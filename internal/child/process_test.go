package child_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidbcdc/tidbcdc/internal/child"
)

// parentVar makes the test program one that has a child and waits to be killed.
const parentVar = "TIDBCDC_CHILD_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentVar) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	cmd := shell("echo ready; read x <&3", os.Stdin)
	cmd.Stderr = os.Stderr
	if _, err := child.Start(context.Background(), cmd, child.Says("ready")); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("has a child")
	select {}
}

// shell is a command with files from descriptor 3 on.
func shell(script string, files ...*os.File) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.ExtraFiles = files
	return cmd
}

func start(t *testing.T, cmd *exec.Cmd, ready string) *child.Process {
	t.Helper()
	p, err := child.Start(t.Context(), cmd, child.Says(ready))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// pipe returns a pipe that is closed when the test ends.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// TestStop: all that a child prints is in the log, and it ends as it likes to.
func TestStop(t *testing.T) {
	for _, tt := range []struct{ name, end, problem string }{
		{"in good order", "exit 0", ""},
		{"with an error", "exit 3", "end sh: exit status 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			never, _ := pipe(t)
			var log bytes.Buffer
			cmd := shell(`trap 'echo bye >&2; `+tt.end+`' TERM; printf 'not re'; echo ady; echo now ready >&2; while :; do read x <&3; done`, never)
			cmd.Stdout = &log
			p := start(t, cmd, "now ready")
			if p.PID() == 0 {
				t.Error("it is ready, yet has no id")
			}
			if err := p.Stop(); (err == nil) != (tt.problem == "") || err != nil && err.Error() != tt.problem {
				t.Errorf("Stop: %v, want %q", err, tt.problem)
			}
			if got := log.String(); got != "not ready\nnow ready\nbye\n" {
				t.Errorf("the log is %q", got)
			}
			if p.PID() != 0 {
				t.Error("it has ended, yet has an id")
			}
			if err := errors.Join(p.Stop(), p.Kill()); err != nil {
				t.Error("when it has ended:", err)
			}
		})
	}
}

// TestErrorsApart: a standard error that is set is no place to look for the line.
func TestErrorsApart(t *testing.T) {
	var errs bytes.Buffer
	cmd := shell("echo ready 1 >&2; echo ready 2")
	cmd.Stderr = &errs
	var line string
	p, err := child.Start(t.Context(), cmd, func(l string) bool { line = l; return true })
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil || line != "ready 2" || errs.String() != "ready 1\n" {
		t.Errorf("ready by %q, errors %q, %v", line, errs.String(), err)
	}
}

func TestNotRunning(t *testing.T) {
	var p *child.Process
	if err := errors.Join(p.Kill(), p.Stop()); err != nil || p.PID() != 0 {
		t.Error(p.PID(), err)
	}
	if _, err := p.Pause(); err == nil {
		t.Error("nothing was paused")
	}
}

func TestStartFails(t *testing.T) {
	if _, err := child.Start(t.Context(), exec.Command("/no/such/program"), child.Says("")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	_, err := child.Start(t.Context(), shell("for i in $(seq 30); do echo line $i; done; printf end; exit 3"), child.Says("ready"))
	if err == nil || strings.Contains(err.Error(), "line 10\n") ||
		!strings.HasPrefix(err.Error(), "sh ended before it was ready: exit status 3: line 11\n") || !strings.HasSuffix(err.Error(), "line 30\nend") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("no time")
	never, _ := pipe(t)
	_, err = child.Start(ctx, shell("echo begins; read x <&3", never), func(string) bool { cancel(cause); return false })
	if !errors.Is(err, cause) {
		t.Error(err)
	}
}

// TestPause looks at a paused child as its parent can, and at one that goes on by
// what it does.
func TestPause(t *testing.T) {
	never, _ := pipe(t)
	p := start(t, shell("trap 'exit 0' TERM; echo ready; read x <&3", never), "ready")
	resume, err := p.Pause()
	if err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(p.PID(), &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Errorf("it is not paused: %v, %v", status, err)
	}
	if err := errors.Join(resume(), p.Stop()); err != nil {
		t.Error(err)
	}
}

// TestParentIsKilled: a child does not outlive its parent.
func TestParentIsKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a child ends with its parent on Linux only")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	never, _ := pipe(t)
	alive, held := pipe(t)
	parent := exec.Command(exe)
	parent.Env = append(os.Environ(), parentVar+"=1")
	parent.Stdin = never
	parent.Stderr = held // the child holds it too, and in the end nobody else
	p := start(t, parent, "has a child")
	if err := errors.Join(held.Close(), p.Kill(), alive.SetReadDeadline(time.Now().Add(10*time.Second))); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(alive); err != nil {
		t.Errorf("the child lives on: %v", err)
	}
}

func TestFreeAddrs(t *testing.T) {
	var a, b string
	if err := child.FreeAddrs(&a, &b); err != nil || a == b || !strings.HasPrefix(a, "127.0.0.1:") {
		t.Error(a, b, err)
	}
}
