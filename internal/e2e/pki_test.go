package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc"
)

// pki are the files of a certificate authority and of one certificate that it
// signed, for servers and clients on this machine.
type pki struct {
	ca, cert, key string
	dir           string
	root          *x509.Certificate
	rootKey       *ecdsa.PrivateKey
}

func (p pki) config() cdc.UpstreamConfig {
	return cdc.UpstreamConfig{CA: p.ca, Cert: p.cert, Key: p.key}
}

func newPKI(t *testing.T) pki {
	t.Helper()
	p := pki{dir: t.TempDir(), root: certificateFor(1, "test authority"), rootKey: newKey(t)}
	p.root.IsCA, p.root.BasicConstraintsValid, p.root.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, p.root, p.root, &p.rootKey.PublicKey, p.rootKey)
	p.ca = p.write(t, "ca.pem", "CERTIFICATE", der, err)
	p.cert, p.key = p.sign(t, 2, "test")
	return p
}

func certificateFor(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

// sign makes a certificate with a common name, and its key.
func (p pki) sign(t *testing.T, serial int64, name string) (cert, key string) {
	t.Helper()
	leaf, leafKey := certificateFor(serial, name), newKey(t)
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	leaf.IPAddresses, leaf.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"}
	der, err := x509.CreateCertificate(rand.Reader, leaf, p.root, &leafKey.PublicKey, p.rootKey)
	cert = p.write(t, name+".pem", "CERTIFICATE", der, err)
	der, err = x509.MarshalPKCS8PrivateKey(leafKey)
	return cert, p.write(t, name+"-key.pem", "PRIVATE KEY", der, err)
}

func (p pki) write(t *testing.T, name, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
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

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
