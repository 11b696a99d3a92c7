package kvnode

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/pingcap/badger"
	usconf "github.com/pingcap/tidb/pkg/store/mockstore/unistore/config"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/lockstore"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv"
	"github.com/pingcap/tidb/pkg/store/mockstore/unistore/tikv/mvcc"
)

const (
	memTableSize  = 12 << 20
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
}

var errEngineClosed = errors.New("engine is closed")

// openEngine opens the database in dir. The transaction layer comes with start.
func openEngine(dir string, now uint64) (*engine, *tikv.SafePoint, error) {
	conf := usconf.DefaultConf
	conf.Server.Raft = false
	conf.Engine.DBPath = dir
	conf.Engine.ValueThreshold = 0
	conf.Engine.VolatileMode = true
	conf.Engine.MaxMemTableSize = memTableSize
	conf.Engine.VlogFileSize = vlogFileSize
	conf.Engine.SyncWrite = false
	conf.Engine.NumCompactors = 1
	conf.Engine.CompactL0WhenClose = false

	safePoint := &tikv.SafePoint{}
	db, err := badger.Open(badgerOptions(dir, safePoint, &conf.Engine))
	if err != nil {
		return nil, nil, fmt.Errorf("open badger in %s: %w", dir, err)
	}
	locks := lockstore.NewMemStore(lockStoreSize)
	return &engine{
		conf: conf, db: db, locks: locks,
		bundle: &mvcc.DBBundle{DB: db, LockStore: locks, StateTS: now},
	}, safePoint, nil
}

// badgerOptions are those of unistore's own server, which keeps them private.
func badgerOptions(dir string, sp *tikv.SafePoint, conf *usconf.Engine) badger.Options {
	opts := badger.DefaultOptions
	opts.NumCompactors = conf.NumCompactors
	opts.ValueThreshold = conf.ValueThreshold
	opts.ManagedTxns = true
	opts.ValueLogWriteOptions.WriteBufferSize = 4 << 20
	opts.Dir = filepath.Join(dir, "kv")
	opts.ValueDir = opts.Dir
	opts.ValueLogFileSize = conf.VlogFileSize
	opts.ValueLogMaxNumFiles = 3
	opts.MaxMemTableSize = conf.MaxMemTableSize
	opts.TableBuilderOptions.MaxTableSize = conf.MaxTableSize
	opts.NumMemtables = conf.NumMemTables
	opts.NumLevelZeroTables = conf.NumL0Tables
	opts.NumLevelZeroTablesStall = conf.NumL0TablesStall
	opts.LevelOneSize = conf.L1Size
	opts.SyncWrites = conf.SyncWrite
	opts.MaxBlockCacheSize = conf.BlockCacheSize
	opts.MaxIndexCacheSize = conf.IndexCacheSize
	opts.TableBuilderOptions.SuRFStartLevel = conf.SurfStartLevel
	opts.CompactionFilterFactory = sp.CreateCompactionFilter
	opts.CompactL0WhenClose = conf.CompactL0WhenClose
	opts.VolatileMode = conf.VolatileMode
	return opts
}

// start builds the transaction layer over writer.
func (e *engine) start(dir string, sp *tikv.SafePoint, pd *pdClient, regions *regionMap, h *hub) {
	e.writer = &hookWriter{inner: tikv.NewDBWriter(e.bundle), hub: h, db: e.db}
	e.store = tikv.NewMVCCStore(&e.conf, e.bundle, dir, sp, e.writer, enginePD{pd})
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
