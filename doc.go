// Package tidbcdc is documentation: TiDB change data capture as a Go library.
//
// A program that imports the module receives every committed row change and
// DDL of a TiDB cluster, in commit order, at least once, resumable:
//
//	up, err := cdc.Dial(ctx, cdc.UpstreamConfig{PD: []string{"127.0.0.1:2379"}})
//	…
//	feed, err := cdc.NewChangefeed(cdc.Config{
//		ID:       "orders-to-cache",
//		Upstream: up,
//		Sink:     sink.RowFunc(func(ctx context.Context, rows []*event.RowChanged) error { … }),
//	})
//	…
//	err = feed.Run(ctx) // blocks until ctx is cancelled or something fails for good
//
// The packages, from the bottom up:
//
//   - [github.com/tidbcdc/tidbcdc/cdc/event] is the vocabulary: timestamps, values, rows, DDL.
//   - [github.com/tidbcdc/tidbcdc/filter] chooses tables and changes.
//   - [github.com/tidbcdc/tidbcdc/sink] is the contract of what receives them.
//   - [github.com/tidbcdc/tidbcdc/cdc] follows a cluster: Upstream, Changefeed, Mounter.
//
// The README has a first run that needs nothing but Go.
package tidbcdc
