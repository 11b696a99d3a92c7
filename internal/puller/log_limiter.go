package puller

import (
	"log/slog"
	"sync"
	"time"
)

// logInterval is the least time between two messages of one kind.
const logInterval = 5 * time.Second

// logLimiter writes at most one message per kind and interval, with the number
// of those it left out: a store that goes down fails all its regions at once.
type logLimiter struct {
	logger *slog.Logger
	mu     sync.Mutex
	last   map[string]time.Time
	missed map[string]int
}

func newLogLimiter(logger *slog.Logger) *logLimiter {
	return &logLimiter{logger: logger, last: make(map[string]time.Time), missed: make(map[string]int)}
}

// warn logs msg, which is also the kind and therefore must be a constant.
func (l *logLimiter) warn(msg string, args ...any) {
	l.mu.Lock()
	now := time.Now()
	if last, ok := l.last[msg]; ok && now.Sub(last) < logInterval {
		l.missed[msg]++
		l.mu.Unlock()
		return
	}
	if n := l.missed[msg]; n > 0 {
		args = append(args, slog.Int("left_out", n))
	}
	l.last[msg], l.missed[msg] = now, 0
	l.mu.Unlock()
	l.logger.Warn(msg, args...)
}
