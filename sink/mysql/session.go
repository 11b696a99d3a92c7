package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// server is what the sink has to know of the downstream.
type server struct {
	version         string
	isTiDB          bool
	isMariaDB       bool
	multiStatements bool // the connections accept several in one packet
	maxPacket       int  // max_allowed_packet
	// session are the statements that prepare a connection.
	session []string
}

// rowSQLMode is the mode in which rows are written: strict, so that no value is
// changed silently, but with every date that TiDB can hold and with 0 as a value
// of AUTO_INCREMENT. A backslash escapes.
const rowSQLMode = "STRICT_TRANS_TABLES,STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"

// laxSQLMode is the mode for rows that strict ones refuse, see plan.isLax.
const laxSQLMode = "ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"

// probe asks the server who it is. MySQL and MariaDB refuse TiDB's variables.
func probe(ctx context.Context, db *sql.DB, cfg *Config) (server, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return server{}, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	var s server
	if err := conn.QueryRowContext(ctx, "SELECT VERSION(), @@max_allowed_packet").Scan(&s.version, &s.maxPacket); err != nil {
		return server{}, fmt.Errorf("read the server's version: %w", err)
	}
	s.isTiDB, s.isMariaDB = strings.Contains(s.version, "TiDB"), strings.Contains(s.version, "MariaDB")
	s.session = []string{
		"SET NAMES utf8mb4",
		"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
		"SET SESSION sql_mode = '" + rowSQLMode + "', time_zone = '+00:00', foreign_key_checks = 0, autocommit = 1",
	}
	variables := map[string]string{
		"tidb_txn_mode":                     "'" + cfg.TxnMode + "'",
		"allow_auto_random_explicit_insert": "1",
		"tidb_placement_mode":               "'ignore'",
		"tidb_enable_external_ts_read":      "OFF",
	}
	known, err := knownVariables(ctx, conn, variables)
	if err != nil {
		return server{}, err
	}
	for _, name := range known {
		s.session = append(s.session, "SET SESSION "+name+" = "+variables[name])
	}
	if !cfg.NoMultiStatements {
		// A connection without the driver's multiStatements refuses this; what is
		// wrong otherwise shows with the next statement.
		_, err := conn.ExecContext(ctx, "DO 1; DO 1")
		s.multiStatements = err == nil
	}
	return s, nil
}

// knownVariables returns those that the server has, sorted.
func knownVariables(ctx context.Context, conn *sql.Conn, variables map[string]string) ([]string, error) {
	var names []string
	for name := range variables {
		names = append(names, "'"+name+"'")
	}
	rows, err := conn.QueryContext(ctx, "SHOW VARIABLES WHERE Variable_name IN ("+strings.Join(names, ",")+")")
	if err != nil {
		return nil, fmt.Errorf("read the server's variables: %w", err)
	}
	defer rows.Close()
	var known []string
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, fmt.Errorf("read the server's variables: %w", err)
		}
		known = append(known, name)
	}
	slices.Sort(known)
	return known, rows.Err()
}

// open returns a connection whose session is set up to write rows. The caller
// closes it, or lets discard close it if its session may have changed.
func (s *Sink) open(ctx context.Context) (*sql.Conn, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	for _, statement := range s.server.session {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			discard(conn)
			return nil, fmt.Errorf("set up session: %s: %w", statement, err)
		}
	}
	return conn, nil
}
