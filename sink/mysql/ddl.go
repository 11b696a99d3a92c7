package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
)

// ddlWriter executes DDL downstream, each over a connection of its own: rows of
// other tables go on meanwhile, and an ADD INDEX may take hours.
type ddlWriter struct {
	downstream
	// db is without a read timeout, if the sink opened it.
	db  *sql.DB
	log *slog.Logger
}

// WriteDDL implements [sink.Sink]. The statement is rewritten with quoted and
// qualified names, and touches no table but those in ddl.Changes. It may be
// executed again: errors that say that it has been executed count as success.
//
// What only TiDB knows goes to a TiDB and is left out for others: AUTO_RANDOM,
// CLUSTERED, TTL (which stays off), placement, pre-splitting, partial indexes and
// unique ones that are GLOBAL; for MariaDB also expression indexes. No downstream
// gets defaults from sequences. VECTOR becomes LONGTEXT unless
// Config.HasVectorType. MySQL and MariaDB get neither ENGINE nor CHECK: tables have
// to be transactional, and TiDB checks nothing unless told to. Foreign keys are made
// and not enforced. DROP DATABASE keeps a database that holds other tables.
//
// Old rows get the value that TiDB gave them for a new column with DEFAULT
// CURRENT_TIMESTAMP. A column that becomes a TIMESTAMP, or is none any more, is
// converted in the time zone in which TiDB converted it; a MySQL or MariaDB has to
// have the names of time zones for one with summer time. What else depends on the
// session's, such as a partition's bound UNIX_TIMESTAMP('2024-01-01'), is read in
// Config.TimeZone.
//
// The DDL has a connection of its own, without a read timeout if [Open] made the
// Sink, and may take hours. If that is lost, the server is asked whether it goes on
// with the statement, which is then waited for; without the privilege to see it,
// SUPER in TiDB and PROCESS elsewhere, the statement is executed again and finds
// what the first one did. EXCHANGE PARTITION and the swap of two names, which a
// second execution would undo, are executed once: a TiDB has a history of its jobs;
// where there is none to see, a table tidbcdc.ddl_swap notes them. If it remains
// open whether one was executed, the error is permanent and says what to do.
func (s *Sink) WriteDDL(ctx context.Context, ddl *event.DDL) error {
	w := &ddlWriter{db: s.ddlDB, downstream: downstream{zone: s.cfg.TimeZone, vectors: s.cfg.HasVectorType}, log: s.log}
	switch {
	case s.server.isTiDB:
		w.dialect = dialectTiDB
	case s.server.isMariaDB:
		w.dialect = dialectMariaDB
	}
	write := func() error { return w.write(ctx, ddl) }
	var err error
	if s.cfg.ExactlyOnce {
		err = s.writeDDLOnce(ctx, ddl, write)
	} else {
		err = write()
	}
	if isRefused(err) {
		return sink.Permanent(err)
	}
	return err
}

// openDDL opens connections like those of cfg but for their read timeout: a
// statement that runs for hours says nothing until it has ended.
func openDDL(cfg *mysqldriver.Config) (*sql.DB, error) {
	cfg = cfg.Clone()
	cfg.ReadTimeout = 0
	connector, err := mysqldriver.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("set up connections for DDL: %w", err)
	}
	return sql.OpenDB(connector), nil
}

// write executes a DDL, or finds that it has been executed. It may be called
// again after an error, and for several DDLs at once.
func (d *ddlWriter) write(ctx context.Context, ddl *event.DDL) error {
	plan, err := rewriteDDL(ddl, d.downstream)
	if err != nil {
		return sink.Permanent(err)
	}
	for _, n := range plan.notes {
		d.log.Warn("the downstream does not get a part of a DDL", "part", n, "commit_ts", uint64(ddl.CommitTs))
	}
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to execute DDL: %w", err)
	}
	defer func() { discard(conn) }() // its session is set up for this DDL
	if plan.dropSchema {
		if err := d.planDropSchema(ctx, conn, ddl, plan); err != nil {
			return err
		}
	}
	for i := range plan.statements {
		run := &ddlRun{
			writer: d, ddl: ddl, plan: plan, statement: &plan.statements[i],
			tag: fmt.Sprintf("/* tidbcdc %d.%d.%d */ ", ddl.JobID, uint64(ddl.CommitTs), i),
		}
		if conn, err = run.execute(ctx, conn); err != nil {
			return run.describe(err)
		}
	}
	return nil
}

// planDropSchema replaces DROP DATABASE if the database holds more downstream
// than the upstream's tables that are replicated: those alone are dropped.
func (d *ddlWriter) planDropSchema(ctx context.Context, conn *sql.Conn, ddl *event.DDL, plan *ddlPlan) error {
	rows, err := conn.QueryContext(ctx, "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?", ddl.Schema)
	if err != nil {
		return fmt.Errorf("list the tables of database %s: %w", ddl.Schema, err)
	}
	defer rows.Close()
	var ours []ddlStatement
	others := 0
	for rows.Next() {
		var name, kind string
		if err := rows.Scan(&name, &kind); err != nil {
			return fmt.Errorf("list the tables of database %s: %w", ddl.Schema, err)
		}
		if !slices.ContainsFunc(ddlChanges(ddl), func(c event.TableChange) bool { return c.Before != nil && strings.EqualFold(c.Before.Table, name) }) {
			others++
			continue
		}
		what := "TABLE"
		if strings.Contains(kind, "VIEW") {
			what = "VIEW"
		}
		ours = append(ours, ddlStatement{sql: "DROP " + what + " IF EXISTS " + quoteName(ddl.Schema) + "." + quoteName(name)})
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list the tables of database %s: %w", ddl.Schema, err)
	}
	if others > 0 {
		d.log.Warn("the database is not dropped, only the tables that are replicated: it holds others",
			"database", ddl.Schema, "others", others, "commit_ts", uint64(ddl.CommitTs))
		plan.statements = ours
	}
	return nil
}

// permanentDDLErrors are those that the same statement meets again.
var permanentDDLErrors = []uint16{
	1064, // syntax
	1115, // unknown character set
	1149, // syntax
	1235, // not supported
	1273, // unknown collation
	1503, // a unique key without the columns of the partitioning
	4161, // unknown type (MariaDB)
	8200, // unsupported DDL (TiDB)
}

// ddlRun is the execution of one statement.
type ddlRun struct {
	writer    *ddlWriter
	ddl       *event.DDL
	plan      *ddlPlan
	statement *ddlStatement
	// tag is a comment in front of the statement by which it is found among
	// those that the server executes.
	tag string
	// before are the jobs of a TiDB with the tag from an earlier life of the changefeed.
	before []int64
	// blind: a TiDB does not show its jobs to the sink's user.
	blind bool
}

// errUncertain says that a statement may or may not have been executed.
var errUncertain = errors.New("the connection was lost while it ran, so that it may have been executed, and executing it twice would undo it; " +
	"look at the tables downstream, and then set done to 1 for it in tidbcdc.ddl_swap if it was executed, or delete it there if not")

// describe adds what the error is about.
func (r *ddlRun) describe(err error) error {
	err = fmt.Errorf("execute DDL job %d (%s) on %s at commit ts %d, as %s: %w",
		r.ddl.JobID, r.ddl.Type, ddlTarget(r.ddl), r.ddl.CommitTs, abbreviate(r.statement.sql), withoutRows(err))
	if slices.Contains(permanentDDLErrors, errorNumber(err)) || errors.Is(err, errUncertain) {
		return sink.Permanent(err)
	}
	return err
}

func abbreviate(sql string) string {
	const limit = 300
	if len(sql) > limit {
		return strings.ToValidUTF8(sql[:limit], "") + "…"
	}
	return sql
}

// execute runs the statement and returns the connection to go on with: a new one
// if the old one was lost. A statement that the server still executes, for an
// earlier connection, is waited for and not executed again.
func (r *ddlRun) execute(ctx context.Context, conn *sql.Conn) (*sql.Conn, error) {
	if done, err := r.executedBefore(ctx, conn); done || err != nil {
		return conn, err
	}
	err := r.executeOnce(ctx, conn)
	for attempt := 0; err != nil && lostConnection(err) && ctx.Err() == nil; attempt++ {
		r.writer.log.Warn("lost the connection that executed a DDL", "table", ddlTarget(r.ddl), "commit_ts", uint64(r.ddl.CommitTs), "error", err)
		fresh, connectErr := r.writer.db.Conn(ctx)
		if connectErr != nil {
			return conn, fmt.Errorf("connect again: %w", connectErr)
		}
		discard(conn)
		conn = fresh
		done, findErr := r.executed(ctx, conn)
		switch {
		case findErr != nil:
			return conn, findErr
		case done:
			return conn, nil
		case r.guarded():
			return conn, errUncertain
		case attempt == 3:
			return conn, err
		}
		err = r.executeOnce(ctx, conn)
	}
	return conn, err
}

// executeOnce sets the session up and runs the statement.
func (r *ddlRun) executeOnce(ctx context.Context, conn *sql.Conn) error {
	if err := r.writer.setSession(ctx, conn, r.ddl, r.plan); err != nil {
		return err
	}
	start := time.Now()
	run := func() error {
		_, err := conn.ExecContext(ctx, r.tag+r.statement.sql)
		if errorNumber(err) == errNoTable && r.statement.instead != "" {
			_, err = conn.ExecContext(ctx, r.tag+r.statement.instead)
		}
		return err
	}
	var err error
	if r.guarded() {
		err = r.swap(ctx, conn, run)
	} else {
		err = run()
	}
	logger := r.writer.log.With("table", ddlTarget(r.ddl), "commit_ts", uint64(r.ddl.CommitTs), "statement", abbreviate(r.statement.sql))
	switch {
	case err == nil:
		logger.Info("executed DDL", "duration", time.Since(start))
		return nil
	case r.statement.alreadyDone(err):
		logger.Warn("DDL has no effect, as it seems to have been executed before", "error", err)
		return nil
	}
	return err
}

// lostConnection reports whether an error leaves open what the server did.
func lostConnection(err error) bool {
	var network net.Error
	return errors.Is(err, mysqldriver.ErrInvalidConn) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, sql.ErrConnDone) || errors.As(err, &network)
}
