package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/tidbcdc/tidbcdc/sink"
)

// tls returns how to encrypt, nil for not at all.
func (s *settings) tls(o *sink.KafkaOptions) *tls.Config {
	enabled, set := s.boolean("enable-tls", o.EnableTLS)
	ca, cert, key := s.text("ca", o.CA), s.text("cert", o.Cert), s.text("key", o.Key)
	insecure, _ := s.boolean("insecure-skip-verify", o.InsecureSkipVerify)
	files := ca != "" || cert != "" || key != ""
	switch {
	case !set:
		enabled = files
	case !enabled && files:
		s.fail("enable-tls is false, but ca, cert or key is given")
	}
	if !enabled {
		if insecure {
			s.fail("insecure-skip-verify needs enable-tls=true")
		}
		return nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecure} //nolint:gosec // the operator asked for it
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			s.fail("read ca: %w", err)
			return nil
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			s.fail("ca: %s holds no certificate in PEM", ca)
		}
	}
	if (cert == "") != (key == "") {
		s.fail("cert and key belong together: give both or none")
	} else if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			s.fail("load cert and key: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out
}

// sasl returns how to log in, nil for not at all.
func (s *settings) sasl(o *sink.KafkaOptions) sasl.Mechanism {
	user, password := s.text("sasl-user", o.SASLUser), s.text("sasl-password", o.SASLPassword)
	name := strings.ToLower(s.text("sasl-mechanism", o.SASLMechanism))
	gssapi := o.SASLGSSAPIAuthType != "" || o.SASLGSSAPIUser != "" || o.SASLGSSAPIKeytabPath != ""
	for parameter := range s.query {
		gssapi = gssapi || strings.HasPrefix(parameter, "sasl-gssapi-")
	}
	if gssapi || name == "gssapi" {
		s.fail("sasl-mechanism gssapi (Kerberos) is not supported: use plain, scram-sha-256, scram-sha-512, oauthbearer or a client certificate")
		return nil
	}
	if name != "" && name != "oauthbearer" && (user == "" || password == "") {
		s.fail("sasl-mechanism %s needs sasl-user and sasl-password", name)
		return nil
	}
	switch name {
	case "":
		if user != "" || password != "" {
			s.fail("sasl-user is given, but not sasl-mechanism: plain, scram-sha-256 or scram-sha-512")
		}
		if o.SASLOAuthClientID == "" && o.SASLOAuthTokenURL == "" {
			return nil
		}
		return s.oauth(o)
	case "oauthbearer":
		return s.oauth(o)
	case "plain":
		return plain.Mechanism{Username: user, Password: password}
	case "scram-sha-256", "scram-sha-512":
		algorithm := scram.SHA256
		if name == "scram-sha-512" {
			algorithm = scram.SHA512
		}
		m, err := scram.Mechanism(algorithm, user, password)
		if err != nil {
			s.fail("sasl-user or sasl-password cannot be used with %s", name)
		}
		return m
	}
	s.fail("sasl-mechanism is %q, want plain, scram-sha-256, scram-sha-512 or oauthbearer", name)
	return nil
}

func (s *settings) oauth(o *sink.KafkaOptions) sasl.Mechanism {
	switch {
	case o.SASLOAuthClientID == "" || o.SASLOAuthClientSecret == "" || o.SASLOAuthTokenURL == "":
		s.fail("sasl-mechanism oauthbearer needs sasl-oauth-client-id, sasl-oauth-client-secret and sasl-oauth-token-url, in the file")
		return nil
	case o.SASLOAuthGrantType != "" && o.SASLOAuthGrantType != "client_credentials":
		s.fail("sasl-oauth-grant-type is %q, want client_credentials", o.SASLOAuthGrantType)
		return nil
	}
	secret, err := base64.StdEncoding.DecodeString(o.SASLOAuthClientSecret)
	if err != nil {
		s.fail("sasl-oauth-client-secret is not in base64")
		return nil
	}
	if u, err := url.Parse(o.SASLOAuthTokenURL); err != nil || u.Host == "" {
		s.fail("sasl-oauth-token-url is not a URL")
		return nil
	}
	cfg := &clientcredentials.Config{
		ClientID: o.SASLOAuthClientID, ClientSecret: string(secret), TokenURL: o.SASLOAuthTokenURL, Scopes: o.SASLOAuthScopes,
	}
	if o.SASLOAuthAudience != "" {
		cfg.EndpointParams = url.Values{"audience": {o.SASLOAuthAudience}}
	}
	return OAuthBearer(func(ctx context.Context) (string, error) {
		// Every connection gets a token of its own: they are rare, and it is then valid.
		token, err := cfg.Token(ctx)
		if err != nil {
			return "", redactOAuth(err)
		}
		return token.AccessToken, nil
	})
}

// redactOAuth keeps an endpoint's answer, which may quote what it was sent, out of errors.
func redactOAuth(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil {
		return fmt.Errorf("the token endpoint answered %s %s", refused.Response.Status, refused.ErrorCode)
	}
	return err
}

// OAuthBearer is the SASL mechanism OAUTHBEARER (RFC 7628) with tokens of any
// source, which is asked once for each connection.
func OAuthBearer(token func(ctx context.Context) (string, error)) sasl.Mechanism {
	return oauthBearer(token)
}

var errToken = errors.New("get a token")

type oauthBearer func(ctx context.Context) (string, error)

func (oauthBearer) Name() string { return "OAUTHBEARER" }

func (token oauthBearer) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	text, err := token(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errToken, err)
	}
	return oauthSession{}, []byte("n,,\x01auth=Bearer " + text + "\x01\x01"), nil
}

// oauthSession ends with the first answer: nothing, or why the token is refused.
type oauthSession struct{}

func (oauthSession) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if len(challenge) > 0 {
		return false, nil, fmt.Errorf("%w: the broker refuses the token", kafka.SASLAuthenticationFailed)
	}
	return true, nil, nil
}
