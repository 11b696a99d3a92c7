package mariadb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrMissing is wrapped by what Find returns if the server is not installed.
var ErrMissing = errors.New("MariaDB is not installed")

// Find returns the server's executable: what the environment variable
// TIDBCDC_MARIADBD names, else mariadbd in PATH, /usr/sbin or /usr/libexec.
func Find() (string, error) {
	const variable = "TIDBCDC_MARIADBD"
	if path := os.Getenv(variable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%w: %s: %w", ErrMissing, variable, err)
		}
		return path, nil
	}
	if path, err := exec.LookPath("mariadbd"); err == nil {
		return path, nil
	}
	for _, path := range []string{"/usr/sbin/mariadbd", "/usr/libexec/mariadbd", "/usr/local/sbin/mariadbd"} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: no mariadbd in PATH or /usr/sbin, and %s is not set (Debian: mariadb-server)", ErrMissing, variable)
}

// Required reports whether the environment forbids to fall back to another
// server, or to skip, where MariaDB is missing: TIDBCDC_REQUIRE_SERVERS=1, as
// in CI.
func Required() bool { return os.Getenv("TIDBCDC_REQUIRE_SERVERS") == "1" }

// findTool looks for a program of the same installation, then in PATH.
func findTool(server, name string) (string, error) {
	root := filepath.Dir(filepath.Dir(server))
	for _, folder := range []string{"bin", "scripts", "sbin"} {
		path := filepath.Join(root, folder, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrMissing, name, err)
	}
	return path, nil
}

// loadTimeZones fills the server's tables from the system's zone files.
func (s *Server) loadTimeZones(ctx context.Context) error {
	if len(s.options.TimeZones) == 0 {
		return nil
	}
	tool, err := findTool(s.binary, "mariadb-tzinfo-to-sql")
	if err != nil {
		return err
	}
	db, err := s.DB("mysql")
	if err != nil {
		return err
	}
	defer db.Close()
	for _, zone := range s.options.TimeZones {
		file := filepath.Join("/usr/share/zoneinfo", filepath.FromSlash(zone))
		statements, err := exec.CommandContext(ctx, tool, file, zone).Output()
		if err != nil {
			return fmt.Errorf("read time zone %s: %w", zone, err)
		}
		if _, err := db.ExecContext(ctx, string(statements)); err != nil {
			return fmt.Errorf("load time zone %s: %w", zone, err)
		}
	}
	return nil
}
