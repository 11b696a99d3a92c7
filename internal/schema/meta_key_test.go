package schema_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/internal/schema"
)

// The hex was printed by TiDB's own encoders.
func TestMetaKeys(t *testing.T) {
	for _, tt := range []struct{ hash, field, want string }{
		{"DBs", "DB:1", "6d 44427300 00000000fa 0000000000000068 44423a3100000000fb"},
		{"DB:1", "Table:104", "6d44423a3100000000fb00000000000000685461626c653a3130ff3400000000000000f8"},
	} {
		want := strings.ReplaceAll(tt.want, " ", "")
		key := schema.FieldKey(tt.hash, tt.field)
		if got := hex.EncodeToString(key); got != want {
			t.Errorf("key of %s in %s is %s, want %s", tt.field, tt.hash, got, want)
		}
		if field, err := schema.CutField(tt.hash, key); err != nil || field != tt.field {
			t.Errorf("key %s names the field %q, %v", want, field, err)
		}
	}
	const history = "6d44444c4a6f624869ff73746f7279000000fc0000000000000068"
	if got := hex.EncodeToString(schema.HashKey("DDLJobHistory")); got != history {
		t.Errorf("prefix of DDLJobHistory is %s, want %s", got, history)
	}
}

func TestFieldRange(t *testing.T) {
	start, end := schema.FieldRange("DB:1", "Table:")
	for field, want := range map[string]bool{
		"Table:1": true, "Table:9223372036854775807": true, "Table:": true,
		"TID:1": false, "IID:1": false, "TARID:1": false, "SID:1": false, "Table;": false, "Tabld:9": false,
	} {
		key := schema.FieldKey("DB:1", field)
		if got := bytes.Compare(key, start) >= 0 && bytes.Compare(key, end) < 0; got != want {
			t.Errorf("field %s is in the range of tables: %t, want %t", field, got, want)
		}
	}
	for _, other := range []string{"DB:10", "DB:0", "DBs"} {
		if key := schema.FieldKey(other, "Table:1"); bytes.Compare(key, start) >= 0 && bytes.Compare(key, end) < 0 {
			t.Errorf("a table of %s is in the range of DB:1", other)
		}
	}
}

func TestCutFieldRejects(t *testing.T) {
	key := schema.FieldKey("DB:1", "Table:104")
	pad := bytes.Clone(key)
	pad[len(pad)-2] = 1
	marker := bytes.Clone(key)
	marker[len(marker)-1] = 0x10
	for name, bad := range map[string][]byte{
		"another hash": schema.FieldKey("DB:2", "Table:104"),
		"cut off":      key[:len(key)-1],
		"no field":     schema.HashKey("DB:1"),
		"padding":      pad,
		"marker":       marker,
		"tail":         append(bytes.Clone(key), 0),
	} {
		if field, err := schema.CutField("DB:1", bad); err == nil {
			t.Errorf("%s: field %q read from %x", name, field, bad)
		}
	}
}

func FuzzBytes(f *testing.F) {
	for _, s := range []string{"", "a", "12345678", "123456789", "\x00\xff"} {
		f.Add([]byte(s), []byte("rest"))
	}
	f.Fuzz(func(t *testing.T, b, rest []byte) {
		enc := schema.AppendBytes(nil, b)
		data, tail, err := schema.CutBytes(append(bytes.Clone(enc), rest...))
		if err != nil || !bytes.Equal(data, b) || !bytes.Equal(tail, rest) {
			t.Errorf("%x is read back as %x, %x, %v", b, data, tail, err)
		}
		_, _, _ = schema.CutBytes(rest)
	})
}
