package mysql

import (
	"errors"
	"slices"

	mysqldriver "github.com/go-sql-driver/mysql"
)

// The numbers of MySQL's errors that a DDL meets when it is executed again. TiDB
// and MariaDB use them too.
const (
	errDatabaseExists    = 1007
	errNoDatabaseDrop    = 1008
	errNoFile            = 1017
	errNoDatabase        = 1049
	errTableExists       = 1050
	errNoTableDrop       = 1051
	errNoColumn          = 1054
	errColumnExists      = 1060
	errIndexExists       = 1061
	errTwoPrimaryKeys    = 1068
	errNoKeyColumn       = 1072
	errCannotDrop        = 1091
	errNoTable           = 1146
	errNoIndex           = 1176
	errViewInvalid       = 1356
	errMaxValueLast      = 1481
	errRangeNotAscending = 1493
	errListTwice         = 1495
	errNotPartitioned    = 1505
	errNoSuchPartition   = 1507
	errPartitionExists   = 1517
	errPartitionName     = 1567
	errUnknownPartition  = 1735
	errForeignKeyExists  = 1826
	errNoView            = 4092 // MariaDB
)

// The errors of an ALTER TABLE that has been executed, or whose table has been
// changed further since. Of several parts of one statement either all are done
// or none, because a server executes it as a whole.
var alterDone = []uint16{
	errNoTable, errNoDatabase, errNoColumn, errColumnExists, errIndexExists, errTwoPrimaryKeys, errNoKeyColumn, errCannotDrop, errNoIndex,
	errMaxValueLast, errRangeNotAscending, errListTwice, errNotPartitioned, errNoSuchPartition, errPartitionExists, errPartitionName, errUnknownPartition,
	errForeignKeyExists, errNoTableDrop,
}

// alreadyDone reports whether an error says that a statement has been executed before.
func (s *ddlStatement) alreadyDone(err error) bool {
	return slices.Contains(s.done, errorNumber(err))
}

// errorNumber returns the server's number of an error, 0 if it is another's.
func errorNumber(err error) uint16 {
	var e *mysqldriver.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}
