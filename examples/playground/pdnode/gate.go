package pdnode

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// gate forwards TCP connections to an address, unless it is shut: then nothing
// passes, and nobody is told.
type gate struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu     sync.Mutex
	shut   time.Time // until when
	closed bool
	conns  map[net.Conn]struct{}
}

func openGate(addr, target string) (*gate, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for pd: %w", err)
	}
	g := &gate{listener: l, target: target, conns: map[net.Conn]struct{}{}}
	g.wg.Go(g.accept)
	return g, nil
}

// open lets nothing pass for a while, and everything afterwards.
func (g *gate) open(after time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = time.Now().Add(after)
}

// wait returns when the gate is open.
func (g *gate) wait() {
	for {
		g.mu.Lock()
		left := time.Until(g.shut)
		g.mu.Unlock()
		if left <= 0 {
			return
		}
		time.Sleep(min(left, 10*time.Millisecond)) // it may be opened earlier
	}
}

func (g *gate) accept() {
	for {
		in, err := g.listener.Accept()
		if err != nil {
			return // closed
		}
		g.wg.Go(func() { g.forward(in) })
	}
}

// keep notes a connection, to be closed with the gate.
func (g *gate) keep(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		_ = c.Close()
		return false
	}
	g.conns[c] = struct{}{}
	return true
}

func (g *gate) drop(c net.Conn) {
	_ = c.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

func (g *gate) forward(in net.Conn) {
	if !g.keep(in) {
		return
	}
	defer g.drop(in)
	g.wait()
	out, err := net.Dial("tcp", g.target)
	if err != nil || !g.keep(out) {
		return // PD is not there: the client reads the end of its connection
	}
	defer g.drop(out)
	var both sync.WaitGroup
	both.Go(func() { g.copy(out, in) })
	both.Go(func() { g.copy(in, out) })
	both.Wait()
}

// copy passes bytes on until one side ends, and ends both.
func (g *gate) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.wait()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
}

func (g *gate) close() {
	_ = g.listener.Close()
	g.mu.Lock()
	g.closed, g.shut = true, time.Time{}
	for c := range g.conns {
		_ = c.Close()
	}
	g.mu.Unlock()
	g.wg.Wait()
}
