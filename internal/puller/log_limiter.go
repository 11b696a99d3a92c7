package puller

import (
	"context"
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
	last   map[logKind]time.Time
	missed map[logKind]int
}

// logKind is what messages have in common of which one will do.
type logKind struct {
	level slog.Level
	msg   string
}

func newLogLimiter(logger *slog.Logger) *logLimiter {
	return &logLimiter{logger: logger, last: make(map[logKind]time.Time), missed: make(map[logKind]int)}
}

func (l *logLimiter) warn(msg string, args ...any) { l.log(slog.LevelWarn, msg, args...) }

// log writes a message. msg is part of its kind and therefore must be a constant.
func (l *logLimiter) log(level slog.Level, msg string, args ...any) {
	ctx := context.Background() // a logger takes one, for what it may carry
	if !l.logger.Enabled(ctx, level) {
		return
	}
	kind := logKind{level, msg}
	l.mu.Lock()
	now := time.Now()
	if last, ok := l.last[kind]; ok && now.Sub(last) < logInterval {
		l.missed[kind]++
		l.mu.Unlock()
		return
	}
	if n := l.missed[kind]; n > 0 {
		args = append(args, slog.Int("left_out", n))
	}
	l.last[kind], l.missed[kind] = now, 0
	l.mu.Unlock()
	l.logger.Log(ctx, level, msg, args...)
}
