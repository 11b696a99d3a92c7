package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	pd "github.com/tikv/pd/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/tidbcdc/tidbcdc/examples/playground"
)

// runMain makes the test binary behave as the command.
const runMain = "PLAYGROUND_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// child is a running command.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
	stderr bytes.Buffer
	info   playground.Info
}

func start(t *testing.T, args ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(self, args...)}
	c.cmd.Env = append(os.Environ(), runMain+"=1")
	c.cmd.Stderr = &c.stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdout = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	return c
}

// ready reads the line of JSON.
func (c *child) ready(t *testing.T) {
	t.Helper()
	line, err := c.stdout.ReadBytes('\n')
	if err != nil {
		_ = c.cmd.Wait()
		t.Fatalf("read addresses: %v; stderr: %s", err, &c.stderr)
	}
	if err := json.Unmarshal(line, &c.info); err != nil {
		t.Fatalf("decode %q: %v", line, err)
	}
}

// ends waits for the end and wants status 0 and nothing more on stdout.
func (c *child) ends(t *testing.T) {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		rest, _ := io.ReadAll(c.stdout)
		err := c.cmd.Wait()
		if len(rest) > 0 {
			err = errors.Join(err, fmt.Errorf("more on stdout: %q", rest))
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("command ended with %v; stderr: %s", err, &c.stderr)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("command does not end")
	}
	for _, addr := range []string{c.info.PD, c.info.MySQL, c.info.Status, c.info.Control, c.info.Stores[0].Addr} {
		if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			conn.Close()
			t.Errorf("%s still listens", addr)
		}
	}
}

func ping(t *testing.T, addr string) {
	t.Helper()
	db, err := sql.Open("mysql", "root@tcp("+addr+")/test")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t (id INT PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
}

func TestEndOfStdin(t *testing.T) {
	c := start(t, "--stores=2", "--event-feed-v1-only")
	c.ready(t)
	if len(c.info.Stores) != 2 || c.info.Version != playground.Version || c.info.ClusterID == 0 {
		t.Errorf("addresses are incomplete: %+v", c.info)
	}
	ping(t, c.info.MySQL)

	conn, err := grpc.NewClient(c.info.Stores[0].Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	feed, err := cdcpb.NewChangeDataClient(conn).EventFeedV2(t.Context())
	if err == nil {
		_, err = feed.Recv()
	}
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("EventFeedV2 answered %v, want UNIMPLEMENTED", err)
	}

	c.stdin.Close()
	c.ends(t)
	if _, err := os.Stat(c.info.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("temporary directory %s is left: %v", c.info.Dir, err)
	}
}

func TestSignal(t *testing.T) {
	dir := t.TempDir()
	c := start(t, "--parent-stdin=false", "--dir", dir)
	c.stdin.Close() // means nothing now
	c.ready(t)
	ping(t, c.info.MySQL)
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.ends(t)
	for _, name := range []string{"pd.log", "tidb.log"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("log is missing: %v", err)
		}
	}
}

func TestBadFlags(t *testing.T) {
	for _, args := range [][]string{{"--stores=0"}, {"--nonsense"}, {"argument"}, {"--ca=x"}, {"--ca=x", "--cert=x", "--key=x"}} {
		c := start(t, args...)
		var exit *exec.ExitError
		if err := c.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 || c.stderr.Len() == 0 {
			t.Errorf("%v: ended with %v and stderr %q, want status 1 and a message", args, err, &c.stderr)
		}
	}
}

func TestTLS(t *testing.T) {
	files := writeCertificates(t)
	c := start(t, "--ca", files.ca, "--cert", files.cert, "--key", files.key)
	c.ready(t)
	ping(t, c.info.MySQL)

	security := pd.SecurityOption{CAPath: files.ca, CertPath: files.cert, KeyPath: files.key}
	cli, err := pd.NewClientWithContext(t.Context(), []string{"https://" + c.info.PD}, security)
	if err != nil {
		t.Fatalf("dial pd: %v", err)
	}
	defer cli.Close()
	if got := cli.GetClusterID(t.Context()); got != c.info.ClusterID {
		t.Errorf("cluster id is %d, want %d", got, c.info.ClusterID)
	}
	for _, tc := range []struct {
		name string
		tls  *tls.Config
		want codes.Code
	}{
		{"with a certificate", files.client, codes.OK},
		{"without a certificate", &tls.Config{RootCAs: files.client.RootCAs}, codes.Unavailable},
		{"in plain text", nil, codes.Unavailable},
	} {
		creds := insecure.NewCredentials()
		if tc.tls != nil {
			creds = credentials.NewTLS(tc.tls)
		}
		if got := feedCode(t, c.info.Stores[0].Addr, creds); got != tc.want {
			t.Errorf("event feed %s ended with %v, want %v", tc.name, got, tc.want)
		}
	}
	if resp, err := http.Get("http://" + c.info.PD + "/pd/api/v1/version"); err == nil {
		resp.Body.Close()
		t.Error("pd answers in plain text")
	}
	c.stdin.Close()
	c.ends(t)
}

// feedCode opens an event feed, closes it, and returns the status it ends with.
func feedCode(t *testing.T, addr string, creds credentials.TransportCredentials) codes.Code {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	feed, err := cdcpb.NewChangeDataClient(conn).EventFeedV2(ctx)
	if err == nil {
		if err = feed.CloseSend(); err == nil {
			_, err = feed.Recv()
		}
	}
	if errors.Is(err, io.EOF) {
		return codes.OK
	}
	return status.Code(err)
}

type certificates struct {
	ca, cert, key string
	client        *tls.Config
}

// writeCertificates makes an authority and one certificate for all.
func writeCertificates(t *testing.T) certificates {
	t.Helper()
	dir := t.TempDir()
	save := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "playground"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	must(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(err)
	c := certificates{
		ca:   save("ca.pem", "CERTIFICATE", caDER),
		cert: save("cert.pem", "CERTIFICATE", leafDER),
		key:  save("key.pem", "EC PRIVATE KEY", keyDER),
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	must(err)
	authority, err := x509.ParseCertificate(caDER)
	must(err)
	c.client = &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: x509.NewCertPool()}
	c.client.RootCAs.AddCert(authority)
	return c
}

func TestHelp(t *testing.T) {
	c := start(t, "--help")
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("--help ended with %v", err)
	}
	for _, flag := range []string{"-stores", "-parent-stdin", "-event-feed-v1-only"} {
		if !strings.Contains(c.stderr.String(), flag) {
			t.Errorf("help does not explain %s", flag)
		}
	}
}
