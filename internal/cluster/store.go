package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Store keeps changefeeds in etcd for the owner. Writes fail with ErrNotOwner once
// its leadership is over.
type Store struct{ lead *Leadership }

// Store returns the cluster's.
func (l *Leadership) Store() *Store { return &Store{l} }

// Records returns what was put for each changefeed.
func (s *Store) Records(ctx context.Context) (map[string]json.RawMessage, error) {
	prefix := s.lead.node.keys.changefeeds()
	resp, err := s.get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("load changefeeds from etcd: %w", err)
	}
	out := map[string]json.RawMessage{}
	for _, kv := range resp.Kvs {
		if id, ok := strings.CutSuffix(strings.TrimPrefix(string(kv.Key), prefix), "/spec"); ok {
			out[id] = kv.Value
		}
	}
	return out, nil
}

func (s *Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, s.lead.node.cfg.TTL/2)
	defer cancel()
	return s.lead.node.cfg.Client.Get(ctx, key, opts...)
}

// PutRecord adds or replaces the record of a changefeed.
func (s *Store) PutRecord(ctx context.Context, changefeed string, record json.RawMessage) error {
	key := s.lead.node.keys.changefeed(changefeed).spec()
	if err := s.lead.commit(ctx, nil, clientv3.OpPut(key, string(record))); err != nil {
		return fmt.Errorf("store changefeed %s: %w", changefeed, err)
	}
	return nil
}

// Delete removes all that is known of a changefeed, which does not run.
func (s *Store) Delete(ctx context.Context, changefeed string) error {
	err := s.lead.commit(ctx, nil, clientv3.OpDelete(string(s.lead.node.keys.changefeed(changefeed)), clientv3.WithPrefix()))
	if err != nil {
		return fmt.Errorf("delete changefeed %s: %w", changefeed, err)
	}
	return nil
}

// Load returns the checkpoint of a changefeed, 0 if there is none.
func (s *Store) Load(ctx context.Context, changefeed string) (event.Ts, error) {
	resp, err := s.get(ctx, s.lead.node.keys.changefeed(changefeed).status())
	if err != nil {
		return 0, fmt.Errorf("load checkpoint of changefeed %s from etcd: %w", changefeed, err)
	}
	if len(resp.Kvs) == 0 {
		return 0, nil
	}
	var st feedStatus
	if err := json.Unmarshal(resp.Kvs[0].Value, &st); err != nil {
		return 0, fmt.Errorf("decode checkpoint of changefeed %s in etcd: %w", changefeed, err)
	}
	return st.CheckpointTs, nil
}

// Save stores the checkpoint of a changefeed.
func (s *Store) Save(ctx context.Context, changefeed string, ts event.Ts) error {
	value, err := json.Marshal(feedStatus{CheckpointTs: ts})
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	key := s.lead.node.keys.changefeed(changefeed).status()
	if err := s.lead.commit(ctx, nil, clientv3.OpPut(key, string(value))); err != nil {
		return fmt.Errorf("store checkpoint of changefeed %s: %w", changefeed, err)
	}
	return nil
}
