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
	"io"
	"os"
	"strings"
)

func main() {
	results, err := read(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "read results:", err)
		os.Exit(1)
	}
	if err := printTable(os.Stdout, results, calibrate(5)); err != nil {
		fmt.Fprintln(os.Stderr, "print table:", err)
		os.Exit(1)
	}
}

// read returns the results among lines of output, by name, and by name with the last
// part of the package's path before it. It passes the lines on.
func read(from io.Reader, to io.Writer) (map[string]result, error) {
	results := map[string]result{}
	lines := bufio.NewScanner(from)
	in := ""
	for lines.Scan() {
		fmt.Fprintln(to, lines.Text())
		if path, ok := strings.CutPrefix(lines.Text(), "pkg: "); ok {
			in = path[strings.LastIndexByte(path, '/')+1:]
		}
		if name, r, ok := parse(lines.Text()); ok {
			results[name], results[in+"."+name] = r, r
		}
	}
	return results, lines.Err()
}
