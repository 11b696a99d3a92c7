// Package perf holds benchmarks of a whole changefeed, from the wire to the sink.
// The table command beside it prints what all benchmarks of the module measured,
// next to what TiCDC needs for the same bytes.
package perf
