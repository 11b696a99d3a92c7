// Package sink is the contract between a changefeed and what it writes to.
//
// A [Sink] has two methods. It is at-least-once: what it acknowledged is never
// lost, and after a fault or a restart it may see again what it saw before, so
// a write must be idempotent or tolerate repeats. [RowFunc] turns a function
// into a Sink. An error is retried with backoff; wrap it with [Permanent] when
// retrying cannot help. Package sinktest checks an implementation.
//
// Backends live in sub-packages. A program lists the ones it links in an
// [Openers] value; there is no registry.
package sink
