package puller

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// rangeTask is the duty to get a range of a subscription locked by regions. At any time
// every unlocked key has a task: queued, in a worker, or waiting in the rangeLock.
type rangeTask struct {
	keyRange
	sub     *Subscription
	attempt int // quick failures so far
	// again, if not nil, is a region that failed in a way that does not suggest
	// that it has changed; it is tried first, without asking PD.
	again *region

	due time.Time
}

// taskQueue holds tasks until they are due. It is unbounded as a container; its
// length is bounded by the number of ranges. Before run is called it only collects.
type taskQueue struct {
	mu    sync.Mutex
	tasks taskHeap
	wake  chan struct{} // capacity 1: the first task may have changed
	ready chan *rangeTask
}

func newTaskQueue() *taskQueue {
	return &taskQueue{wake: make(chan struct{}, 1), ready: make(chan *rangeTask)}
}

// push adds a task that is due after the delay. It does not block.
func (q *taskQueue) push(t *rangeTask, delay time.Duration) {
	t.due = time.Now().Add(delay)
	q.mu.Lock()
	heap.Push(&q.tasks, t)
	first := q.tasks[0] == t
	q.mu.Unlock()
	if first {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// pop removes the first task if it is due, and otherwise returns how long that
// takes; a negative duration if there is none.
func (q *taskQueue) pop() (*rangeTask, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.tasks) == 0 {
		return nil, -1
	}
	if d := time.Until(q.tasks[0].due); d > 0 {
		return nil, d
	}
	return heap.Pop(&q.tasks).(*rangeTask), 0
}

// run hands due tasks to the readers of ready, until ctx ends.
func (q *taskQueue) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		task, wait := q.pop()
		if task != nil {
			select {
			case q.ready <- task:
			case <-ctx.Done():
				return
			}
			continue
		}
		if wait < 0 {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-q.wake:
		case <-ctx.Done():
			return
		}
	}
}

// taskHeap orders tasks by due time, for container/heap.
type taskHeap []*rangeTask

func (h taskHeap) Len() int           { return len(h) }
func (h taskHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h taskHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *taskHeap) Push(x any)        { *h = append(*h, x.(*rangeTask)) }
func (h *taskHeap) Pop() any {
	old := *h
	n := len(old) - 1
	t := old[n]
	old[n] = nil
	*h = old[:n]
	return t
}
