package child

import (
	"io"
	"strings"
)

// output is what a child prints. One goroutine writes it, which ends before the
// child counts as ended.
type output struct {
	to    io.Writer // nil discards it
	ready func(line string) bool
	seen  chan struct{} // closed when ready was true of a line; nothing is kept from then on

	isReady bool
	line    string   // the one that has begun
	last    []string // the ones before
}

// Write implements io.Writer. It never fails: a child goes on without a log.
func (o *output) Write(b []byte) (int, error) {
	if o.to != nil {
		_, _ = o.to.Write(b)
	}
	if !o.isReady {
		o.watch(string(b))
	}
	return len(b), nil
}

func (o *output) watch(text string) {
	const kept = 20
	for part := range strings.Lines(text) {
		o.line += part
		line, ended := strings.CutSuffix(o.line, "\n")
		if !ended {
			return
		}
		if o.ready(line) {
			o.isReady = true
			close(o.seen)
			return
		}
		o.last = append(o.last, o.line)
		o.last = o.last[max(0, len(o.last)-kept):]
		o.line = ""
	}
}

func (o *output) lastLines() string { return strings.Join(o.last, "") + o.line }
