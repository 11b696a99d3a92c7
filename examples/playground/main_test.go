package playground_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pingcap/tidb/pkg/util/codec"
	pd "github.com/tikv/pd/client"

	"github.com/tidbcdc/tidbcdc/examples/playground"
	"github.com/tidbcdc/tidbcdc/examples/playground/kvnode"
)

// streamQuota is small, so that a few MiB make a stream congested.
const streamQuota = 4 << 20

// env is the cluster that all tests share, since a process can run only one.
var env struct {
	info playground.Info
	db   *sql.DB
	pd   pd.Client
}

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	p, err := playground.Start(ctx, playground.Config{Stores: 3, StreamQuota: streamQuota, KeepLeaders: true})
	if err != nil {
		return 1, fmt.Errorf("start playground: %w", err)
	}
	defer func() {
		start := time.Now()
		if cerr := p.Close(); cerr != nil {
			err = fmt.Errorf("close playground: %w", cerr)
		}
		if d := time.Since(start); d > 30*time.Second {
			err = fmt.Errorf("close playground: it took %v", d)
		}
	}()
	env.info = p.Info()
	if env.db, err = sql.Open("mysql", "root@tcp("+env.info.MySQL+")/test"); err != nil {
		return 1, err
	}
	defer env.db.Close()
	if env.pd, err = pd.NewClientWithContext(context.Background(), []string{env.info.PD}, pd.SecurityOption{}); err != nil {
		return 1, err
	}
	defer env.pd.Close()
	return m.Run(), nil
}

func exec(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := env.db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// createTable makes a table, waits for the region that TiDB gives it, and returns
// its id.
func createTable(t *testing.T, columns string) (name string, id int64) {
	t.Helper()
	name = strings.ToLower(strings.NewReplacer("/", "_", "=", "_").Replace(t.Name()))
	exec(t, "DROP TABLE IF EXISTS "+name)
	exec(t, fmt.Sprintf("CREATE TABLE %s (%s)", name, columns))
	row := env.db.QueryRowContext(t.Context(), "SELECT tidb_table_id FROM information_schema.tables WHERE table_schema = 'test' AND table_name = ?", name)
	if err := row.Scan(&id); err != nil {
		t.Fatalf("read id of table %s: %v", name, err)
	}
	start, _ := tableSpan(id)
	for range 500 {
		if r := regions(t, start, append(start, 0)); string(r[0].StartKey) == string(start) {
			return name, id
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("table %s has no region of its own", name)
	return "", 0
}

func now(t *testing.T) uint64 {
	t.Helper()
	physical, logical, err := env.pd.GetTS(t.Context())
	if err != nil {
		t.Fatalf("get timestamp: %v", err)
	}
	return uint64(physical)<<18 + uint64(logical)
}

// tableSpan is the raw key range of a table.
func tableSpan(id int64) (start, end []byte) {
	prefix := func(id int64) []byte { return codec.EncodeInt([]byte{'t'}, id) }
	return prefix(id), prefix(id + 1)
}

func rowKey(table, handle int64) []byte {
	return codec.EncodeInt(append(codec.EncodeInt([]byte{'t'}, table), "_r"...), handle)
}

// regionOf waits until PD and the stores agree on the region of a raw key.
func regionOf(t *testing.T, key []byte) *pd.Region {
	t.Helper()
	var last string
	for range 200 {
		here := regions(t, key, append(key, 0))
		r, err := env.pd.GetRegion(t.Context(), codec.EncodeBytes(nil, key))
		if err != nil {
			t.Fatalf("get region of %x: %v", key, err)
		}
		if r != nil && r.Leader != nil && len(here) == 1 && r.Meta.Id == here[0].ID &&
			r.Meta.RegionEpoch.Version == here[0].Version && r.Leader.StoreId == here[0].LeaderStore {
			return r
		}
		last = fmt.Sprintf("pd %v, stores %+v", r, here)
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("pd and the stores differ about the region of %x: %s", key, last)
	return nil
}

func regions(t *testing.T, start, end []byte) []kvnode.Region {
	t.Helper()
	var out []kvnode.Region
	request(t, http.MethodGet, fmt.Sprintf("/regions?start=%x&end=%x", start, end), nil, http.StatusOK, &out)
	return out
}

// post calls the control API and wants success.
func post(t *testing.T, path string, body, out any) {
	t.Helper()
	request(t, http.MethodPost, path, body, http.StatusOK, out)
}

// request calls the control API and wants the given status.
func request(t *testing.T, method, path string, body any, want int, out any) {
	t.Helper()
	code, answer := do(t, method, path, body)
	if code != want {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, code, want, answer)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			t.Fatalf("%s %s: decode %s: %v", method, path, answer, err)
		}
	}
}

func do(t *testing.T, method, path string, body any) (code int, answer json.RawMessage) {
	t.Helper()
	payload, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+env.info.Control+path, bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatalf("%s %s: decode answer: %v", method, path, err)
	}
	return resp.StatusCode, answer
}

// hexKey is how the control API takes a key.
func hexKey(key []byte) kvnode.HexBytes { return key }

func stats(t *testing.T) kvnode.Stats {
	t.Helper()
	var s kvnode.Stats
	request(t, http.MethodGet, "/stats", nil, http.StatusOK, &s)
	return s
}

func addrOf(t *testing.T, store uint64) string {
	t.Helper()
	for _, s := range env.info.Stores {
		if s.ID == store {
			return s.Addr
		}
	}
	t.Fatalf("no store %d", store)
	return ""
}
