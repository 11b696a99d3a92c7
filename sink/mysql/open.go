package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/tidbcdc/tidbcdc/sink"
)

// Open is the [sink.Opener] of the schemes mysql, mysql+ssl, tidb and tidb+ssl,
// which mean the same. See the package for the parameters.
func Open(ctx context.Context, uri *url.URL, cfg sink.Config) (sink.Sink, io.Closer, error) {
	t, err := parseTarget(uri, cfg)
	if err != nil {
		return nil, nil, err
	}
	if err := t.tls.apply(t.driver); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", sink.ErrInvalidParameter, err)
	}
	o, err := t.open(ctx)
	if err != nil && errorNumber(err) == errAccessDenied {
		if password, ok := decodedPassword(t.driver.Passwd); ok {
			t.driver.Passwd = password
			if decoded, again := t.open(ctx); again == nil {
				return decoded, decoded, nil
			}
		}
	}
	if err != nil {
		err = fmt.Errorf("connect to %s as %s: %w", t.driver.Addr, t.driver.User, withoutValues(err))
		if isRefused(err) {
			err = sink.Permanent(err)
		}
		return nil, nil, err
	}
	return o, o, nil
}

// errAccessDenied is the server's error for a wrong user or password.
const errAccessDenied = 1045

// decodedPassword returns what a password holds in base64, as TiCDC accepts it.
func decodedPassword(password string) (string, bool) {
	decoded, err := base64.StdEncoding.DecodeString(password)
	return string(decoded), err == nil && len(decoded) > 0
}

// opened is a Sink with the pools of connections that were opened for it.
type opened struct {
	*Sink
	db, ddlDB *sql.DB
}

// Close closes the sink and its connections.
func (o *opened) Close() error {
	return errors.Join(o.Sink.Close(), o.db.Close(), o.ddlDB.Close())
}

func (t *target) open(ctx context.Context) (*opened, error) {
	connector, err := mysqldriver.NewConnector(t.driver)
	if err != nil {
		return nil, fmt.Errorf("set up connections: %w", err)
	}
	db := sql.OpenDB(connector)
	ddlDB, err := openDDL(t.driver)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s, err := New(ctx, db, t.config)
	if err != nil {
		return nil, errors.Join(err, db.Close(), ddlDB.Close())
	}
	s.ddlDB = ddlDB
	return &opened{s, db, ddlDB}, nil
}

// tlsFiles are paths of PEM files on this machine.
type tlsFiles struct{ ca, cert, key string }

// apply makes connections use TLS if a certificate authority is given. The scheme
// alone, mysql+ssl, does not, as in TiCDC.
func (f tlsFiles) apply(d *mysqldriver.Config) error {
	if f.ca == "" && f.cert == "" && f.key == "" {
		return nil
	}
	if (f.cert == "") != (f.key == "") {
		return errors.New("ssl-cert and ssl-key: want both or none")
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return fmt.Errorf("ssl-ca: cannot be read: %w", withoutPath(err))
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return errors.New("ssl-ca: the file holds no certificate in PEM")
		}
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return fmt.Errorf("ssl-cert and ssl-key: %w", withoutPath(err))
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	d.TLS = cfg
	return nil
}

// withoutPath takes the path out of an error of the file system: whoever may
// create a changefeed need not learn what files there are.
func withoutPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
