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
	errNoTimeZone     = 1298
)

// setSession prepares a session for one DDL.
func (d *ddlWriter) setSession(ctx context.Context, conn *sql.Conn, ddl *event.DDL, plan *ddlPlan) error {
	required := "SET NAMES utf8mb4 COLLATE utf8mb4_bin, SESSION foreign_key_checks = 0" +
		", SESSION sql_mode = '" + ddlSQLMode(ddl.SQLMode) + "'" +
		", SESSION timestamp = " + unixSeconds(plan.timestamp)
	if _, err := conn.ExecContext(ctx, required); err != nil {
		return fmt.Errorf("set up a session for DDL: %w", err)
	}
	if err := d.setTimeZone(ctx, conn, plan); err != nil {
		return fmt.Errorf("set up a session for DDL: set its time zone: %w", err)
	}
	optional := []string{"explicit_defaults_for_timestamp = 1"}
	switch d.dialect {
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

// setTimeZone sets the plan's time zone: by name, or, if the server does not know
// names, as its distance from UTC at the time of the DDL.
func (d *ddlWriter) setTimeZone(ctx context.Context, conn *sql.Conn, plan *ddlPlan) error {
	if plan.zone == nil {
		return nil
	}
	offset := zoneOffset(plan.zone, plan.timestamp)
	if name := plan.zone.String(); strings.Contains(name, "/") {
		_, err := conn.ExecContext(ctx, "SET SESSION time_zone = "+quoteText(name))
		if errorNumber(err) != errNoTimeZone {
			return err
		}
		if summer := plan.timestamp.AddDate(0, 6, 0); zoneOffset(plan.zone, summer) != offset {
			d.log.Warn("the server does not know the names of time zones (mysql_tzinfo_to_sql loads them): where a DDL converts a TIMESTAMP, "+
				"summer time is not taken into account", "time_zone", name, "instead", offset)
		}
	}
	_, err := conn.ExecContext(ctx, "SET SESSION time_zone = '"+offset+"'")
	return err
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

// zoneOffset returns a zone's distance from UTC as a time zone. Servers know
// -12:59 to +13:00 at least.
func zoneOffset(zone *time.Location, at time.Time) string {
	sign := '+'
	_, seconds := at.In(zone).Zone()
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	return fmt.Sprintf("%c%02d:%02d", sign, seconds/3600, seconds/60%60)
}

// unixSeconds prints a time as the variable timestamp wants it; DEFAULT, the
// server's clock, for times that it cannot show.
func unixSeconds(t time.Time) string {
	if t.Unix() <= 0 || t.Unix() > 1<<31-1 {
		return "DEFAULT"
	}
	return fmt.Sprintf("%d.%06d", t.Unix(), t.Nanosecond()/1000)
}
