package puller

import (
	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/rawkv"
)

// Receiver takes the changes of one [Subscription].
//
// Within a subscription, calls of Receive may overlap with one another and with
// Resolve; calls of Resolve do not overlap.
type Receiver interface {
	// Receive delivers committed changes, in any order, whose commit ts is
	// above the last Resolve. A change may come more than once: from the scan
	// and live, or again after a region was subscribed anew. The slice and the bytes
	// it refers to belong to the receiver afterwards. Receive may block: the
	// stream of that store is then not read, which stops every subscription that
	// shares it. A queue for each would only put that off, and hold memory; so a
	// receiver blocks for its disk at most, and never for its sink.
	Receive(kvs []rawkv.Entry)
	// Resolve says that every change with a commit ts up to ts has been
	// received. It is called as soon as all regions of the span have been
	// scanned, with the start ts or more, and then with ever greater ts. It should
	// not block.
	Resolve(ts event.Ts)
	// Fail says that the span cannot be followed: the store belongs to another
	// cluster, requires another client version, or claims that the same region
	// was requested twice; or the span is empty. Nothing follows. Every other
	// failure is retried.
	Fail(err error)
}
