package sink

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

// masked takes the place of a secret.
const masked = "xxxxx"

// Redact returns a sink URI that may be shown: without its password, its
// fragment and the values of its query, except of parameters that are known to
// hold no secret. Of a URI that cannot be told apart safely, because it does not
// parse or has an @ behind its host as after an unescaped password, it leaves
// the scheme.
func Redact(uri string) string {
	u, err := parseURI(uri)
	if err != nil || strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") {
		scheme, _, found := strings.Cut(uri, "://")
		if !found || scheme == "" || strings.ContainsFunc(scheme, notInScheme) {
			return masked
		}
		return scheme + "://" + masked
	}
	var b strings.Builder
	b.WriteString(u.Scheme + "://")
	if u.User != nil {
		b.WriteString(url.User(u.User.Username()).String())
		if _, ok := u.User.Password(); ok {
			b.WriteString(":" + masked)
		}
		b.WriteByte('@')
	}
	b.WriteString(u.Host + u.EscapedPath())
	for i, parameter := range parameters(u) {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(parameter.key)
		switch {
		case !parameter.hasValue:
		case isPublic(parameter.key):
			b.WriteString("=" + parameter.value)
		default:
			b.WriteString("=" + masked)
		}
	}
	if u.Fragment != "" {
		b.WriteString("#" + masked)
	}
	return b.String()
}

func notInScheme(r rune) bool {
	isAlphanumeric := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return !isAlphanumeric && !strings.ContainsRune("+-.", r)
}

// parameter is one of a query, as written.
type parameter struct {
	key, value string
	hasValue   bool
}

func parameters(u *url.URL) []parameter {
	var out []parameter
	if u.RawQuery == "" {
		return nil
	}
	for text := range strings.SplitSeq(u.RawQuery, "&") {
		key, value, ok := strings.Cut(text, "=")
		out = append(out, parameter{key, value, ok})
	}
	return out
}

// isPublic lists parameters of TiCDC's sink URIs that help to understand an
// error and cannot hold a secret.
func isPublic(key string) bool {
	switch key {
	case "protocol", "partition-num", "replication-factor", "kafka-version", "max-message-bytes", "max-batch-size",
		"compression", "required-acks", "auto-create-topic", "sasl-mechanism", "enable-tls", "enable-tidb-extension",
		"worker-count", "max-txn-row", "safe-mode", "time-zone", "transaction-atomicity",
		"flush-interval", "file-size", "file-index-width", "date-separator":
		return true
	}
	return false
}

// hideSecrets returns err with the secrets of a URI masked in its message. The
// error inside, for errors.Is and errors.As, is the same.
func hideSecrets(err error, uri string, u *url.URL) error {
	message := strings.ReplaceAll(err.Error(), uri, Redact(uri))
	for _, secret := range secrets(u) {
		message = strings.ReplaceAll(message, secret, masked)
	}
	if message == err.Error() {
		return err
	}
	return &redactedError{message, err}
}

type redactedError struct {
	message string
	err     error
}

func (e *redactedError) Error() string { return e.message }
func (e *redactedError) Unwrap() error { return e.err }

// secrets returns what Redact masks, as written and decoded, longest first so
// that none leaves a part of another.
func secrets(u *url.URL) []string {
	var out []string
	if password, ok := u.User.Password(); ok {
		_, written, _ := strings.Cut(u.User.String(), ":")
		out = append(out, password, written, url.QueryEscape(password))
	}
	for _, p := range parameters(u) {
		// Short values are numbers and flags; to mask every 1 would spoil a
		// message and hide nothing.
		const short = 4
		if isPublic(p.key) || len(p.value) < short || p.value == "true" || p.value == "false" {
			continue
		}
		out = append(out, p.value)
		if value, err := url.QueryUnescape(p.value); err == nil {
			out = append(out, value)
		}
	}
	if len(u.Fragment) > 0 {
		out = append(out, u.Fragment, u.EscapedFragment())
	}
	out = slices.DeleteFunc(out, func(s string) bool { return s == "" })
	slices.SortFunc(out, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return slices.Compact(out)
}
