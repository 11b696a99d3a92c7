package mysql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink/mysql"
)

func TestDescribeTable(t *testing.T) {
	onEach(t, func(t *testing.T, s *server) {
		db := s.database(t, "described")
		mustExec(
			t, db,
			"CREATE TABLE described.`odd \"name\"` (b BIGINT UNSIGNED NOT NULL, a VARCHAR(20) NOT NULL, bi VARBINARY(9), e ENUM('x','it''s'), "+
				"d DECIMAL(10,3), dt DATETIME(6), v INT AS (b + 1) VIRTUAL, s INT AS (b + 2) STORED, UNIQUE KEY one (e), UNIQUE KEY two (a, b), UNIQUE KEY aa (a, b, s))",
			"CREATE TABLE described.p (k INT NOT NULL UNIQUE, a INT, b INT, PRIMARY KEY (b, a))",
			"CREATE TABLE described.keyless (a INT UNIQUE)",
		)
		for name, want := range map[string]string{
			`odd "name"`: "b 8 unsigned; a 15(20) text; bi 15(9); e 247 [x it's] text; d 246(10,3); dt 12(,6); s 3 stored; key [1 0]",
			"p":          "k 3; a 3; b 3; key [2 1]",
			"keyless":    "a 3; key []",
		} {
			info, err := mysql.DescribeTable(t.Context(), db, "described", name)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for i := range info.Columns {
				c := &info.Columns[i]
				fmt.Fprintf(&got, "%s %d", c.Name, c.Type)
				switch c.Type {
				case event.TypeVarchar:
					fmt.Fprintf(&got, "(%d)", c.Length)
				case event.TypeNewDecimal:
					fmt.Fprintf(&got, "(%d,%d)", c.Length, c.Decimal)
				case event.TypeDatetime:
					fmt.Fprintf(&got, "(,%d)", c.Decimal)
				case event.TypeEnum:
					fmt.Fprintf(&got, " %v", c.Elems)
				}
				for what, is := range map[string]bool{" unsigned": c.Unsigned(), " text": !c.Binary(), " stored": c.Stored && c.Generated()} {
					if is {
						got.WriteString(what)
					}
				}
				got.WriteString("; ")
			}
			fmt.Fprintf(&got, "key %v", info.HandleKey)
			if got.String() != want {
				t.Errorf("%s is %s, want %s", name, got.String(), want)
			}
		}
		if got, err := mysql.DescribeTable(t.Context(), db, "described", "none"); got != nil || err != nil {
			t.Errorf("a table that is not there: %v, %v", got, err)
		}
	})
}
