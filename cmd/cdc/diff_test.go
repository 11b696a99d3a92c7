package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/internal/mariadb"
)

// TestDiff compares a MariaDB with itself, and with an empty one.
func TestDiff(t *testing.T) {
	if _, err := mariadb.Find(); err != nil {
		if mariadb.Required() {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	var uris []string
	for range 2 {
		server, err := mariadb.Start(t.Context(), mariadb.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := server.Close(); err != nil {
				t.Error(err)
			}
		})
		uris = append(uris, "mysql://"+server.Config("").User+"@"+server.Addr+"/")
		db, err := server.DB("")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, q := range []string{"CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY, what TEXT)"} {
			if _, err := db.ExecContext(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
		if len(uris) == 1 {
			if _, err := db.ExecContext(t.Context(), "INSERT INTO shop.orders VALUES (7, 'book')"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		args []string
		rc   int
		want string
	}{
		"equal":       {[]string{"--upstream", uris[0], "--downstream", uris[0]}, 0, "shop.orders"},
		"different":   {[]string{"--upstream", uris[0], "--downstream", uris[1], "--filter", "shop.*"}, 1, "missing"},
		"unreachable": {[]string{"--upstream", uris[0], "--downstream", "mysql://root:hunter2@127.0.0.1:1/"}, 2, "connect"},
		"bad scheme":  {[]string{"--upstream", uris[0], "--downstream", "http://127.0.0.1:1/"}, 2, "scheme"},
		"no user":     {[]string{"--upstream", uris[0], "--downstream", strings.Replace(uris[0], "root@", "", 1)}, 0, "shop.orders"},
		"key alone":   {[]string{"--upstream", uris[0], "--downstream", "mysql://root@127.0.0.1:1/?ssl-cert=/absent&ssl-key=/absent"}, 2, "ssl-cert"},
		"none":        {nil, 2, "are required"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			rc := run(t.Context(), append([]string{"diff"}, c.args...), &out, &errs)
			if all := out.String() + errs.String(); rc != c.rc || !strings.Contains(all, c.want) || strings.Contains(all, "hunter2") {
				t.Errorf("ends with %d, want %d, and says, without %q:\n%s", rc, c.rc, c.want, all)
			}
		})
	}
}
