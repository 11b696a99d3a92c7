package main

import (
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/blackhole"
	"github.com/tidbcdc/tidbcdc/sink/kafka"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
)

// backends are the sinks that this program has.
func backends() sink.Openers {
	return sink.Openers{
		"blackhole": blackhole.Open,
		"kafka":     kafka.Open, // keeps claim checks in files
		"kafka+ssl": kafka.Open,
		"mysql":     mysql.Open,
		"mysql+ssl": mysql.Open,
		"tidb":      mysql.Open,
		"tidb+ssl":  mysql.Open,
	}
}
