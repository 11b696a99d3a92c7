package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/internal/testpki"
)

// pki are the files of a certificate authority and of one certificate that it
// signed, for servers and clients on this machine.
type pki struct {
	ca, cert, key string
	authority     *testpki.Authority
}

func (p pki) config() cdc.UpstreamConfig {
	return cdc.UpstreamConfig{CA: p.ca, Cert: p.cert, Key: p.key}
}

func newPKI(t *testing.T) pki {
	t.Helper()
	authority, err := testpki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := pki{ca: authority.CA, authority: authority}
	p.cert, p.key = p.sign(t, "test")
	return p
}

// sign makes a certificate with a common name, and its key.
func (p pki) sign(t *testing.T, name string) (cert, key string) {
	t.Helper()
	cert, key, err := p.authority.Sign(name)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// client returns an HTTP client with a certificate, or without one if cert is empty.
func (p pki) client(t *testing.T, cert, key string) *http.Client {
	t.Helper()
	authority, err := os.ReadFile(p.ca)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	cfg.RootCAs.AppendCertsFromPEM(authority)
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: cfg}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
