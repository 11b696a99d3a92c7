package mysql

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/tidbcdc/tidbcdc/sink"
)

const (
	defaultUser    = "root"
	defaultPort    = "4000"
	defaultTimeout = 2 * time.Minute
)

// target is what a URI and the options beside it say.
type target struct {
	config Config
	driver *mysqldriver.Config
	tls    tlsFiles
}

// parseTarget reads a URI. Parameters win over the options of the same meaning.
// Unknown ones are ignored, as TiCDC ignores them. Errors wrap sink.ErrInvalidURI,
// or sink.ErrInvalidParameter where TiCDC has an error of MySQL's own, and name
// parameters, never their values unless those are of a closed set.
func parseTarget(uri *url.URL, cfg sink.Config) (*target, error) {
	query, err := url.ParseQuery(uri.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%w: its parameters are malformed; write special characters as %%XX", sink.ErrInvalidURI)
	}
	p := &parameters{query: query, log: cfg.Logger}
	options := cfg.Options.MySQL
	if options == nil {
		options = &sink.MySQLOptions{}
	}
	t := &target{
		config: Config{
			Changefeed:            cfg.Changefeed,
			WorkerCount:           p.number("worker-count", options.WorkerCount),
			MaxTxnRow:             p.number("max-txn-row", options.MaxTxnRow),
			MaxMultiUpdateRow:     p.number("max-multi-update-row", options.MaxMultiUpdateRow),
			MaxMultiUpdateRowSize: p.number("max-multi-update-row-size", options.MaxMultiUpdateRowSize),
			TxnMode:               p.text("tidb-txn-mode", options.TiDBTxnMode),
			SafeMode:              p.flag("safe-mode", cfg.Options.SafeMode, false),
			Atomicity:             p.text("transaction-atomicity", cfg.Options.TransactionAtomicity),
			ExactlyOnce:           p.flag("exactly-once", nil, false),
			NoBatchDML:            !p.flag("batch-dml-enable", options.EnableBatchDML, true),
			NoMultiStatements:     !p.flag("multi-stmt-enable", options.EnableMultiStatement, true),
			NoPreparedStatements:  !p.flag("cache-prep-stmts", options.EnableCachePreparedStatement, true),
			HasVectorType:         p.flag("has-vector-type", nil, false),
			Logger:                cfg.Logger,
		},
		tls: tlsFiles{
			ca:   p.text("ssl-ca", options.SSLCa),
			cert: p.text("ssl-cert", options.SSLCert),
			key:  p.text("ssl-key", options.SSLKey),
		},
		driver: mysqldriver.NewConfig(),
	}
	if t.config.TxnMode != TxnPessimistic && t.config.TxnMode != "" && t.config.TxnMode != TxnOptimistic {
		// TiCDC warns and takes the default.
		cfg.Logger.Warn("unknown tidb-txn-mode, using optimistic", "tidb-txn-mode", t.config.TxnMode)
		t.config.TxnMode = TxnOptimistic
	}
	if p.has("protocol") || cfg.Options.Protocol != "" {
		return nil, fmt.Errorf("%w: protocol: a database has none, remove it", sink.ErrInvalidURI)
	}
	t.config.TimeZone = p.timeZone(cfg.TimeZone, options.TimeZone)
	t.setDriver(uri, p, options)
	if p.err != nil {
		return nil, p.err
	}
	t.config = t.config.withDefaults()
	if err := t.config.validate(); err != nil {
		return nil, err
	}
	return t, nil
}

// setDriver sets how to connect.
func (t *target) setDriver(uri *url.URL, p *parameters, options *sink.MySQLOptions) {
	d := t.driver
	d.User = defaultUser
	if name := uri.User.Username(); name != "" {
		d.User = name
	}
	d.Passwd, _ = uri.User.Password()
	d.Net, d.Addr = "tcp", p.address(uri.Host)
	d.MultiStatements = !t.config.NoMultiStatements
	d.MaxAllowedPacket = 0 // the driver asks the server
	d.Timeout = p.duration("timeout", options.Timeout)
	d.ReadTimeout = p.duration("read-timeout", options.ReadTimeout)
	d.WriteTimeout = p.duration("write-timeout", options.WriteTimeout)
	// The driver's own lines about lost connections have no changefeed; the
	// errors that follow have.
	d.Logger = &mysqldriver.NopLogger{}
}

// parameters reads a query and keeps the first error.
type parameters struct {
	query url.Values
	log   *slog.Logger
	err   error
}

func (p *parameters) has(name string) bool { return p.query.Has(name) }

func (p *parameters) fail(name, problem string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s: %s", sink.ErrInvalidParameter, name, problem)
	}
}

// text returns a parameter, or the option's value without one.
func (p *parameters) text(name, option string) string {
	if value := p.query.Get(name); value != "" {
		return value
	}
	return option
}

// number returns a limit, 0 if it is not set.
func (p *parameters) number(name string, option int) int {
	text := p.query.Get(name)
	if text == "" {
		if option < 0 {
			p.fail(name, "want at least 1")
		}
		return option
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		p.fail(name, "want a whole number, at least 1")
	}
	return n
}

func (p *parameters) flag(name string, option *bool, byDefault bool) bool {
	text := p.query.Get(name)
	switch {
	case text == "" && option != nil:
		return *option
	case text == "":
		return byDefault
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		p.fail(name, "want true or false")
	}
	return value
}

func (p *parameters) duration(name, option string) time.Duration {
	text := p.text(name, option)
	if text == "" {
		return defaultTimeout
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		p.fail(name, "want a duration such as 30s, above 0")
	}
	return d
}

// timeZone returns the zone of DDL: the parameter's; the changefeed's if there is
// no parameter; none, which leaves the server's, if it is there and empty.
func (p *parameters) timeZone(changefeed *time.Location, option string) *time.Location {
	const name = "time-zone"
	if p.has(name) && p.query.Get(name) == "" {
		return nil
	}
	text := p.text(name, option)
	if text == "" {
		return changefeed
	}
	// CST is four zones, and servers disagree which.
	loc, err := time.LoadLocation(text)
	if err != nil || strings.EqualFold(text, "CST") {
		p.fail(name, "want a name such as Asia/Shanghai or UTC")
		return nil
	}
	return loc
}

// address adds the default port to a host.
func (p *parameters) address(host string) string {
	switch {
	case host == "":
		p.fail("host", "it is missing")
	case strings.Contains(host, ","):
		p.fail("host", "want one; several need a proxy or load balancer in front of them")
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return strings.TrimSuffix(host, ":") + map[bool]string{true: defaultPort}[strings.HasSuffix(host, ":")]
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), defaultPort)
}
