package sink_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

func TestRedact(t *testing.T) {
	tests := []struct{ uri, want string }{
		{"blackhole://", "blackhole://"},
		{"mysql://root@127.0.0.1:4000/", "mysql://root@127.0.0.1:4000/"},
		{"mysql://root:@127.0.0.1:4000/", "mysql://root:xxxxx@127.0.0.1:4000/"},
		{"mysql://root:s3cret@127.0.0.1:4000/?worker-count=16&time-zone=UTC", "mysql://root:xxxxx@127.0.0.1:4000/?worker-count=16&time-zone=UTC"},
		{"MySQL+SSL://u%40x:s3%2Fcret@h/", "mysql+ssl://u%40x:xxxxx@h/"},
		{"mysql://u:s3@cret@h:1/", "mysql://u:xxxxx@h:1/"}, // the last @ counts
		{
			"kafka://a:9092,b,[::1]:9092/topic?protocol=canal-json&sasl-user=u&sasl-password=s3cret&sasl-oauth-client-secret=s3cret&ca=/k",
			"kafka://a:9092,b,[::1]:9092/topic?protocol=canal-json&sasl-user=xxxxx&sasl-password=xxxxx&sasl-oauth-client-secret=xxxxx&ca=xxxxx",
		},
		{"s3://bucket/pre%2Ffix?access-key=AK&secret-access-key=s3%3D&flush-interval=5s", "s3://bucket/pre%2Ffix?access-key=xxxxx&secret-access-key=xxxxx&flush-interval=5s"},
		{"x://h?Protocol=s3cret&flag&=s3cret", "x://h?Protocol=xxxxx&flag&=xxxxx"},
		{"x://h/#s3cret", "x://h/#xxxxx"},
		{"file:///tmp/cdc", "file:///tmp/cdc"},
		// Not to be told apart: a password with a special character in it.
		{"mysql://root:12#s3cret@h:3306/", "mysql://xxxxx"},
		{"mysql://root:12?s3cret@h:3306/", "mysql://xxxxx"},
		{"mysql://root:12/s3cret@h:3306/", "mysql://xxxxx"},
		{"mysql://root:s3#cret@h:3306/", "mysql://xxxxx"},
		{"mysql://root:s3%cret@h:3306/", "mysql://xxxxx"},
		{"mysql://root:s3cret\n@h:3306/", "mysql://xxxxx"},
		{"mysql:root:s3cret@h", "xxxxx"},
		{"root:s3cret@://h", "xxxxx"},
		{"s3cret", "xxxxx"},
		{"", "xxxxx"},
	}
	for _, tt := range tests {
		if got := sink.Redact(tt.uri); got != tt.want {
			t.Errorf("Redact(%q) = %q, want %q", tt.uri, got, tt.want)
		}
	}
}

// FuzzRedact plants a password that no other part of the URI has.
func FuzzRedact(f *testing.F) {
	f.Add("mysql", "root", "h:3306", "/", "a=b")
	f.Add("kafka", "", "a:1,b:2", "/topic?x", "protocol=x#y")
	f.Fuzz(func(t *testing.T, scheme, user, host, path, query string) {
		const secret = "s3cr3t-p4ssw0rd"
		for _, uri := range []string{
			scheme + "://" + user + ":" + secret + "@" + host + path + "?" + query,
			scheme + "://" + user + "@" + host + path + "?" + query + "&sasl-password=" + secret,
		} {
			// A separator before the secret makes it something else, which may be shown.
			if strings.ContainsAny(scheme+user+host+path, "/?#&=:@") || strings.ContainsAny(query, "#&=") {
				continue
			}
			if got := sink.Redact(uri); strings.Contains(got, secret) {
				t.Errorf("Redact(%q) = %q", uri, got)
			}
		}
	})
}

// opened is what an Opener got.
type opened struct {
	uri    *url.URL
	cfg    sink.Config
	closed bool
}

func (o *opened) Close() error { o.closed = true; return nil }

func discard(context.Context, []*event.RowChanged) error { return nil }

func (o *opened) open(_ context.Context, uri *url.URL, cfg sink.Config) (sink.Sink, io.Closer, error) {
	o.uri, o.cfg = uri, cfg
	return sink.RowFunc(discard), o, nil
}

func TestOpen(t *testing.T) {
	tests := []struct{ uri, host, path, password string }{
		{"good://", "", "", ""},
		{"GOOD://u:p%40ss@h:1/x?a=b", "h:1", "/x", "p@ss"},
		{"good://a:1,b,[::1]:2/t", "a:1,b,[::1]:2", "/t", ""},
		{"good://u:p@a,b:2", "a,b:2", "", "p"},
	}
	for _, tt := range tests {
		var o opened
		s, closer, err := sink.Openers{"good": o.open}.Open(t.Context(), tt.uri, sink.Config{Changefeed: "feed"})
		if err != nil {
			t.Errorf("%s: %v", tt.uri, err)
			continue
		}
		password, _ := o.uri.User.Password()
		if s == nil || o.uri.Scheme != "good" || o.uri.Host != tt.host || o.uri.Path != tt.path || password != tt.password {
			t.Errorf("%s: opened %v with %#v", tt.uri, s, o.uri)
		}
		if o.cfg.Changefeed != "feed" || o.cfg.Cluster != "default" || o.cfg.Logger == nil || o.cfg.TimeZone != time.UTC {
			t.Errorf("%s: config %+v", tt.uri, o.cfg)
		}
		if err := closer.Close(); err != nil || !o.closed {
			t.Errorf("%s: close: %v", tt.uri, err)
		}
	}
}

func TestOpenKeepsConfig(t *testing.T) {
	var o opened
	cfg := sink.Config{Cluster: "east", TimeZone: time.FixedZone("x", 3600), Logger: slog.Default()}
	if _, _, err := (sink.Openers{"good": o.open}).Open(t.Context(), "good://", cfg); err != nil || !reflect.DeepEqual(o.cfg, cfg) {
		t.Errorf("got %+v, %v", o.cfg, err)
	}
}

func TestOpenWithoutCloser(t *testing.T) {
	openers := sink.Openers{"good": func(context.Context, *url.URL, sink.Config) (sink.Sink, io.Closer, error) {
		return sink.RowFunc(discard), nil, nil
	}}
	_, closer, err := openers.Open(t.Context(), "good://", sink.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenErrors(t *testing.T) {
	errRefused := errors.New("refused")
	const secret = "s3/cret"
	openers := sink.Openers{
		"zebra": nil,
		"good":  func(context.Context, *url.URL, sink.Config) (sink.Sink, io.Closer, error) { panic("not called") },
		"quote": func(_ context.Context, u *url.URL, _ sink.Config) (sink.Sink, io.Closer, error) {
			password, _ := u.User.Password()
			return nil, nil, fmt.Errorf("dial %s as %s, %s, %s: %w", u, password, u.Query().Get("token"), u.Query().Get("n"), errRefused)
		},
		"param": func(context.Context, *url.URL, sink.Config) (sink.Sink, io.Closer, error) {
			return nil, nil, fmt.Errorf("%w: n is not a number", sink.ErrInvalidURI)
		},
	}
	tests := []struct {
		uri     string
		invalid bool
		want    []string
	}{
		{"unknown://u:s3cret@h/?token=s3%2Fcret", true, []string{`unknown scheme "unknown"`, "good, param, quote, zebra", "unknown://u:xxxxx@h/?token=xxxxx"}},
		{"no scheme s3/cret", true, []string{"no scheme", "open sink xxxxx:"}},
		{"://u:s3cret@h", true, []string{"no scheme"}},
		{"good://u:s3cret#@h", true, []string{"malformed", "%XX", "good://xxxxx"}},
		{"good://u:s3cret%zz@h", true, []string{"malformed"}},
		{"good://a,,b", true, []string{"malformed"}},
		{"quote://u:s3%2Fcret@h/?token=s3%2Fcret&n=7", false, []string{"refused", "quote://u:xxxxx@h/?token=xxxxx&n=xxxxx", "as xxxxx, xxxxx, 7: refused"}},
		{"param://h/?n=x", true, []string{"param://h/?n=xxxxx", "n is not a number"}},
	}
	for _, tt := range tests {
		s, closer, err := openers.Open(t.Context(), tt.uri, sink.Config{})
		if err == nil || s != nil || closer != nil {
			t.Errorf("%s: got %v, %v, %v", tt.uri, s, closer, err)
			continue
		}
		if errors.Is(err, sink.ErrInvalidURI) != tt.invalid || sink.IsPermanent(err) != tt.invalid || errors.Is(err, errRefused) == tt.invalid {
			t.Errorf("%s: wrong class: %v", tt.uri, err)
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the message lacks %q: %v", tt.uri, want, err)
			}
		}
		for _, s := range []string{secret, "s3cret", "s3%2Fcret"} {
			if strings.Contains(err.Error(), s) {
				t.Errorf("%s: the message shows a secret: %v", tt.uri, err)
			}
		}
	}
}
