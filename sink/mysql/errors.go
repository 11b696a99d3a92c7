package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	mysqldriver "github.com/go-sql-driver/mysql"
)

// isLost reports whether err says that a connection is of no more use.
func isLost(err error) bool {
	var network net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysqldriver.ErrInvalidConn) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)
}

// isTransient reports whether err passes by itself, so that the transaction is
// tried again: a lost connection, a deadlock or lock wait, a write conflict or a
// region that TiDB cannot reach for the moment.
func isTransient(err error) bool {
	if number := errorNumber(err); number != 0 {
		return isTransientNumber(number)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return isLost(err)
}

func isTransientNumber(number uint16) bool {
	switch number {
	case 1040, // too many connections
		1053,                   // server shutdown in progress
		1105,                   // unknown error: what TiDB says of regions it cannot reach
		1158, 1159, 1160, 1161, // network errors
		1205,       // lock wait timeout
		1213,       // deadlock
		1317, 1927, // interrupted, connection killed
		1614,       // transaction branch was rolled back: deadlock
		3024,       // statement timeout
		4031,       // MySQL closed a connection that was idle
		8002, 8005, // TiDB: write conflict of SELECT FOR UPDATE and others
		8022,       // TiDB: commit failed and was rolled back
		8027, 8028, // TiDB: the schema changed meanwhile
		9001, 9002, 9003, 9004, 9005, 9006, 9007, 9008, 9010, 9011, 9012, 9013: // TiDB: PD or TiKV timeout or busy, locks, region, write conflict
		return true
	}
	return false
}

// isDuplicate reports whether a unique key's value was there already.
func isDuplicate(err error) bool {
	switch errorNumber(err) {
	case 1062, 1586, 1859:
		return true
	}
	return false
}

// isRefused reports whether the server will refuse the same again until somebody
// gives the user the privilege that it lacks.
func isRefused(err error) bool {
	switch errorNumber(err) {
	case 1044, // no access to the database
		1045,             // wrong user or password
		1142, 1143, 1227, // no privilege for the table, the column, at all
		1698: // no password login
		return true
	}
	return false
}

// describe adds to an error what was being written.
func describe(err error, b *batch, members []int32, safe bool) error {
	if b.plan == nil || len(b.rows) == 0 {
		return withoutValues(err)
	}
	var counts [changeMove + 1]int
	first, last := b.rows[len(b.rows)-1].CommitTs, b.rows[0].CommitTs
	for _, i := range members {
		c := &b.changes[i]
		counts[c.kind]++
		first, last = min(first, b.rows[c.first].CommitTs), max(last, b.rows[c.last].CommitTs)
	}
	verbs := fmt.Sprintf("%d × %s, %d × %s, %d × %s", counts[changeDelete]+counts[changeMove], verbDelete,
		counts[changeUpdate], verbUpsert, counts[changeInsert]+counts[changeMove], verbInsert)
	if safe {
		verbs = fmt.Sprintf("%d × %s, %d × %s", counts[changeDelete]+counts[changeMove], verbDelete,
			len(members)-counts[changeDelete], verbReplace)
	}
	return fmt.Errorf("write %d rows of %s, commit ts %d to %d (%s; %s(…)): %w", len(members), b.plan.table.Name(),
		first, last, verbs, b.plan.insert, withoutValues(err))
}

// withoutValues replaces the message of a server error that may quote a row.
func withoutValues(err error) error {
	var e *mysqldriver.MySQLError
	if !errors.As(err, &e) || namesOnly(e.Number) {
		return err
	}
	clean := *e
	clean.Message = "the server's message may hold values and is left out; its error log or a replay by hand shows it"
	return &clean
}

// withoutRows is withoutValues for DDL: of a server's messages it leaves out those
// that quote rows, which a DDL meets while it reads a table, and keeps those that
// quote the statement.
func withoutRows(err error) error {
	switch errorNumber(err) {
	case 1062, 1586, 1859, // duplicate entry
		1292, 1366, 1367, 1411, 1525, // wrong value for a type
		1526, 1737, // no partition for a value, a row in the wrong one
		1690,                         // a value or an expression out of range
		3140, 3141, 3156, 3903, 3907, // JSON, and its indexes
		1105: // anything, in TiDB
		return withoutValues(err)
	}
	return err
}

// namesOnly lists errors whose messages name tables, columns, users and limits,
// and never a value.
func namesOnly(number uint16) bool {
	switch number {
	case 1040, 1044, 1045, 1046, 1048, 1049, 1050, 1051, 1053, 1054, 1091, 1109, 1114, 1118, 1129, 1130, 1136, 1142, 1143, 1146,
		1153, 1193, 1205, 1213, 1227, 1231, 1264, 1290, 1298, 1317, 1364, 1406, 1540, 1614, 1698, 1792, 1836, 1927, 3024, 4031, 8027, 8028:
		return true
	}
	return isTransientNumber(number) && number >= 9000 && number != 9007 // which quotes the key
}
