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
		"`table_id` BIGINT NOT NULL COMMENT 'physical table upstream', " +
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

// appendStatement appends the statement that stores the position.
func (p *position) appendStatement(dst []byte, changefeed string) []byte {
	dst = append(dst, "REPLACE INTO `tidbcdc`.`progress` VALUES ("...)
	dst = appendQuoted(dst, []byte(changefeed))
	dst = strconv.AppendInt(append(dst, ','), p.table, 10)
	dst = strconv.AppendUint(append(dst, ','), uint64(p.commitTs), 10)
	dst = strconv.AppendUint(append(dst, ','), uint64(p.startTs), 10)
	dst = append(dst, ',', '0'+byte(b2i(p.put)), ',')
	dst = appendQuoted(append(dst, "_binary"...), p.key)
	return append(dst, ')')
}

// move adds the statements that take the position to another, to be executed
// before rows are written. They fail, as for a duplicate key, if the downstream's
// position is not p: a process or a connection that was given up may have written
// on, and its transaction may be committed after its successor has looked.
func (p *position) move(s *script, changefeed string, to position) {
	if p.commitTs != 0 {
		s.open()
		s.text = append(s.text, "DELETE FROM `tidbcdc`.`progress` WHERE `changefeed` = "...)
		s.text = appendQuoted(s.text, []byte(changefeed))
		s.text = strconv.AppendInt(append(s.text, " AND `table_id` = "...), p.table, 10)
		s.text = strconv.AppendUint(append(s.text, " AND `commit_ts` = "...), uint64(p.commitTs), 10)
		s.text = strconv.AppendUint(append(s.text, " AND `start_ts` = "...), uint64(p.startTs), 10)
		s.text = append(s.text, " AND `put` = "...)
		s.text = append(s.text, '0'+byte(b2i(p.put)))
		s.text = appendQuoted(append(s.text, " AND `row_key` = _binary"...), p.key)
		s.close()
	}
	s.open()
	s.text = append(s.text, "INSERT INTO `tidbcdc`.`progress` VALUES ("...)
	s.text = appendQuoted(s.text, []byte(changefeed))
	s.text = strconv.AppendInt(append(s.text, ','), to.table, 10)
	s.text = strconv.AppendUint(append(s.text, ','), uint64(to.commitTs), 10)
	s.text = strconv.AppendUint(append(s.text, ','), uint64(to.startTs), 10)
	s.text = append(s.text, ',', '0'+byte(b2i(to.put)), ',')
	s.text = appendQuoted(append(s.text, "_binary"...), to.key)
	s.text = append(s.text, ')')
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
