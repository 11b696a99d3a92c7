package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// client speaks to a server's API.
type client struct {
	server, ca, cert, key string
	user, password        string
	timeout               time.Duration
	json                  bool // print what the server answers
}

// passwordEnv holds the password for --user, so that it need not be in the
// command line.
const passwordEnv = "TICDC_PASSWORD"

func clientCommands() []*cobra.Command {
	c := &client{}
	groups := []*cobra.Command{changefeedCommand(c), captureCommand(c), processorCommand(c), ownerCommand(c), logCommand(c)}
	for _, group := range groups {
		f := group.PersistentFlags()
		f.StringVar(&c.server, "server", "http://127.0.0.1:8300", "`URL` of a server")
		f.StringVar(&c.ca, "ca", "", "PEM `file` of the authority that signed the server's certificate")
		f.StringVar(&c.cert, "cert", "", "PEM `file` of the client's certificate")
		f.StringVar(&c.key, "key", "", "PEM `file` of its key")
		f.StringVar(&c.user, "user", "", "`name` for servers that ask for one; the password is taken from $"+passwordEnv)
		// Longer than a server tries to open a sink, or nobody is told why it could not.
		f.DurationVar(&c.timeout, "timeout", time.Minute, "how long to wait for an answer")
		f.BoolVar(&c.json, "json", false, "print JSON")
		group.PersistentPreRun = func(*cobra.Command, []string) { c.password = os.Getenv(passwordEnv) }
	}
	return groups
}

// get asks for something and decodes it.
func (c *client) get(ctx context.Context, path string, into any) error {
	return c.do(ctx, http.MethodGet, path, nil, into)
}

// do sends a request with a JSON body, unless in is nil, and decodes the answer,
// unless into is nil.
func (c *client) do(ctx context.Context, method, path string, in, into any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url()+path, body)
	if err != nil {
		return usageError{fmt.Errorf("--server %q: %w", c.server, err)}
	}
	req.Header.Set("Content-Type", "application/json")
	if c.user != "" {
		req.SetBasicAuth(c.user, c.password)
	}
	transport, err := c.transport()
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("ask the server: %w: is it running? (--server)", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return answerError(resp.Status, data)
	}
	if into == nil || len(data) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("the answer of %s is not what was asked for: %w", path, err)
	}
	return nil
}

// answerError is what the server says is wrong.
func answerError(status string, body []byte) error {
	var answer struct {
		Message string `json:"error_msg"`
		Code    string `json:"error_code"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Message == "" {
		return fmt.Errorf("the server answers %s", status)
	}
	if answer.Code == "" || strings.HasPrefix(answer.Message, "["+answer.Code+"]") {
		return errors.New(answer.Message)
	}
	return fmt.Errorf("[%s]%s", answer.Code, answer.Message)
}

// url is --server, which may lack its scheme.
func (c *client) url() string {
	server := strings.TrimSuffix(c.server, "/")
	if strings.Contains(server, "://") {
		return server
	}
	if c.ca != "" {
		return "https://" + server
	}
	return "http://" + server
}

func (c *client) transport() (http.RoundTripper, error) {
	if c.ca == "" && c.cert == "" && c.key == "" {
		return http.DefaultTransport, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ca != "" {
		pem, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, fmt.Errorf("read --ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usageError{fmt.Errorf("--ca %s holds no certificate", c.ca)}
		}
	}
	if c.cert != "" || c.key != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("load --cert and --key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = cfg
	return t, nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
