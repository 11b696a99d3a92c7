package sinktest

import (
	"testing"
	"time"
)

// Checks runs every check with a testing.TB of its own, for the tests of the
// harness itself: a check that fails there must not fail the test.
func Checks(start func(check string) testing.TB, done func(), open func(testing.TB) Subject) {
	for _, c := range checks() {
		ended := make(chan struct{})
		go func() { // FailNow ends the goroutine
			defer close(ended)
			t := start(c.name)
			c.run(newBench(t, open(t), 300*time.Millisecond))
		}()
		<-ended
		done()
	}
}
