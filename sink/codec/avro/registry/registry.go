// Package registry is a client of schema registries that speak the API of
// Confluent's: what package avro needs of it, with a cache. A [Client] is an
// avro.Registry and an avro.SchemaLookup.
package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec/avro"
)

// Config configures a Client.
type Config struct {
	// URL is http:// or https://, with a path if the registry is below one and with
	// user:password@ if it wants basic authentication. Required.
	URL string
	// TLS is for https. Defaults to Go's defaults: the roots of the machine.
	TLS *tls.Config
	// Timeout bounds one request. Defaults to 10 seconds.
	Timeout time.Duration
	// MaxElapsed bounds a call with its retries. Defaults to one minute.
	MaxElapsed time.Duration
}

// Client registers and looks up schemas and remembers them, as many as a set of
// changefeeds has. It is safe for concurrent use.
type Client struct {
	base           url.URL
	user, password string
	maxElapsed     time.Duration
	http           *http.Client

	mu struct {
		sync.Mutex
		ids     map[registration]avro.SchemaID
		schemas map[avro.SchemaID]string
	}
}

// registration is what an id stands for. One schema may have different ids under
// different subjects, as some registries number them.
type registration struct{ subject, schema string }

const (
	defaultTimeout    = 10 * time.Second
	defaultMaxElapsed = time.Minute
	maxResponse       = 16 << 20 // of the largest schema one can think of
	maxCached         = 16384    // beyond it all is forgotten and asked for again
	contentType       = "application/vnd.schemaregistry.v1+json"
)

// New returns a Client. It does no I/O.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		// What url.Parse says quotes the URL, with its password.
		return nil, fmt.Errorf("schema registry: its URL does not parse: %w", sink.ErrInvalidURI)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("schema registry: its URL must begin with http:// or https:// and a host: %w", sink.ErrInvalidURI)
	}
	c := &Client{base: *u, maxElapsed: cfg.MaxElapsed}
	c.user = u.User.Username()
	c.password, _ = u.User.Password()
	c.base.User, c.base.RawQuery, c.base.Fragment = nil, "", ""
	if c.maxElapsed == 0 {
		c.maxElapsed = defaultMaxElapsed
	}
	timeout := cfg.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	c.http = &http.Client{Timeout: timeout, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: cfg.TLS, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
	}}
	c.mu.ids = make(map[registration]avro.SchemaID)
	c.mu.schemas = make(map[avro.SchemaID]string)
	return c, nil
}

// Close closes idle connections. Calls that are under way are not affected.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Register returns the id of a schema under a subject and registers it if need be.
// That the registry refuses it, for example because it is not compatible with the
// subject's last one, is a sink.Permanent error with what the registry said.
func (c *Client) Register(ctx context.Context, subject, schema string) (avro.SchemaID, error) {
	r := registration{subject, schema}
	c.mu.Lock()
	id, ok := c.mu.ids[r]
	c.mu.Unlock()
	if ok {
		return id, nil
	}
	body, err := json.Marshal(map[string]string{"schema": schema})
	if err != nil {
		return avro.SchemaID{}, err
	}
	var answer struct {
		ID *uint32 `json:"id"`
	}
	err = c.call(ctx, http.MethodPost, c.base.JoinPath("subjects", url.PathEscape(subject), "versions"), body, &answer)
	if err == nil && answer.ID == nil {
		err = errors.New("the answer has no id")
	}
	if err != nil {
		return avro.SchemaID{}, fmt.Errorf("register schema of subject %s at %s: %w", subject, c.base.Host, err)
	}
	id = avro.ConfluentID(*answer.ID)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mu.ids) >= maxCached {
		clear(c.mu.ids)
	}
	c.mu.ids[r] = id
	return id, nil
}

// Schema returns the schema of an id.
func (c *Client) Schema(ctx context.Context, id avro.SchemaID) (string, error) {
	number, ok := id.Confluent()
	if !ok {
		return "", sink.Permanent(fmt.Errorf("look up schema %s: it is not of a registry with Confluent's API", id))
	}
	c.mu.Lock()
	schema, ok := c.mu.schemas[id]
	c.mu.Unlock()
	if ok {
		return schema, nil
	}
	var answer struct {
		Schema string `json:"schema"`
	}
	at := c.base.JoinPath("schemas", "ids", strconv.FormatUint(uint64(number), 10))
	if err := c.call(ctx, http.MethodGet, at, nil, &answer); err != nil {
		return "", fmt.Errorf("look up schema %s at %s: %w", id, c.base.Host, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mu.schemas) >= maxCached {
		clear(c.mu.schemas)
	}
	c.mu.schemas[id] = answer.Schema
	return answer.Schema, nil
}

// call sends a request until it is answered for good. Registering is idempotent, so
// a request whose answer was lost can be repeated.
func (c *Client) call(ctx context.Context, method string, at *url.URL, body []byte, answer any) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		return struct{}{}, c.try(ctx, method, at, body, answer)
	}, backoff.WithMaxElapsedTime(c.maxElapsed), backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: 100 * time.Millisecond, Multiplier: 2, MaxInterval: 5 * time.Second, RandomizationFactor: 0.2,
	}))
	return err
}

// try sends a request once. An error that trying again cannot mend is a
// backoff.Permanent.
func (c *Client) try(ctx context.Context, method string, at *url.URL, body []byte, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
	if err != nil {
		return backoff.Permanent(err)
	}
	req.Header.Set("Accept", contentType)
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if c.user != "" || c.password != "" {
		req.SetBasicAuth(c.user, c.password)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxResponse))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode/100 == 2 {
		if err := json.Unmarshal(data, answer); err != nil {
			return backoff.Permanent(fmt.Errorf("read the answer: %w", err))
		}
		return nil
	}
	err = refusal(res.StatusCode, data)
	switch {
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusRequestTimeout || res.StatusCode >= 500:
		return err
	case res.StatusCode == http.StatusConflict && strings.Contains(err.Error(), "already exists"):
		// Apicurio says so to all but one of those who register a new subject at a time.
		return err
	}
	return backoff.Permanent(sink.Permanent(err))
}

// refusal makes an error of an answer that is not a success.
func refusal(status int, data []byte) error {
	var answer struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(data, &answer) == nil && answer.Message != "" {
		const maxMessage = 1024 // some registries print both schemas
		if len(answer.Message) > maxMessage {
			answer.Message = answer.Message[:maxMessage] + "…"
		}
		return fmt.Errorf("status %d, error code %d: %s", status, answer.Code, answer.Message)
	}
	return fmt.Errorf("status %d", status)
}
