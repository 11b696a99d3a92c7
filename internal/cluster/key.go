package cluster

import (
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// keys builds the keys under a prefix such as /tidbcdc/default.
type keys string

func (k keys) owner() string                 { return string(k) + "/owner" }
func (k keys) leader() string                { return string(k) + "/leader" }
func (k keys) captures() string              { return string(k) + "/captures/" }
func (k keys) capture(id string) string      { return k.captures() + id }
func (k keys) draining() string              { return string(k) + "/draining/" }
func (k keys) drainingOf(id string) string   { return k.draining() + id }
func (k keys) changefeeds() string           { return string(k) + "/changefeeds/" }
func (k keys) changefeed(id string) feedKeys { return feedKeys(k.changefeeds() + id + "/") }

// feedKeys are those of one changefeed.
type feedKeys string

func (k feedKeys) spec() string               { return string(k) + "spec" }
func (k feedKeys) status() string             { return string(k) + "status" }
func (k feedKeys) task() string               { return string(k) + "task" }
func (k feedKeys) ddls() string               { return string(k) + "ddls" }
func (k feedKeys) spans() string              { return string(k) + "spans/" }
func (k feedKeys) spansOf(m Member) string    { return k.spans() + string(m) }
func (k feedKeys) positions() string          { return string(k) + "positions/" }
func (k feedKeys) positionOf(m Member) string { return k.positions() + string(m) }

// memberOf names a capture with its lease.
func memberOf(capture string, lease clientv3.LeaseID) Member {
	return Member(fmt.Sprintf("%s.%x", capture, int64(lease)))
}

// capture is the capture's id, and the lease.
func (m Member) capture() (id string, lease clientv3.LeaseID) {
	id, hex, _ := strings.Cut(string(m), ".")
	var n int64
	// A key that is not ours gives no lease, which no capture has.
	_, _ = fmt.Sscanf(hex, "%x", &n)
	return id, clientv3.LeaseID(n)
}

// holds is true in etcd as long as a member lives.
func (k keys) holds(m Member) clientv3.Cmp {
	id, lease := m.capture()
	return clientv3.Compare(clientv3.LeaseValue(k.capture(id)), "=", lease)
}

// gone is true in etcd when a member has died.
func (k keys) gone(m Member) clientv3.Cmp {
	id, lease := m.capture()
	return clientv3.Compare(clientv3.LeaseValue(k.capture(id)), "!=", lease)
}
