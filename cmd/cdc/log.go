package main

import (
	"io"
	"log/slog"
	"os"

	"gopkg.in/natefinch/lumberjack.v2"
)

// openLog returns a logger that writes where c says, from level on; close it at
// the end.
func openLog(c *serverConfig, level slog.Leveler) (*slog.Logger, io.Closer) {
	var out io.WriteCloser
	switch c.LogFile {
	case "", "/dev/stderr": // as pods are often started; it must not be put aside when it is large
		out = standardStream{os.Stderr}
	case "/dev/stdout":
		out = standardStream{os.Stdout}
	default:
		out = &lumberjack.Logger{
			Filename: c.LogFile, MaxSize: c.Log.File.MaxSize, MaxAge: c.Log.File.MaxDays, MaxBackups: c.Log.File.MaxBackups,
		}
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level})), out
}

// standardStream is never closed.
type standardStream struct{ io.Writer }

func (standardStream) Close() error { return nil }
