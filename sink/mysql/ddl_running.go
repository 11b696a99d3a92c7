package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// recentJobs is how far back a TiDB is asked for a job. The one looked for was
// made by a connection that was lost a moment ago, or still runs.
const recentJobs = 256

// jobPollInterval is how often a server is asked whether a statement has ended:
// it tells nobody but the connection that is lost.
const jobPollInterval = time.Second

// executedBefore looks, before the statement is executed, for an execution by an
// earlier life of the changefeed. One that runs is waited for. One that has ended
// counts only if repeating it does harm: since then the tables may have been made
// anew.
func (r *ddlRun) executedBefore(ctx context.Context, conn *sql.Conn) (bool, error) {
	var jobs []int64
	var err error
	if r.writer.dialect == dialectTiDB {
		jobs, err = r.jobs(ctx, conn)
	} else {
		err = r.waitForQuery(ctx, conn)
	}
	if err != nil {
		return false, err
	}
	if r.guarded() {
		return r.swapped(ctx, conn)
	}
	for _, id := range jobs {
		state, err := r.jobState(ctx, conn, id)
		if err != nil {
			return false, err
		}
		if running := !jobEnded(state); running || r.statement.swaps {
			if done, err := r.waitForJob(ctx, conn, id, state); done || err != nil {
				if done && !running {
					r.writer.log.Warn("DDL is not executed again, as it would undo itself", "table", ddlTarget(r.ddl), "downstream_job", id)
				}
				return done, err
			}
		}
	}
	r.before = jobs
	return false, nil
}

// executed tells, after the connection was lost, whether the statement was
// executed, waiting for its end. A MySQL or MariaDB does not tell: the statement
// has to be tried again.
func (r *ddlRun) executed(ctx context.Context, conn *sql.Conn) (bool, error) {
	if r.writer.dialect != dialectTiDB {
		return false, r.waitForQuery(ctx, conn)
	}
	jobs, err := r.jobs(ctx, conn)
	if err != nil {
		return false, err
	}
	for _, id := range jobs {
		if slices.Contains(r.before, id) {
			continue
		}
		state, err := r.jobState(ctx, conn, id)
		if err != nil {
			return false, err
		}
		if done, err := r.waitForJob(ctx, conn, id, state); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// jobs returns a TiDB's jobs with the tag, none if the sink's user may not see jobs.
func (r *ddlRun) jobs(ctx context.Context, conn *sql.Conn) ([]int64, error) {
	rows, err := conn.QueryContext(ctx, fmt.Sprintf("ADMIN SHOW DDL JOB QUERIES LIMIT %d", recentJobs))
	if n := errorNumber(err); n == errNotPrivileged || n == errPrivilegeCheck {
		r.blind = true
		r.writer.log.Debug("the sink's user may not see TiDB's DDL jobs; with the privilege SUPER a DDL is found again after a lost connection")
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask TiDB for its DDL jobs: %w", err)
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		var query string
		if err := rows.Scan(&id, &query); err != nil {
			return nil, fmt.Errorf("read TiDB's DDL jobs: %w", err)
		}
		if strings.Contains(query, strings.TrimSpace(r.tag)) {
			ids = append(ids, id)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read TiDB's DDL jobs: %w", err)
	}
	return ids, nil
}

// jobState returns the state of a TiDB's job, such as "running" and "synced".
func (r *ddlRun) jobState(ctx context.Context, conn *sql.Conn, id int64) (string, error) {
	var state string
	err := conn.QueryRowContext(ctx, fmt.Sprintf("SELECT STATE FROM information_schema.DDL_JOBS WHERE JOB_ID = %d", id)).Scan(&state)
	if err != nil {
		return "", fmt.Errorf("ask TiDB for the state of DDL job %d: %w", id, err)
	}
	return state, nil
}

func jobEnded(state string) bool {
	return jobDone(state) || state == "cancelled" || state == "rollback done"
}

func jobDone(state string) bool { return state == "synced" || state == "done" }

// waitForJob waits until a job has ended and reports whether it did its work.
func (r *ddlRun) waitForJob(ctx context.Context, conn *sql.Conn, id int64, state string) (bool, error) {
	for !jobEnded(state) {
		if err := pause(ctx); err != nil {
			return false, err
		}
		var err error
		if state, err = r.jobState(ctx, conn, id); err != nil {
			return false, err
		}
	}
	return jobDone(state), nil
}

// waitForQuery waits while a MySQL or MariaDB executes the statement for a
// connection that is gone. Without the privilege to see other sessions it waits
// for nothing; the statement then waits for the table's lock.
func (r *ddlRun) waitForQuery(ctx context.Context, conn *sql.Conn) error {
	for {
		var n int
		err := conn.QueryRowContext(ctx,
			"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND INFO LIKE ?", strings.TrimSpace(r.tag)+"%").Scan(&n)
		if err != nil {
			return fmt.Errorf("ask whether the server still executes a DDL: %w", err)
		}
		if n == 0 {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context) error {
	t := time.NewTimer(jobPollInterval)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
