package cdc

import "errors"

// Errors of a Capture's methods that callers branch on. They come wrapped in
// messages that name what was asked for.
var (
	// ErrChangefeedNotFound: there is no changefeed of that id.
	ErrChangefeedNotFound = errors.New("changefeed does not exist")
	// ErrChangefeedExists: a changefeed of that id is there already.
	ErrChangefeedExists = errors.New("changefeed exists already")
	// ErrRemovalUnfinished: a changefeed is being removed, and whoever waited for it
	// does no longer.
	ErrRemovalUnfinished = errors.New("changefeed not removed yet")
	// ErrUpdateRefused: a changefeed cannot be changed in its state, or not so. It
	// wraps the reason.
	ErrUpdateRefused = errors.New("changefeed not updated")
	// ErrCaptureNotFound: there is no capture of that id.
	ErrCaptureNotFound = errors.New("capture does not exist")
	// ErrScheduling: tables cannot be moved as asked for.
	ErrScheduling = errors.New("tables not moved")
	// ErrNotReady: the capture is starting, or has ended.
	ErrNotReady = errors.New("capture is not ready")
	// ErrNotOwner: another capture, or for the moment none, decides about changefeeds.
	ErrNotOwner = errors.New("capture is not the owner")
	// ErrUnhealthy: the captures cannot do their work.
	ErrUnhealthy = errors.New("cluster is unhealthy")
	// ErrGCTTLExceeded: a changefeed has stood still for so long that the changes it
	// has to read are no longer kept.
	ErrGCTTLExceeded = errors.New("the checkpoint is older than gc-ttl")
	// ErrNoProgress: a changefeed met errors for too long without coming further. It
	// wraps the last.
	ErrNoProgress = errors.New("no progress for too long")
)

// OpenSinkError is why the sink of a changefeed could not be opened.
type OpenSinkError struct {
	// Scheme is that of the sink's URI, in lower case.
	Scheme string
	// Err is what sink.Openers.Open returned. It names the URI, without its secrets.
	Err error
}

// Error implements error.
func (e *OpenSinkError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *OpenSinkError) Unwrap() error { return e.Err }
