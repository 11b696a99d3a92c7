package kafka_test

import (
	"os"
	"path/filepath"

	"github.com/tidbcdc/tidbcdc/internal/kafkabroker"
	"github.com/tidbcdc/tidbcdc/internal/testpki"
)

const (
	saslUser     = "writer"
	saslPassword = "s3cret-of-the-writer"
)

// pki are the files of a certificate authority and what it has issued.
var pki struct{ ca, cert, key string }

// makePKI makes a certificate for clients and one for the broker.
func makePKI(dir string, o *kafkabroker.Options) error {
	authority, err := testpki.New(dir)
	if err != nil {
		return err
	}
	pki.ca, o.CA = authority.CA, authority.CA
	if pki.cert, pki.key, err = authority.Sign("client"); err != nil {
		return err
	}
	cert, key, err := authority.Sign("broker")
	if err != nil {
		return err
	}
	var both []byte // as the broker wants them
	for _, file := range []string{key, cert} {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		both = append(both, content...)
	}
	o.Certificate = filepath.Join(dir, "broker-both.pem")
	return os.WriteFile(o.Certificate, both, 0o600)
}
