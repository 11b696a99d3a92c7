package pipeline

import "github.com/tidbcdc/tidbcdc/cdc/event"

// task is what a worker does next: one of a DDL, a checkpoint for the sink, or
// a span's rows.
type task struct {
	ddl *pendingDDL
	// result, of capacity 1, gets the outcome of a DDL that ExecuteDDL asked for.
	result     chan error
	checkpoint event.Ts
	span       *tableSpan
	// transactions: those of all spans that are complete.
	transactions bool
}

// next blocks until there is something to do. It returns false when the
// pipeline stops. A span that it returns is marked as running.
func (p *Pipeline) next() (task, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.mu.stopped:
			return task{}, false
		case len(p.mu.tasks) > 0:
			t := p.mu.tasks[0]
			p.mu.tasks = p.mu.tasks[1:]
			return t, true
		case p.mu.transactionsDue:
			p.mu.transactionsDue = false
			return task{transactions: true}, true
		case len(p.mu.queue) > 0:
			s := p.mu.queue[0]
			p.mu.queue = p.mu.queue[1:]
			s.queued = false
			if s.closed {
				continue
			}
			s.running = true
			return task{span: s}, true
		}
		p.mu.cond.Wait()
	}
}

// wakeSpan queues a span that has pending rows after its resolved ts rose.
func (p *Pipeline) wakeSpan(s *tableSpan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queueLocked(s)
}

// queueLocked queues a span if it has rows and no worker has it. A worker that
// has it looks again when it is done.
func (p *Pipeline) queueLocked(s *tableSpan) {
	if p.cfg.WholeTransactions {
		p.wakeTransactionsLocked()
		return
	}
	if s.queued || s.running || s.closed {
		return
	}
	if rows, _ := s.sorter.Pending(); rows == 0 {
		return
	}
	s.queued = true
	p.mu.queue = append(p.mu.queue, s)
	p.mu.cond.Signal()
}

// settle gives a span back after a worker has written its changes up to written.
func (p *Pipeline) settle(s *tableSpan, written event.Ts) {
	p.mu.Lock()
	if s.interrupt != nil {
		s.interrupt(nil) // or its context would stay for as long as Run
	}
	s.running, s.interrupt = false, nil
	s.written = max(s.written, written)
	if s.closed {
		p.mu.Unlock()
		p.endSpan(s)
		p.notify()
		return
	}
	defer p.mu.Unlock()
	// The resolved ts and the limit may have risen since the worker looked.
	resolved, limit := s.sorter.ResolvedTs(), s.limitLocked()
	switch {
	case s.written < min(resolved, limit):
		p.queueLocked(s)
	case limit < resolved:
		p.mu.blocked[s] = struct{}{}
	}
	p.notify()
}

// raiseLimits notes that all DDLs up to resolved are known, and queues the
// spans that waited for that.
func (p *Pipeline) raiseLimits(resolved event.Ts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.ddlResolved = resolved
	if p.cfg.WholeTransactions {
		p.wakeTransactionsLocked()
	}
	for s := range p.mu.blocked {
		if s.limitLocked() > s.written {
			delete(p.mu.blocked, s)
			p.queueLocked(s)
		}
	}
}
