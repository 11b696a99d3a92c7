// Package puller turns key spans of a TiKV cluster into streams of committed
// changes with a resolved ts.
//
//	c := puller.New(puller.Config{Store: store, PD: pd})
//	go c.Run(ctx)                                // owns every goroutine
//	sub := c.Subscribe(event.TableSpan(104), startTs, receiver)
//	…
//	sub.Close()
//
// # How it works
//
//	Subscription   a span, and a rangeLock that says which part of it which region serves
//	    │ rangeTask: load the regions of a key range from PD, or try one region again
//	    ▼
//	workers        divide the range by regions, lock each part, find the leader's store
//	    │ region: one (subscription, region) pair from its request to its first error
//	    ▼
//	store, stream  one EventFeedV2 stream per store for all subscriptions
//	    │ the stream's receiving goroutine decodes rows and runs the matcher: PREWRITE + COMMIT → rawkv.Entry
//	    ▼
//	Receiver       Receive(rows) once per gRPC message and span, or full batch; Resolve(ts) when the span's minimum moves
//
// A region goes from normal to removed once, perhaps through stopping (the
// client gave it up and waits for the server to agree). Whoever removes it hands
// its error to Client.regionFailed, the only place that decides what follows: its
// range is unlocked at the resolved ts it had reached, and a rangeTask starts
// again from there after a delay. Nothing but the errors that [Receiver.Fail]
// names ends a subscription.
//
// # Memory
//
// A message is decoded in the buffers that gRPC received it in, event by event, and
// these are given back when it has been handled. What outlives it, the
// bytes of PREWRITE and COMMITTED rows, is copied once, into one array for each event:
// it belongs to one region, so a span that cannot move on does not hold the memory of others.
//
// # Order
//
// All rows and resolved ts of a region are handled by the one goroutine that
// receives from its stream, and a region is removed by that goroutine too (or
// after it ended). So a region's resolved ts moves only when every row below it has
// been through [Receiver.Receive], although rows of other regions of the span may
// be on their way in other goroutines.
//
// # Locks
//
// Mutexes are taken one at a time, with two exceptions: stream.mu may be held
// while taking a subscription's mu, and resolveMu while taking those of its own
// subscription and while calling Resolve.
package puller
