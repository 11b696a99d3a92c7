package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config is what a backend gets besides its URI. The zero value is valid.
type Config struct {
	// Changefeed is the id of the changefeed, for messages and for what the
	// backend names after it (a Kafka client id, for example). It may be empty.
	Changefeed string
	// Cluster names the captures of which the changefeed is one (the source of debezium).
	// The default is "default".
	Cluster string
	// Options are the settings of the changefeed's sink that are not in the URI.
	Options Options
	// CaseSensitive makes the table rules in Options distinguish upper from lower case.
	CaseSensitive bool
	// TimeZone is where TIMESTAMP values are written as local time, for backends
	// that do so. The default is UTC.
	TimeZone *time.Location
	// Logger receives what an operator should know. The default discards it.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.TimeZone == nil {
		c.TimeZone = time.UTC
	}
	if c.Cluster == "" {
		c.Cluster = "default"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Opener connects to what a URI names and returns a Sink, with what the caller
// closes after the changefeed has stopped; the Closer may be nil. ctx bounds the
// opening, not the life of the Sink. uri may have several comma-separated hosts
// in its Host. The fields of cfg are set. An error about the URI itself wraps
// [ErrInvalidURI]; none need be masked by the Opener.
type Opener func(ctx context.Context, uri *url.URL, cfg Config) (Sink, io.Closer, error)

// Openers are the backends that a program links, by URI scheme in lower case:
//
//	backends := sink.Openers{"mysql": mysql.Open, "tidb": mysql.Open, "blackhole": blackhole.Open}
type Openers map[string]Opener

// ErrInvalidURI is wrapped by errors about a sink URI that has to be changed
// before it can be opened: malformed, or of a scheme that no Opener is listed for.
var ErrInvalidURI = errors.New("invalid sink URI")

// ErrInvalidParameter is an [ErrInvalidURI] about the value of a parameter, or of the
// option of the same meaning.
var ErrInvalidParameter = fmt.Errorf("%w", ErrInvalidURI)

// Open opens the sink that uri names, such as "blackhole://". Close the Closer,
// which is never nil without an error, when the Sink is no longer used.
//
// Errors show the URI as [Redact] does, also where an Opener quotes it. Those
// that wrap [ErrInvalidURI] are permanent.
func (o Openers) Open(ctx context.Context, uri string, cfg Config) (Sink, io.Closer, error) {
	u, err := parseURI(uri)
	if err != nil {
		return nil, nil, Permanent(fmt.Errorf("open sink %s: %w", Redact(uri), err))
	}
	open := o[u.Scheme]
	if open == nil {
		return nil, nil, Permanent(fmt.Errorf("open sink %s: %w: unknown scheme %q, want one of %s",
			Redact(uri), ErrInvalidURI, u.Scheme, strings.Join(slices.Sorted(maps.Keys(o)), ", ")))
	}
	s, closer, err := open(ctx, u, cfg.withDefaults())
	if err != nil {
		err = fmt.Errorf("open sink %s: %w", Redact(uri), hideSecrets(err, uri, u))
		if errors.Is(err, ErrInvalidURI) {
			err = Permanent(err)
		}
		return nil, nil, err
	}
	if closer == nil {
		closer = nothingToClose{}
	}
	return s, closer, nil
}

type nothingToClose struct{}

func (nothingToClose) Close() error { return nil }

// parseURI is url.Parse for a list of hosts. Its errors quote nothing, because
// what cannot be parsed may be a password.
func parseURI(uri string) (*url.URL, error) {
	scheme, rest, found := strings.Cut(uri, "://")
	if !found || scheme == "" || strings.ContainsFunc(scheme, notInScheme) {
		return nil, fmt.Errorf(`%w: it has no scheme, want a form such as "mysql://user:password@host:port/"`, ErrInvalidURI)
	}
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	user, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, hosts = authority[:i+1], authority[i+1:]
	}
	var u *url.URL
	for host := range strings.SplitSeq(hosts, ",") {
		var err error
		if u, err = url.Parse(scheme + "://" + user + host + path); err != nil || strings.Contains(hosts, ",") && host == "" {
			return nil, fmt.Errorf("%w: it is malformed; write special characters in its user, password and values as %%XX", ErrInvalidURI)
		}
	}
	u.Host = hosts
	return u, nil
}
