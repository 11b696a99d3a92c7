package mysql

import (
	"context"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// writeDDLOnce executes a DDL unless the table of positions says that it has been
// executed. Rows that were written after it are left out when they are delivered
// again, so nothing would bring them back that, say, a second TRUNCATE TABLE
// removed. It is noted before any row after it is written: if that fails, a second
// execution does no harm.
func (s *Sink) writeDDLOnce(ctx context.Context, ddl *event.DDL, execute func() error) error {
	at, err := s.ddlPosition(ctx, ddl)
	if err != nil {
		return err
	}
	if at.commitTs == ddl.CommitTs {
		s.log.Info("DDL was executed before", "table", ddlTarget(ddl), "commit_ts", uint64(ddl.CommitTs))
		return nil
	}
	if err := execute(); err != nil {
		return err
	}
	w, err := s.takeWorker(ctx)
	if err != nil {
		return err
	}
	defer s.giveWorker(w)
	return s.retry(ctx, func() error {
		if err := w.connect(ctx); err != nil {
			return err
		}
		w.script.reset()
		note := advance{at, position{at.table, ddl.CommitTs, ddl.StartTs, true, nil}}
		note.append(&w.script, s.cfg.Changefeed)
		err := w.execute(ctx)
		if isDuplicate(err) {
			return nil // an answer was lost
		}
		return err
	}, func(err error) error {
		return fmt.Errorf("note that DDL job %d is executed: %w", ddl.JobID, withoutValues(err))
	})
}

// ddlPosition returns what is noted of a DDL, the zero position if it was not
// executed.
func (s *Sink) ddlPosition(ctx context.Context, ddl *event.DDL) (at position, err error) {
	w, err := s.takeWorker(ctx)
	if err != nil {
		return at, err
	}
	defer s.giveWorker(w)
	err = s.retry(ctx, func() (err error) {
		at, err = w.readPosition(ctx, -ddl.JobID)
		return err
	}, withoutValues)
	return at, err
}
