package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// serverTLS returns nil for a server without TLS. The certificate is read again
// for each connection, so that a new one needs no restart.
func (s *securityConfig) serverTLS() (*tls.Config, error) {
	given := 0
	for _, file := range []string{s.CAPath, s.CertPath, s.KeyPath} {
		if file != "" {
			given++
		}
	}
	switch given {
	case 0:
		return nil, nil
	case 3:
	default:
		return nil, fmt.Errorf("give all of ca, cert and key, or none: ca is %q, cert %q, key %q", s.CAPath, s.CertPath, s.KeyPath)
	}
	pem, err := os.ReadFile(s.CAPath)
	if err != nil {
		return nil, fmt.Errorf("read ca: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca %s holds no certificate", s.CAPath)
	}
	if _, err := s.certificate(); err != nil {
		return nil, err
	}
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12, ClientCAs: authorities, RootCAs: authorities,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate() },
	}
	if s.MTLS || len(s.CertAllowedCN) > 0 {
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}

// clientTLS is for requests to other servers.
func (s *securityConfig) clientTLS(server *tls.Config) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: server.RootCAs,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.certificate() },
	}
}

// allowedNames returns whose certificates may use the API; nil for anybody's. Other
// servers of the cluster pass requests on with certificates of this one's name.
func (s *securityConfig) allowedNames() ([]string, error) {
	if len(s.CertAllowedCN) == 0 {
		return nil, nil
	}
	own, err := s.certificate()
	if err != nil {
		return nil, err
	}
	return append([]string{own.Leaf.Subject.CommonName}, s.CertAllowedCN...), nil
}

func (s *securityConfig) certificate() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(s.CertPath, s.KeyPath)
	if err != nil {
		return nil, fmt.Errorf("load cert %s and key %s: %w", s.CertPath, s.KeyPath, err)
	}
	return &pair, nil
}
