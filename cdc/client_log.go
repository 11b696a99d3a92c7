package cdc

import (
	"context"
	"log/slog"

	plog "github.com/pingcap/log"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// redirectClientLog sends what the TiKV and PD clients log to logger. They log
// through a process-wide zap logger that writes to stdout if nobody sets it.
func redirectClientLog(logger *slog.Logger) {
	core := slogCore{logger.Handler().WithAttrs([]slog.Attr{slog.String("component", "tikv-client")})}
	plog.ReplaceGlobals(zap.New(core), &plog.ZapProperties{Level: zap.NewAtomicLevelAt(zap.WarnLevel), Core: core})
}

// slogCore is a zapcore.Core that writes to a slog.Handler. It drops what is
// below warning: the clients tell every region-cache miss as information.
type slogCore struct{ handler slog.Handler }

func (c slogCore) Enabled(l zapcore.Level) bool {
	return l >= zap.WarnLevel && c.handler.Enabled(context.Background(), slogLevel(l))
}

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.handler.WithAttrs(attrs(fields))}
}

func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, slogLevel(e.Level), e.Message, 0)
	r.AddAttrs(attrs(fields)...)
	return c.handler.Handle(context.Background(), r)
}

func (c slogCore) Sync() error { return nil }

func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l >= zap.ErrorLevel:
		return slog.LevelError
	case l >= zap.WarnLevel:
		return slog.LevelWarn
	case l >= zap.InfoLevel:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	out := make([]slog.Attr, 0, len(enc.Fields))
	for k, v := range enc.Fields {
		out = append(out, slog.Any(k, v))
	}
	return out
}
