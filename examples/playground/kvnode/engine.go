package kvnode

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync"

	"github.com/pingcap/badger"
	usconf "github.com/pingcap/tidb/pkg/store/mockstore/unistore/config"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/lockstore"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
)

const (
	memTableSize  = 16 << 20
	numMemTables  = 3
	vlogFileSize  = 16 << 20
	lockStoreSize = 8 << 20
)

// engine is unistore's MVCC engine. Its storage layout: a badger key is the raw
// user key and its version the commit ts; an empty value is a deletion; the user
// meta holds start ts and commit ts. Rollback and Op_Lock records live under keys
// whose first byte is one higher ('n' for 'm', 'u' for 't'). Locks are in memory.
type engine struct {
	conf   usconf.Config
	db     *badger.DB
	locks  *lockstore.MemStore
	bundle *mvcc.DBBundle
	writer *hookWriter
	store  *tikv.MVCCStore
	svr    *tikv.Server

	// open is held for reading by everything that reads db beside the engine,
	// and for writing by close.
	open struct {
		sync.RWMutex
		closed bool
	}

	// committing is held for reading by prewrites from before their transaction may get
	// its commit ts until its locks, or versions, can be seen; see awaitCommits.
	committing sync.RWMutex
}

var errEngineClosed = errors.New("engine is closed")

// openEngine opens the database in dir. The transaction layer comes with start.
func openEngine(dir string, now uint64) (*engine, error) {
	db, err := badger.Open(badgerOptions(filepath.Join(dir, "kv")))
	if err != nil {
		return nil, fmt.Errorf("open badger in %s: %w", dir, err)
	}
	locks := lockstore.NewMemStore(lockStoreSize)
	return &engine{
		conf: usconf.DefaultConf, db: db, locks: locks,
		bundle: &mvcc.DBBundle{DB: db, LockStore: locks, StateTS: now},
	}, nil
}

func badgerOptions(dir string) badger.Options {
	opts := badger.DefaultOptions
	opts.Dir, opts.ValueDir = dir, dir
	opts.ManagedTxns = true
	opts.VolatileMode = true // what a crash leaves behind is never read
	opts.SyncWrites = false
	opts.ValueThreshold = 0 // all values stay in the tables
	opts.ValueLogWriteOptions.WriteBufferSize = 4 << 20
	opts.ValueLogFileSize = vlogFileSize
	opts.ValueLogMaxNumFiles = 3
	opts.MaxMemTableSize = memTableSize
	opts.NumMemtables = numMemTables
	opts.MaxBlockCacheSize, opts.MaxIndexCacheSize = 0, 0 // files are mapped instead

	// No compaction: it loses old versions. sstable.Builder.Reset forgets that
	// offset 0 of the block of old versions means "none", so in every table of one
	// compaction but its first, the first key with old versions loses them. Tables
	// pile up in level 0 instead, which is fine for the life of a playground.
	opts.DoNotCompact = true
	opts.CompactL0WhenClose = false
	opts.NumLevelZeroTables = math.MaxInt32 - 1
	opts.NumLevelZeroTablesStall = math.MaxInt32
	return opts
}

// start builds the transaction layer over writer.
func (e *engine) start(dir string, pd *pdClient, regions *regionMap, h *hub) {
	e.writer = &hookWriter{inner: tikv.NewDBWriter(e.bundle), hub: h, db: e.db}
	e.store = tikv.NewMVCCStore(&e.conf, e.bundle, dir, &tikv.SafePoint{}, e.writer, enginePD{pd})
	e.store.DeadlockDetectSvr.ChangeRole(tikv.Leader)
	e.store.StartDeadlockDetection(false)
	e.svr = tikv.NewServer(regions, e.store, tikv.NewStandAlongInnerServer(e.bundle))
}

// enter keeps the database open until leave. It reports false after close.
func (e *engine) enter() bool {
	e.open.RLock()
	if e.open.closed {
		e.open.RUnlock()
		return false
	}
	return true
}

func (e *engine) leave() { e.open.RUnlock() }

// close ends the transaction layer and then the database.
func (e *engine) close() error {
	e.open.Lock()
	defer e.open.Unlock()
	if e.open.closed {
		return nil
	}
	e.open.closed = true
	if e.svr != nil {
		e.svr.Stop() // closes the database too
		return nil
	}
	return e.db.Close()
}
