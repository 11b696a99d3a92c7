package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// tidbUsers lets users of the upstream's TiDB in: whoever can log in there with the
// name and the password, if the name is among those that are allowed.
type tidbUsers struct {
	etcd    *clientv3.Client
	allowed []string

	mu sync.Mutex
	// known are hashes of credentials that were right, with the time until which
	// that is believed: a TiDB is not asked for every request.
	known map[[sha256.Size]byte]time.Time
}

// trustCredentials is for how long credentials that were right stay so.
const trustCredentials = time.Minute

var (
	errUserNotAllowed = errors.New("the user is not among client-allowed-user")
	errNoTiDB         = errors.New("no TiDB could be asked")
)

// authenticate is apiserver.Options.Authenticate.
func (u *tidbUsers) authenticate(ctx context.Context, user, password string) error {
	if !slices.Contains(u.allowed, user) {
		return errUserNotAllowed
	}
	hash := sha256.Sum256([]byte(user + "\x00" + password))
	if u.trusted(hash) {
		return nil
	}
	addrs, err := u.tidbs(ctx)
	if err != nil {
		return err
	}
	errs := []error{errNoTiDB}
	for _, addr := range addrs {
		err := logIn(ctx, addr, user, password)
		if err == nil {
			u.trust(hash)
			return nil
		}
		if refused := (*mysql.MySQLError)(nil); errors.As(err, &refused) {
			return fmt.Errorf("TiDB refuses the user: error %d", refused.Number)
		}
		errs = append(errs, fmt.Errorf("TiDB at %s: %w", addr, err))
	}
	return errors.Join(errs...)
}

func (u *tidbUsers) trusted(hash [sha256.Size]byte) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return time.Now().Before(u.known[hash])
}

func (u *tidbUsers) trust(hash [sha256.Size]byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if u.known == nil {
		u.known = map[[sha256.Size]byte]time.Time{}
	}
	for h, until := range u.known {
		if now.After(until) {
			delete(u.known, h)
		}
	}
	u.known[hash] = now.Add(trustCredentials)
}

// tidbs returns the addresses of the upstream's TiDB servers, which they keep in
// PD's etcd under /topology/tidb/{address}/info.
func (u *tidbUsers) tidbs(ctx context.Context) ([]string, error) {
	const prefix = "/topology/tidb/"
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := u.etcd.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("look TiDB servers up in PD: %w", err)
	}
	var addrs []string
	for _, kv := range resp.Kvs {
		if addr, ok := strings.CutSuffix(strings.TrimPrefix(string(kv.Key), prefix), "/info"); ok {
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

func logIn(ctx context.Context, addr, user, password string) error {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.TLSConfig, cfg.Timeout = "tcp", addr, user, password, "preferred", 5*time.Second
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	return db.PingContext(ctx)
}
