package mysql_test

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	driver "github.com/go-sql-driver/mysql"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/mariadb"
	"github.com/tidbcdc/tidbcdc/internal/testpki"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
)

// TestParameters: what a URI may say, found wrong before anything is connected to.
func TestParameters(t *testing.T) {
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(notPEM, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	invalid := map[string]string{
		"mysql://":                                          "host",
		"mysql://a:3306,b:3306/":                            "host",
		"mysql://h/?worker-count=0":                         "worker-count",
		"mysql://h/?worker-count=-1":                        "worker-count",
		"mysql://h/?worker-count=many":                      "worker-count",
		"mysql://h/?max-txn-row=0":                          "max-txn-row",
		"mysql://h/?max-multi-update-row=0":                 "max-multi-update-row",
		"mysql://h/?max-multi-update-row-size=-7":           "max-multi-update-row-size",
		"tidb://h/?safe-mode=perhaps":                       "safe-mode",
		"tidb://h/?batch-dml-enable=perhaps":                "batch-dml-enable",
		"tidb://h/?multi-stmt-enable=perhaps":               "multi-stmt-enable",
		"tidb://h/?cache-prep-stmts=perhaps":                "cache-prep-stmts",
		"tidb://h/?has-vector-type=perhaps":                 "has-vector-type",
		"tidb://h/?exactly-once=perhaps":                    "exactly-once",
		"mysql+ssl://h/?timeout=5":                          "timeout",
		"mysql+ssl://h/?read-timeout=-5s":                   "read-timeout",
		"mysql+ssl://h/?write-timeout=x":                    "write-timeout",
		"tidb+ssl://h/?time-zone=CST":                       "time-zone",
		"tidb+ssl://h/?time-zone=Nowhere/Land":              "time-zone",
		"tidb+ssl://h/?transaction-atomicity=global":        "transaction-atomicity",
		"mysql://h/?protocol=canal-json":                    "protocol",
		"mysql://h/?ssl-ca=" + notPEM:                       "ssl-ca",
		"mysql://h/?ssl-ca=/absent":                         "ssl-ca",
		"mysql://h/?ssl-cert=/absent":                       "ssl-key",
		"mysql://h/?ssl-cert=/absent&ssl-key=/absent":       "ssl-cert",
		"mysql://u:canary%20secret@h/?read-timeout=another": "read-timeout",
	}
	for uri, parameter := range invalid {
		_, _, err := openers().Open(t.Context(), uri, sink.Config{Changefeed: "test"})
		switch {
		case err == nil:
			t.Errorf("%s was accepted", uri)
		case !errors.Is(err, sink.ErrInvalidURI) || !sink.IsPermanent(err):
			t.Errorf("%s: %v: not an invalid URI, or not permanent", uri, err)
		case !strings.Contains(err.Error(), parameter):
			t.Errorf("%s: %v: does not name %s", uri, err, parameter)
		case errors.Is(err, sink.ErrInvalidParameter) == (parameter == "protocol" || parameter == "transaction-atomicity"):
			t.Errorf("%s: %v: about a parameter of this sink, or not", uri, err)
		case strings.Contains(err.Error(), "canary"):
			t.Errorf("%s: the error shows the password: %v", uri, err)
		}
	}
	if _, _, err := openers().Open(t.Context(), "mysql://h/?exactly-once=true", sink.Config{}); !errors.Is(err, sink.ErrInvalidURI) {
		t.Errorf("exactly-once without a changefeed: %v", err)
	}
}

// TestClamp: limits that are too high are lowered, with a warning.
func TestClamp(t *testing.T) {
	s := onAny(t)
	var log bytes.Buffer
	cfg := sink.Config{Changefeed: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))}
	_, closer, err := openers().Open(t.Context(), s.uri("worker-count=5000&max-txn-row=5000&max-multi-update-row=5000&max-multi-update-row-size=50000&unknown=1&tidb-txn-mode=odd"), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		"limit=worker-count value=5000 max=1024", "limit=max-txn-row value=5000 max=2048",
		"limit=max-multi-update-row value=5000 max=256", "limit=max-multi-update-row-size value=50000 max=8192", "tidb-txn-mode=odd",
	} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("want one warning %q in\n%s", want, log.String())
		}
	}
}

// TestConnect: who may connect, and what is said of it.
func TestConnect(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		admin := s.connect(t, "", nil)
		mustExec(t, admin, "DROP USER IF EXISTS alice", "CREATE USER alice IDENTIFIED BY 'p@ss word:/?'", "GRANT ALL ON *.* TO alice")
		for _, uri := range []string{
			"mysql://alice:p%40ss%20word%3A%2F%3F@" + s.addr,
			"tidb://alice:p%40ss%20word%3A%2F%3F@" + s.addr + "/ignored?time-zone=",
			"mysql+ssl://alice:cEBzcyB3b3JkOi8%2F@" + s.addr + "/?time-zone=Asia/Shanghai", // base64; +ssl alone is no TLS
		} {
			openURI(t, uri)
		}
		_, port, err := net.SplitHostPort(s.addr)
		if err != nil {
			t.Fatal(err)
		}
		for uri, want := range map[string]string{
			"mysql://alice:canary%20secret@" + s.addr:                  "Access denied",
			"mysql://alice:Y2FuYXJ5IHNlY3JldA%3D%3D@" + s.addr:         "Access denied",
			"mysql://absent:canary@" + s.addr:                          "Access denied",
			"mysql://alice:canary@no-such-host.invalid:" + port:        "no-such-host.invalid",
			"mysql://alice:canary@127.0.0.1:1/?timeout=2s":             "127.0.0.1:1",
			"mysql://alice:canary@" + s.addr + "/?ssl-ca=" + caFile(t): "TLS",
		} {
			_, _, err := openers().Open(t.Context(), uri, sink.Config{Logger: logger(t)})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want an error about %s", uri, err, want)
				continue
			}
			for _, secret := range []string{"canary", "Y2FuYXJ5"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows the password: %v", err)
				}
			}
			if denied := want == "Access denied"; sink.IsPermanent(err) != denied {
				t.Errorf("%v: permanent is %t", err, !denied)
			}
		}
	})
}

// caFile returns a file with a certificate in PEM.
func caFile(t *testing.T) string {
	t.Helper()
	authority, err := testpki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return authority.CA
}

// TestTLS: a server that admits only who comes with a certificate of its authority.
func TestTLS(t *testing.T) {
	authority, err := testpki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	serverCert, serverKey, err := authority.Sign("server")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := authority.Sign("client")
	if err != nil {
		t.Fatal(err)
	}
	m := ownMariaDB(t, "--ssl-ca="+authority.CA, "--ssl-cert="+serverCert, "--ssl-key="+serverKey)
	s := &server{"MariaDB", m.Addr, mariadb.User}
	db := s.database(t, "secure")
	shape := shapes[0]
	mustExec(t, db, shape.create(), "CREATE USER alice IDENTIFIED BY 'secret' REQUIRE X509", "GRANT ALL ON *.* TO alice")

	uri := "mysql+ssl://alice:secret@" + s.addr + "/"
	certified := "?ssl-cert=" + url.QueryEscape(cert) + "&ssl-key=" + url.QueryEscape(key)
	out := openURI(t, uri+certified+"&ssl-ca="+url.QueryEscape(authority.CA))
	u := newUpstream(shape, "secure", rand.New(rand.NewPCG(seed(t), 6)))
	for range 20 {
		u.commit()
		if err := out.WriteRows(t.Context(), u.history[len(u.history)-1]); err != nil {
			t.Fatal(err)
		}
	}
	u.verify(t, db, len(u.history))

	for params, want := range map[string]string{
		"": "Access denied",
		"?ssl-ca=" + url.QueryEscape(authority.CA):          "Access denied",
		certified + "&ssl-ca=" + url.QueryEscape(caFile(t)): "certificate signed by unknown authority",
	} {
		if _, _, err := openers().Open(t.Context(), uri+params, sink.Config{Logger: logger(t)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error about %q", params, err, want)
		}
	}
}

// TestNew: an embedder's own connections, which need not allow several statements
// in a packet.
func TestNew(t *testing.T) {
	s := onAny(t)
	shape := shapes[0]
	db := s.database(t, "embedded")
	mustExec(t, db, shape.create())
	for _, multi := range []bool{true, false} {
		out, err := mysql.New(t.Context(), s.connect(t, "", func(c *driver.Config) { c.MultiStatements = multi }), mysql.Config{})
		if err != nil {
			t.Fatal(err)
		}
		table := shape.table("embedded")
		row := func(id int64, name string) []event.Value {
			return []event.Value{event.Int64Value(id), event.TextValue(name), {}}
		}
		rows := []*event.RowChanged{
			{CommitTs: 3, Table: table, PhysicalTableID: 77, Key: []byte("1"), PreColumns: row(1, "old")},
			{CommitTs: 3, Table: table, PhysicalTableID: 77, Key: []byte("2"), Columns: row(2, "old")},
		}
		if err := out.WriteRows(t.Context(), rows); err != nil {
			t.Error(err)
		}
		if got := rowsOf(t, db, "SELECT id, u FROM t"); len(got) != 1 || got[0] != "2 old" {
			t.Errorf("the downstream has %q", got)
		}
		if err := out.Close(); err != nil {
			t.Error(err)
		}
		if err := out.WriteRows(t.Context(), rows); err == nil {
			t.Error("a closed sink has written")
		}
		if err := out.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	}
	if _, err := mysql.New(t.Context(), s.connect(t, "", nil), mysql.Config{WorkerCount: -1}); !sink.IsPermanent(err) {
		t.Errorf("WorkerCount -1: %v", err)
	}
}
