// Package etcdserver runs a real etcd as a child process, for tests of the cluster
// of captures, and a proxy in front of it that can be cut.
package etcdserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// ErrMissing is wrapped by what Find returns if etcd is not installed.
var ErrMissing = errors.New("etcd is not installed")

// Find returns etcd's executable: what the environment variable TIDBCDC_ETCD names,
// else the one in PATH.
func Find() (string, error) {
	const variable = "TIDBCDC_ETCD"
	if path := os.Getenv(variable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%w: %s: %w", ErrMissing, variable, err)
		}
		return path, nil
	}
	path, err := exec.LookPath("etcd")
	if err != nil {
		return "", fmt.Errorf("%w: no etcd in PATH, and %s is not set (Debian: etcd-server)", ErrMissing, variable)
	}
	return path, nil
}

// Required reports whether a test must not be skipped where etcd is missing:
// TIDBCDC_REQUIRE_SERVERS=1, as in CI.
func Required() bool { return os.Getenv("TIDBCDC_REQUIRE_SERVERS") == "1" }

// Server is a running etcd with data of its own. Methods are for one goroutine at a
// time.
type Server struct {
	// Addr is the client address, host:port. A restart keeps it.
	Addr string

	binary, dir, peer string
	cmd               *exec.Cmd
	exited            chan error // one value when cmd has ended, then closed
}

// Start runs a new etcd until Close. ctx bounds the starting only.
func Start(ctx context.Context) (*Server, error) {
	binary, err := Find()
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	dir, err := os.MkdirTemp(memoryDir(), "etcd-")
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	s := &Server{binary: binary, dir: dir}
	// Another process may take a port that was free a moment ago.
	const attempts = 5
	for range attempts {
		if s.Addr, s.peer, err = freeAddrs(); err != nil {
			break
		}
		if err = s.Restart(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start etcd: %w", err), s.Close())
	}
	return s, nil
}

func freeAddrs() (client, peer string, err error) {
	var addrs [2]string
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }()
		addrs[i] = l.Addr().String()
	}
	return addrs[0], addrs[1], nil
}

// Restart kills the server if it runs, and starts it again on the same data.
func (s *Server) Restart(ctx context.Context) error {
	s.Kill()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	client, peer := "http://"+s.Addr, "http://"+s.peer
	cmd := exec.Command(s.binary, "--name=one", "--data-dir="+filepath.Join(s.dir, "data"),
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=one="+peer)
	cmd.SysProcAttr = childAttributes()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.binary, err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait(); close(exited) }()
	s.cmd, s.exited = cmd, exited
	return s.awaitHealth(ctx)
}

func (s *Server) awaitHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/health", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", s.Addr, context.Cause(ctx))
		case err := <-s.exited:
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("etcd ended: %w: %s", err, log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Kill ends the server as kill -9 does. It does nothing if it does not run.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	for range s.exited {
	}
	s.cmd = nil
}

// Signal sends a signal, such as SIGSTOP and SIGCONT.
func (s *Server) Signal(sig syscall.Signal) error { return s.cmd.Process.Signal(sig) }

// Close ends the server and removes its data.
func (s *Server) Close() error {
	s.Kill()
	return os.RemoveAll(s.dir)
}

// memoryDir is where files are in memory, or else "". etcd syncs every write, and a
// disk that others keep busy makes leases end that tests rely on.
func memoryDir() string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err != nil || !info.IsDir() {
		return ""
	}
	probe, err := os.MkdirTemp(shm, "etcd-")
	if err != nil {
		return ""
	}
	if os.Remove(probe) != nil {
		return ""
	}
	return shm
}
