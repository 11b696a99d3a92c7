// Command table reads what go test -bench prints, passes it on, and ends with a
// table: this machine's figures next to what TiCDC v8.2 needs for the same bytes.
//
//	go test -run '^$' -bench . -benchmem -cpu 1 ./... | go run ./internal/perf/table
//
// TiCDC was measured once, on another machine. A short loop relates the two: its
// figures are multiplied by how much slower or faster this one runs the loop.
package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	results := map[string]result{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(lines.Text())
		if name, r, ok := parse(lines.Text()); ok {
			results[name] = r
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "read results:", err)
		os.Exit(1)
	}
	if err := printTable(os.Stdout, results, calibrate()); err != nil {
		fmt.Fprintln(os.Stderr, "print table:", err)
		os.Exit(1)
	}
}
