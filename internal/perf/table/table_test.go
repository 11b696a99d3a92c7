package main

import (
	"io"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	const output = `goos: linux
BenchmarkMount/narrow.insert-2   	    6519	 0.001 allocs/row	        65.37 ns/row	       0 B/op	       0 allocs/op
BenchmarkSpilled/txn=1           	       1	891102246 ns/op	     2400.4 cpu-ns/event	  891.1 ns/event
BenchmarkBroken                  	 FAIL
ok  	example	1s
pkg: example.org/sink/codec/canal
BenchmarkRows/narrow.insert  	 10	 100 cpu-ns/row
pkg: example.org/sink/codec/openprotocol
BenchmarkRows/narrow.insert  	 10	 200 cpu-ns/row`
	results, err := read(strings.NewReader(output), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := printTable(&out, results, 2); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"takes 2.00 times",
		"| sort through disk | 2400 | | 8384 | 3.5 | 2000 missed |",
		"| canal narrow insert | 100 |", "| open-protocol narrow insert | 200 |",
		"| mount narrow insert | 65 | 0.001 | 4652 | 71.2 | 400 |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if strings.Contains(got, "wide") {
		t.Errorf("a row for what was not measured:\n%s", out.String())
	}
}

func TestCalibrate(t *testing.T) {
	if got := calibrate(1); got < 0.01 || got > 1000 {
		t.Errorf("this machine is %v times slower", got)
	}
}
