package main

import (
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/blackhole"
)

// backends are the sinks that this program has.
func backends() sink.Openers {
	return sink.Openers{
		"blackhole": blackhole.Open,
	}
}
