package playground_test

import (
	"math"
	"net/http"
	"testing"
)

func TestTiDB(t *testing.T) {
	var version string
	if err := env.db.QueryRowContext(t.Context(), "SELECT version()").Scan(&version); err != nil {
		t.Fatal(err)
	}
	if want := "8.0.11-TiDB-v8.2.0"; version != want {
		t.Errorf("version() is %q, want %q", version, want)
	}
	name, _ := createTable(t, "id BIGINT PRIMARY KEY, v INT")
	exec(t, "INSERT INTO "+name+" VALUES (1, 1), (2, 2)")
	exec(t, "ALTER TABLE "+name+" ADD INDEX iv (v)")
	exec(t, "ALTER TABLE "+name+" ADD COLUMN w INT DEFAULT 3")
	exec(t, "ADMIN CHECK TABLE "+name)
	exec(t, "TRUNCATE TABLE "+name)
}

func TestControlErrors(t *testing.T) {
	for _, tc := range []struct {
		path string
		body any
		code int
	}{
		{"/nothing", nil, http.StatusNotFound},
		{"/stores/999999/stop", nil, http.StatusNotFound},
		{"/streams/break", map[string]any{"store": 999999, "count": 1}, http.StatusNotFound},
		{"/regions/split", map[string]any{"key": "xyz"}, http.StatusBadRequest},
		{"/regions/split", map[string]any{"kee": "00"}, http.StatusBadRequest},
		{"/regions/split", nil, http.StatusBadRequest},
		{"/regions/merge", map[string]any{"source": 999999, "target": 999998}, http.StatusNotFound},
		{"/regions/transfer", map[string]any{"region": 999999, "store": 1}, http.StatusNotFound},
	} {
		var out struct{ Error string }
		request(t, http.MethodPost, tc.path, tc.body, tc.code, &out)
		if out.Error == "" {
			t.Errorf("%s %v: no error in the answer", tc.path, tc.body)
		}
	}
}

func TestGCSafePoint(t *testing.T) {
	ctx := t.Context()
	held := now(t)
	if _, err := env.pd.UpdateServiceGCSafePoint(ctx, "holder", 60, held); err != nil {
		t.Fatal(err)
	}
	var out struct {
		SafePoint uint64 `json:"safe_point"`
	}
	post(t, "/gc/safepoint", map[string]any{"ts": now(t)}, &out)
	if out.SafePoint != held {
		t.Errorf("safe point moved to %d past the service that holds %d", out.SafePoint, held)
	}
	if _, err := env.pd.UpdateServiceGCSafePoint(ctx, "holder", 0, held); err != nil {
		t.Fatal(err)
	}
	want := now(t)
	post(t, "/gc/safepoint", map[string]any{"ts": want}, &out)
	if out.SafePoint != want {
		t.Errorf("safe point is %d, want %d", out.SafePoint, want)
	}
	// A service that comes now is told that it is too late.
	least, err := env.pd.UpdateServiceGCSafePoint(ctx, "late", 60, held)
	if err != nil {
		t.Fatal(err)
	}
	if least <= held || least == math.MaxUint64 {
		t.Errorf("least safe point is %d, want one above %d", least, held)
	}
	if _, err := env.pd.UpdateServiceGCSafePoint(ctx, "late", 0, held); err != nil {
		t.Fatal(err)
	}
}
