package cdc_test

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
)

// Dial waits for a PD that is not there yet for as long as DialTimeout, though
// PD's own client gives up after three seconds.
func TestDialWaitsForPD(t *testing.T) {
	t.Parallel()
	cluster, err := cdctest.Start(cdctest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	cluster.StopPD()
	back := time.AfterFunc(5*time.Second, func() {
		if err := cluster.StartPD(); err != nil {
			t.Error(err)
		}
	})
	defer back.Stop()
	logger := slog.New(slog.DiscardHandler)
	up, err := cdc.Dial(t.Context(), cdc.UpstreamConfig{PD: []string{cluster.PDAddr()}, DialTimeout: time.Minute, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Close(); err != nil {
		t.Error(err)
	}
	cluster.StopPD()
	began := time.Now()
	_, err = cdc.Dial(t.Context(), cdc.UpstreamConfig{PD: []string{cluster.PDAddr()}, DialTimeout: time.Second, Logger: logger})
	if !errors.Is(err, cdc.ErrPDUnreachable) || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
