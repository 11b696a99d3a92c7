package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/child"
	"github.com/tidbcdc/tidbcdc/internal/playground"
)

// daemon is a cdc server in a process of its own.
type daemon struct {
	*child.Process
	t       testing.TB
	program string
	addr    string
	args    []string
	log     syncBuffer
	// secure, unless nil, is how the daemon is reached by https.
	secure *http.Client
}

func (d *daemon) url() string {
	if d.secure != nil {
		return "https://" + d.addr
	}
	return "http://" + d.addr
}

func (d *daemon) client() *http.Client {
	if d.secure != nil {
		return d.secure
	}
	return http.DefaultClient
}

// newDaemon returns a daemon of a cluster of daemons, or one alone if that has no
// name. It has an address, and is started by start.
func newDaemon(t testing.TB, program, clusterID string) *daemon {
	t.Helper()
	d := &daemon{t: t, program: program}
	if err := child.FreeAddrs(&d.addr); err != nil {
		t.Fatal(err)
	}
	d.args = []string{"server", "--pd", cluster.PD, "--addr", d.addr, "--data-dir", filepath.Join(t.TempDir(), "data")}
	if clusterID == "" {
		d.args = append(d.args, "--standalone")
	} else {
		d.args = append(d.args, "--cluster-id", clusterID, "--capture-session-ttl", "3")
	}
	t.Cleanup(func() {
		d.end(d.Kill)
		if t.Failed() {
			t.Logf("log of the daemon at %s:\n%s", d.addr, d.log.String())
		}
	})
	return d
}

// start runs the daemon and waits until it is ready.
func (d *daemon) start() {
	d.t.Helper()
	cmd := exec.Command(d.program, d.args...)
	cmd.Stderr = &d.log
	var err error
	if d.Process, err = child.Start(d.t.Context(), cmd, child.Says(d.addr)); err != nil {
		d.t.Fatalf("%v\n%s", err, d.log.String())
	}
	waitFor(d.t, "the daemon at "+d.addr+" to be ready", func() bool {
		resp, err := d.client().Get(d.url() + "/readyz") //nolint:noctx // it is on this machine
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// end is for how the daemon ends: d.Kill or d.Stop.
func (d *daemon) end(how func() error) {
	d.t.Helper()
	if err := how(); err != nil {
		d.t.Error(err)
	}
}

// call asks the API. What it answers is decoded into into, unless that is nil.
func (d *daemon) call(ctx context.Context, method, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, d.url()+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	resp, err := d.client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer json.RawMessage
	err = json.NewDecoder(resp.Body).Decode(&answer)
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s %s", method, path, resp.Status, answer)
	}
	if into == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return json.Unmarshal(answer, into)
}

// changefeed is the API's description of one.
func (d *daemon) changefeed(ctx context.Context, id string) (state string, checkpoint event.Ts, err error) {
	var info struct {
		State      string   `json:"state"`
		Checkpoint event.Ts `json:"checkpoint_tso"`
	}
	err = d.call(ctx, http.MethodGet, "/api/v1/changefeeds/"+id, nil, &info)
	return info.State, info.Checkpoint, err
}

// captures returns the captures that the API knows, by address, and the owner's.
func (d *daemon) captures(ctx context.Context) (ids map[string]string, owner string, err error) {
	var list []struct {
		ID      string `json:"id"`
		IsOwner bool   `json:"is_owner"`
		Address string `json:"address"`
	}
	if err := d.call(ctx, http.MethodGet, "/api/v1/captures", nil, &list); err != nil {
		return nil, "", err
	}
	ids = map[string]string{}
	for _, c := range list {
		ids[c.Address] = c.ID
		if c.IsOwner {
			owner = c.Address
		}
	}
	return ids, owner, nil
}

// TestDocumentedCurlLines runs every line of the API's documentation with curl
// against a daemon over a real cluster.
func TestDocumentedCurlLines(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("TIDBCDC_REQUIRE_SERVERS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	ctx := testContext(t, 3*time.Minute)
	d := newDaemon(t, build(t, "./cmd/cdc"), "")
	d.start()
	lines, err := os.ReadFile("../../apiserver/testdata/curl.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		line = strings.TrimSpace(line)
		// The documentation's changefeed is there, and rests if it is to be changed.
		_ = d.call(ctx, http.MethodDelete, "/api/v1/changefeeds/test1", nil, nil) // it may not be there
		if err := d.call(ctx, http.MethodPost, "/api/v1/changefeeds", map[string]any{
			"changefeed_id": "test1", "sink_uri": "blackhole://", "ignore_ineligible_table": true,
		}, nil); err != nil {
			t.Fatal(err)
		}
		want := "202"
		switch {
		case strings.Contains(line, "-X GET"):
			want = "200"
		case strings.Contains(line, "-X PUT"):
			if err := d.call(ctx, http.MethodPost, "/api/v1/changefeeds/test1/pause", nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		line = strings.ReplaceAll(line, "127.0.0.1:8300", d.addr)
		out, err := exec.CommandContext(ctx, "bash", "-c", line+` -s -w '\n%{http_code}'`).CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), "\n"+want) {
			t.Errorf("%s\nanswers, want %s (%v):\n%s", line, want, err, out)
		}
	}
	d.end(d.Stop)
}

// TestUsersOfTiDB: with client-user-required the API lets in who can log in to the
// upstream's TiDB.
func TestUsersOfTiDB(t *testing.T) {
	ctx := testContext(t, 3*time.Minute)
	db := database(t, "daemon_users")
	mustExec(t, db, "DROP USER IF EXISTS operator", "CREATE USER operator IDENTIFIED BY 'right'", "DROP USER IF EXISTS stranger", "CREATE USER stranger IDENTIFIED BY 'right'")
	file := filepath.Join(t.TempDir(), "server.toml")
	if err := os.WriteFile(file, []byte("[security]\nclient-user-required = true\nclient-allowed-user = ['operator']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t, build(t, "./cmd/cdc"), "")
	d.args = append(d.args, "--config", file)
	d.start()
	for _, c := range []struct {
		user, password string
		want           int
	}{{"operator", "right", 202}, {"operator", "right", 202}, {"operator", "wrong", 401}, {"stranger", "right", 401}, {"", "", 401}} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+d.addr+"/api/v1/owner/resign", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.user != "" {
			req.SetBasicAuth(c.user, c.password)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%q with password %q: %s, want %d", c.user, c.password, resp.Status, c.want)
		}
	}
	for _, path := range []string{"/status", "/metrics", "/api/v1/changefeeds"} { // as TiCDC's tools and Prometheus ask
		if err := d.call(ctx, http.MethodGet, path, nil, nil); err != nil {
			t.Errorf("%s without a user: %v", path, err)
		}
	}
	if strings.Contains(d.log.String(), "right") || strings.Contains(d.log.String(), "wrong") {
		t.Error("a password is in the log")
	}
	d.end(d.Stop)
}

// TestDaemonsWithTLS: daemons that want certificates reach PD, TiKV and each other, and
// answer those clients whose names they were given.
func TestDaemonsWithTLS(t *testing.T) {
	ctx := testContext(t, 3*time.Minute)
	pki := newPKI(t)
	upstream, err := playground.Start(ctx, playground.Options{
		Binary: playgroundBinary(), Stderr: t.Output(),
		Args: []string{"--ca=" + pki.ca, "--cert=" + pki.cert, "--key=" + pki.key},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := upstream.Close(); err != nil {
			t.Error(err)
		}
	})
	certified := func(name string) *http.Client {
		cert, key := pki.sign(t, name)
		return pki.client(t, cert, key)
	}
	operator := certified("operator")
	program := build(t, "./cmd/cdc")
	var daemons []*daemon
	for range 2 {
		d := newDaemon(t, program, "secure")
		d.secure = operator
		d.args = append(d.args, "--pd=https://"+upstream.PD, "--ca="+pki.ca, "--cert="+pki.cert, "--key="+pki.key, "--cert-allowed-cn=operator")
		d.start()
		daemons = append(daemons, d)
	}
	body := map[string]any{"changefeed_id": "a", "sink_uri": "blackhole://"}
	if err := daemons[1].call(ctx, http.MethodPost, "/api/v1/changefeeds", body, nil); err != nil {
		t.Error(err)
	}
	for _, d := range daemons { // one of them asks the other
		if _, _, err := d.changefeed(ctx, "a"); err != nil {
			t.Error(err)
		}
		d.secure = certified("stranger")
		if _, _, err := d.changefeed(ctx, "a"); err == nil || !strings.Contains(err.Error(), "CDC:ErrUnauthorized") {
			t.Errorf("a stranger is answered: %v", err)
		}
		d.secure = pki.client(t, "", "")
		if _, _, err := d.changefeed(ctx, "a"); err == nil {
			t.Error("a client without a certificate is answered")
		}
	}
	for _, d := range daemons {
		d.end(d.Stop)
	}
}
