package consumer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/s2"
	"github.com/pierrec/lz4/v4"

	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// maxMessage bounds what a compressed value or a claim check may become in memory.
const maxMessage = 256 << 20

// preparer is a decoder that needs I/O before it decodes.
type preparer interface {
	Prepare(ctx context.Context, key, value []byte) error
}

// messageDecoder turns the messages of a partition into events, whole ones if claim
// checks say where these are.
type messageDecoder struct {
	cfg     *Config
	decoder codec.Decoder
}

func newMessageDecoder(cfg *Config, tables *descriptions) (*messageDecoder, error) {
	if cfg.described() {
		d := &describedDecoder{Decoder: cfg.newDescribed(tables.table), tables: tables, describe: cfg.Describe}
		return &messageDecoder{cfg: cfg, decoder: d}, nil
	}
	d, err := cfg.NewDecoder()
	if err != nil {
		return nil, fmt.Errorf("make a decoder: %w", err)
	}
	return &messageDecoder{cfg: cfg, decoder: d}, nil
}

// events returns what a message says.
func (d *messageDecoder) events(ctx context.Context, key, value []byte) ([]codec.Event, error) {
	value, err := decompress(value, d.cfg.LargeMessage.Compression)
	if err != nil {
		return nil, err
	}
	if p, ok := d.decoder.(preparer); ok {
		if err := p.Prepare(ctx, key, value); err != nil {
			return nil, err
		}
	}
	events, err := d.decoder.Decode(key, value)
	if err != nil {
		return nil, err
	}
	for i := range events {
		if events[i].ClaimCheck == "" {
			continue
		}
		whole, err := d.claim(ctx, events[i].ClaimCheck)
		if err != nil {
			return nil, fmt.Errorf("claim check of a row of %s at ts %d: %w", events[i].Row.Table.Name(), events[i].Row.CommitTs, err)
		}
		events[i] = whole
	}
	return events, nil
}

// claim reads the message that a claim check stands for: one row.
func (d *messageDecoder) claim(ctx context.Context, location string) (codec.Event, error) {
	storage := d.cfg.LargeMessage.StorageURI
	if storage == "" {
		storage = strings.TrimSuffix(location, "/"+path.Base(location))
	}
	if d.cfg.LargeMessage.OpenBucket == nil {
		return codec.Event{}, errors.New("nothing opens its storage")
	}
	bucket, err := d.cfg.LargeMessage.OpenBucket(ctx, storage)
	if err != nil {
		return codec.Event{}, fmt.Errorf("open its storage: %w", err)
	}
	defer bucket.Close()
	content, err := bucket.ReadAll(ctx, path.Base(location))
	if err != nil {
		return codec.Event{}, fmt.Errorf("read it: %w", err)
	}
	m := struct{ Key, Value []byte }{nil, content}
	if !d.cfg.LargeMessage.RawValue {
		m.Value = nil
		if err := json.Unmarshal(content, &m); err != nil {
			return codec.Event{}, errors.New("it is not an object of key and value: is claim-check-raw-value set?")
		}
	}
	value, err := decompress(m.Value, d.cfg.LargeMessage.Compression)
	if err != nil {
		return codec.Event{}, err
	}
	events, err := d.decoder.Decode(m.Key, value)
	if err != nil {
		return codec.Event{}, err
	}
	if len(events) != 1 || events[0].Row == nil || events[0].ClaimCheck != "" {
		return codec.Event{}, errors.New("it is not the message of one row")
	}
	return events[0], nil
}

// decompress is the inverse of what large-message-handle-compression does.
func decompress(value []byte, name string) ([]byte, error) {
	if value == nil || name == "" {
		return value, nil
	}
	switch name {
	case "snappy":
		if n, err := s2.DecodedLen(value); err != nil || n > maxMessage {
			return nil, errors.New("the value is not compressed with snappy: look at large-message-handle-compression")
		}
		out, err := s2.Decode(nil, value)
		if err != nil {
			return nil, errors.New("the value is not compressed with snappy: look at large-message-handle-compression")
		}
		return out, nil
	case "lz4":
		out, err := io.ReadAll(io.LimitReader(lz4.NewReader(bytes.NewReader(value)), maxMessage+1))
		if err != nil || len(out) > maxMessage {
			return nil, errors.New("the value is not compressed with lz4: look at large-message-handle-compression")
		}
		return out, nil
	}
	return nil, fmt.Errorf("compression %q is not known", name)
}
