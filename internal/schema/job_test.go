package schema_test

import (
	"testing"
	"time"

	"github.com/tidbcdc/tidbcdc/internal/schema"
)

// TestJobTimeZone: jobs that rewrite rows have the session's time zone.
func TestJobTimeZone(t *testing.T) {
	for _, tt := range []struct{ job, want string }{
		{`{"id": 1}`, ""},
		{`{"reorg_meta": null}`, ""},
		{`{"reorg_meta": {"sql_mode": 1}}`, ""},
		{`{"reorg_meta": {"location": {"name": "UTC", "offset": 0}}}`, "UTC +0000"},
		{`{"reorg_meta": {"location": {"name": "", "offset": 0}}}`, "UTC +0000"},
		{`{"reorg_meta": {"location": {"name": "Asia/Shanghai", "offset": 0}}}`, "CST +0800"},
		{`{"reorg_meta": {"location": {"name": "", "offset": -19800}}}`, "-0530 -0530"},
		{`{"reorg_meta": {"location": {"name": "Nowhere/Land", "offset": 0}}}`, ""},
	} {
		job, err := schema.DecodeJob([]byte(tt.job))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if job.TimeZone != nil {
			got = time.Unix(1e9, 0).In(job.TimeZone).Format("MST -0700")
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.job, got, tt.want)
		}
	}
}
