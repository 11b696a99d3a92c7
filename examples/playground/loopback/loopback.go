// Package loopback finds ports on 127.0.0.1. It takes them from below the range
// that Linux gives to outgoing connections, so that nobody else gets one that is
// closed for a while.
package loopback

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

const (
	lowest   = 10000
	highest  = 32000
	attempts = 100
)

// Listen listens on a free port.
func Listen() (net.Listener, error) {
	var last error
	for range attempts {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(highest-lowest)))
		if err == nil {
			return ln, nil
		}
		last = err
	}
	return nil, fmt.Errorf("find a free port: %w", last)
}

// Ports returns n different ports that were free a moment ago.
func Ports(n int) ([]int, error) {
	var (
		ports     []int
		listeners []net.Listener
		err       error
	)
	for range n {
		ln, lerr := Listen()
		if lerr != nil {
			err = lerr
			break
		}
		listeners = append(listeners, ln)
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	for _, ln := range listeners {
		err = errors.Join(err, ln.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("find free ports: %w", err)
	}
	return ports, nil
}
