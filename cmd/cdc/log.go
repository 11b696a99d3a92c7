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
	var out io.WriteCloser = standardError{}
	if c.LogFile != "" {
		out = &lumberjack.Logger{
			Filename: c.LogFile, MaxSize: c.Log.File.MaxSize, MaxAge: c.Log.File.MaxDays, MaxBackups: c.Log.File.MaxBackups,
		}
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level})), out
}

// standardError is never closed.
type standardError struct{}

func (standardError) Write(p []byte) (int, error) { return os.Stderr.Write(p) }
func (standardError) Close() error                { return nil }
