// Package etcdserver runs a real etcd as a child process, for tests of the cluster
// of captures, and a proxy in front of it that can be cut.
package etcdserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tidbcdc/tidbcdc/internal/child"
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
	process           *child.Process
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
		if err = child.FreeAddrs(&s.Addr, &s.peer); err != nil {
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

// Restart kills the server if it runs, and starts it again on the same data.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Kill(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client, peer := "http://"+s.Addr, "http://"+s.peer
	cmd := exec.Command(s.binary, "--name=one", "--data-dir="+filepath.Join(s.dir, "data"),
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=one="+peer)
	var err error
	s.process, err = child.Start(ctx, cmd, child.Says("ready to serve client requests"))
	return err
}

// Kill ends the server as kill -9 does. It does nothing if it does not run.
func (s *Server) Kill() error { return s.process.Kill() }

// Pause stops the server's process where it is: connections stay open and
// nothing answers. Call resume.
func (s *Server) Pause() (resume func() error, err error) { return s.process.Pause() }

// Close ends the server and removes its data.
func (s *Server) Close() error {
	return errors.Join(s.Kill(), os.RemoveAll(s.dir))
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
