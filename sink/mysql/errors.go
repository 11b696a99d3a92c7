package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"

	mysqldriver "github.com/go-sql-driver/mysql"
)

// Numbers of server errors.
const (
	errDuplicateEntry = 1062
)

// isTransient reports whether err passes by itself, so that the statement is
// tried again on another connection: a lost connection, a deadlock or lock wait,
// a write conflict or a region that TiDB cannot reach for the moment.
func isTransient(err error) bool {
	var e *mysqldriver.MySQLError
	if errors.As(err, &e) {
		return isTransientNumber(e.Number)
	}
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, mysqldriver.ErrInvalidConn),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
		return true
	}
	return false
}

func isTransientNumber(number uint16) bool {
	switch number {
	case 1040, // too many connections
		1053, // server shutdown in progress
		1105, // unknown error: what TiDB says of regions it cannot reach
		1158, 1159, 1160, 1161, // network errors
		1205,       // lock wait timeout
		1213,       // deadlock
		1317, 1927, // interrupted, connection killed
		1614,       // transaction branch was rolled back: deadlock
		3024,       // statement timeout
		8002, 8005, // TiDB: write conflict of SELECT FOR UPDATE, transaction not found
		8022,       // TiDB: commit failed and was rolled back
		8027, 8028, // TiDB: schema lease, schema changed
		9001, 9002, 9003, 9004, 9005, 9006, 9007, 9008, 9010, 9011, 9012, 9013: // TiKV: PD or store timeout, busy, lock, region, GC, write conflict
		return true
	}
	return false
}
