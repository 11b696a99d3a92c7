package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	parsermysql "github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// errNoVariable is of a system variable that the server does not have, and the
// others of one that a session may not set.
const (
	errNoVariable     = 1193
	errReadOnly       = 1238
	errNotPrivileged  = 1227
	errGlobalVariable = 1229
	errPrivilegeCheck = 8121 // TiDB
)

// setDDLSession prepares a session for one DDL.
func setDDLSession(ctx context.Context, conn *sql.Conn, dialect ddlDialect, ddl *event.DDL, plan *ddlPlan) error {
	required := "SET NAMES utf8mb4 COLLATE utf8mb4_bin, SESSION foreign_key_checks = 0" +
		", SESSION sql_mode = '" + ddlSQLMode(ddl.SQLMode) + "'" +
		", SESSION time_zone = '" + zoneOffset(plan.zone) + "'" +
		", SESSION timestamp = " + unixSeconds(plan.timestamp)
	if _, err := conn.ExecContext(ctx, required); err != nil {
		return fmt.Errorf("set up a session for DDL: %w", err)
	}
	optional := []string{"explicit_defaults_for_timestamp = 1"}
	switch dialect {
	case dialectTiDB:
		// The policies of the upstream do not exist downstream.
		optional = []string{"tidb_placement_mode = 'IGNORE'", "tidb_enable_external_ts_read = OFF"}
	case dialectMariaDB:
		optional = append(optional, "max_statement_time = 0", "check_constraint_checks = 0")
	}
	for _, set := range optional {
		_, err := conn.ExecContext(ctx, "SET SESSION "+set)
		switch errorNumber(err) {
		case errNoVariable, errReadOnly, errNotPrivileged, errGlobalVariable:
			continue
		}
		if err != nil {
			return fmt.Errorf("set up a session for DDL: set %s: %w", set, err)
		}
	}
	return nil
}

// ddlSQLMode returns what of the upstream session's SQL mode decides whether a
// DDL succeeds. What changes how a statement is read is gone with the rewriting.
// NO_ZERO_DATE is left out: TiDB gives old rows the zero date where MySQL would
// refuse to.
func ddlSQLMode(mode uint64) string {
	names := []string{"NO_AUTO_VALUE_ON_ZERO"}
	for _, m := range []struct {
		bit  parsermysql.SQLMode
		name string
	}{
		{parsermysql.ModeStrictTransTables, "STRICT_TRANS_TABLES"},
		{parsermysql.ModeStrictAllTables, "STRICT_ALL_TABLES"},
		{parsermysql.ModeAllowInvalidDates, "ALLOW_INVALID_DATES"},
	} {
		if parsermysql.SQLMode(mode)&m.bit != 0 {
			names = append(names, m.name)
		}
	}
	return strings.Join(names, ",")
}

// zoneOffset returns a distance from UTC as a time zone. Servers know -12:59 to +13:00 at least.
func zoneOffset(d time.Duration) string {
	sign := '+'
	if d < 0 {
		sign, d = '-', -d
	}
	return fmt.Sprintf("%c%02d:%02d", sign, int(d.Hours()), int(d.Minutes())%60)
}

// unixSeconds prints a time as the variable timestamp wants it; DEFAULT, the
// server's clock, for times that it cannot show.
func unixSeconds(t time.Time) string {
	if t.Unix() <= 0 || t.Unix() > 1<<31-1 {
		return "DEFAULT"
	}
	return fmt.Sprintf("%d.%06d", t.Unix(), t.Nanosecond()/1000)
}
