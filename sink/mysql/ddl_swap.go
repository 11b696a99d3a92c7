package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// A MySQL or MariaDB keeps no history of DDL, and a TiDB shows its own only to
// users with the privilege SUPER. So that a swap, which a second execution would
// undo, is executed once, the table tidbcdc.ddl_swap says which have begun and
// which are done.
const (
	swapTable       = "`tidbcdc`.`ddl_swap`"
	createSwapTable = "CREATE TABLE IF NOT EXISTS " + swapTable + " (tag VARCHAR(64) PRIMARY KEY, done BOOL NOT NULL)"
)

// guarded reports whether the statement needs the table.
func (r *ddlRun) guarded() bool {
	return r.statement.swaps && (r.writer.dialect != dialectTiDB || r.blind)
}

// swapped reports whether the swap is done. It is an error if it has begun, as
// nobody knows how that ended.
func (r *ddlRun) swapped(ctx context.Context, conn *sql.Conn) (bool, error) {
	for _, q := range []string{"CREATE DATABASE IF NOT EXISTS `tidbcdc`", createSwapTable} {
		if _, err := conn.ExecContext(ctx, q); err != nil {
			return false, fmt.Errorf("keep in %s what a second execution would undo: %w", swapTable, err)
		}
	}
	var done bool
	err := conn.QueryRowContext(ctx, "SELECT done FROM "+swapTable+" WHERE tag = '"+r.key()+"'").Scan(&done)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look in %s for what a second execution would undo: %w", swapTable, err)
	case !done:
		return false, errUncertain
	}
	r.writer.log.Warn("DDL is not executed again, as it would undo itself", "table", ddlTarget(r.ddl), "commit_ts", uint64(r.ddl.CommitTs))
	return true, nil
}

// key is the tag without what makes it a comment.
func (r *ddlRun) key() string { return strings.Trim(r.tag, "/* ") }

// swap executes the statement between two notes. That it has begun stays noted
// unless the server says that it failed.
func (r *ddlRun) swap(ctx context.Context, conn *sql.Conn, execute func() error) error {
	note := func(q string) error {
		if _, err := conn.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("note in %s what a second execution would undo: %w", swapTable, err)
		}
		return nil
	}
	if err := note("INSERT INTO " + swapTable + " VALUES ('" + r.key() + "', FALSE)"); err != nil {
		return err
	}
	err := execute()
	if err == nil {
		return note("UPDATE " + swapTable + " SET done = TRUE WHERE tag = '" + r.key() + "'")
	}
	if errorNumber(err) != 0 {
		err = errors.Join(err, note("DELETE FROM "+swapTable+" WHERE tag = '"+r.key()+"'"))
	}
	return err
}
