package child

import (
	"fmt"
	"net"
)

// FreeAddrs sets each of addrs to a loopback address, host:port, on which nobody
// listens. Another process may take it before a child does: try again then.
func FreeAddrs(addrs ...*string) error {
	for _, addr := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // not before all are found: no two are the same
		*addr = l.Addr().String()
	}
	return nil
}
