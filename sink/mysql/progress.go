package mysql

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Statements that make the table of positions.
const (
	createProgressSchema = "CREATE DATABASE IF NOT EXISTS `tidbcdc`"
	createProgressTable  = "CREATE TABLE IF NOT EXISTS `tidbcdc`.`progress` (" +
		"`changefeed` VARCHAR(255) NOT NULL COMMENT 'id of the changefeed', " +
		"`table_id` BIGINT NOT NULL COMMENT 'physical table upstream; 0: all, in whole transactions; below: a DDL job, executed', " +
		"`commit_ts` BIGINT UNSIGNED NOT NULL COMMENT 'of the last row written', " +
		"`start_ts` BIGINT UNSIGNED NOT NULL COMMENT 'of the last row written', " +
		"`put` TINYINT NOT NULL COMMENT '0 if the last row was a delete, which come first, else 1', " +
		"`row_key` BLOB NOT NULL COMMENT 'TiKV key of the last row written', " +
		"PRIMARY KEY (`changefeed`, `table_id`)) " +
		"DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin COMMENT='how far changefeeds with exactly-once have written'"
)

// position is a place in the order in which the rows of a physical table are
// delivered: by commit ts, start ts, deletes first, and key.
type position struct {
	table             int64
	commitTs, startTs event.Ts
	put               bool
	key               []byte
}

func positionOf(row *event.RowChanged) position {
	return position{row.PhysicalTableID, row.CommitTs, row.StartTs, row.Columns != nil, row.Key}
}

// covers reports whether a row comes at or before the position.
func (p *position) covers(row *event.RowChanged) bool {
	q := positionOf(row)
	if c := cmp.Compare(q.commitTs, p.commitTs); c != 0 {
		return c < 0
	}
	if c := cmp.Compare(q.startTs, p.startTs); c != 0 {
		return c < 0
	}
	if q.put != p.put {
		return p.put
	}
	return bytes.Compare(q.key, p.key) <= 0
}

// advance is a step from one position to another.
type advance struct{ from, to position }

// append adds the statements that make the step, to be executed before rows are
// written; a nil advance has none. They fail, as for a duplicate key, if the
// downstream's position is not from: somebody else has written, such as a connection
// that was given up and whose transaction was committed after its successor looked.
func (a *advance) append(s *script, changefeed string) {
	if a == nil {
		return
	}
	if p := &a.from; p.commitTs != 0 {
		s.open()
		s.text = append(s.text, "DELETE FROM `tidbcdc`.`progress` WHERE `changefeed` = "...)
		s.text = appendQuoted(s.text, []byte(changefeed))
		s.text = strconv.AppendInt(append(s.text, " AND `table_id` = "...), p.table, 10)
		s.text = strconv.AppendUint(append(s.text, " AND `commit_ts` = "...), uint64(p.commitTs), 10)
		s.text = strconv.AppendUint(append(s.text, " AND `start_ts` = "...), uint64(p.startTs), 10)
		s.text = append(append(s.text, " AND `put` = "...), '0'+byte(b2i(p.put)))
		s.text = appendQuoted(append(s.text, " AND `row_key` = _binary"...), p.key)
		s.close()
	}
	p := &a.to
	s.open()
	s.text = append(s.text, "INSERT INTO `tidbcdc`.`progress` VALUES ("...)
	s.text = appendQuoted(s.text, []byte(changefeed))
	s.text = strconv.AppendInt(append(s.text, ','), p.table, 10)
	s.text = strconv.AppendUint(append(s.text, ','), uint64(p.commitTs), 10)
	s.text = strconv.AppendUint(append(s.text, ','), uint64(p.startTs), 10)
	s.text = append(s.text, ',', '0'+byte(b2i(p.put)), ',')
	s.text = append(appendQuoted(append(s.text, "_binary"...), p.key), ')')
	s.close()
}

// makeProgressTable creates the table of positions.
func (s *Sink) makeProgressTable(ctx context.Context) error {
	conn, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, statement := range []string{createProgressSchema, createProgressTable} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("create the table of positions for exactly-once: %w", err)
		}
	}
	return nil
}

// readPosition returns the position of a physical table, the zero one if there is
// none yet.
func (w *worker) readPosition(ctx context.Context, table int64) (position, error) {
	p := position{table: table}
	if err := w.connect(ctx); err != nil {
		return p, err
	}
	text := appendQuoted([]byte("SELECT `commit_ts`, `start_ts`, `put`, `row_key` FROM `tidbcdc`.`progress` WHERE `changefeed` = "), []byte(w.sink.cfg.Changefeed))
	text = strconv.AppendInt(append(text, " AND `table_id` = "...), table, 10)
	err := w.conn.QueryRowContext(ctx, string(text)).Scan(&p.commitTs, &p.startTs, &p.put, &p.key)
	if errors.Is(err, sql.ErrNoRows) {
		return p, nil
	}
	if err != nil {
		w.close()
		return p, fmt.Errorf("read the position of table id %d: %w", table, err)
	}
	return p, nil
}
