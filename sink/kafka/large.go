package kafka

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/klauspost/compress/s2"
	"github.com/pierrec/lz4/v4"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/sink"
	"github.com/tidbcdc/tidbcdc/sink/codec"
)

// exceededBy reports whether a message is too large for the topic.
func (t *topic) exceededBy(m *codec.Message) bool { return m.Size()+recordOverhead > t.maxBytes }

func (s *Sink) tooLarge(t *topic, m *codec.Message, what string) error {
	return sink.Permanent(fmt.Errorf(
		"%w: that of %s with commit ts %d has %d bytes, topic %s takes %d: raise max-message-bytes and the topic's max.message.bytes, or set large-message-handle-option",
		sink.ErrMessageTooLarge, what, m.CommitTs, m.Size()+recordOverhead, t.name, t.maxBytes))
}

// fit sets the runs of a part: its messages, compressed if that is configured, and in
// place of those that are too large what stands for them.
func (s *Sink) fit(ctx context.Context, e codec.Encoder, p *part) error {
	m, err := s.compressValues(p.messages)
	if err != nil {
		return err
	}
	begin, row := 0, 0
	for i := range m.Len() {
		msg := m.At(i)
		rows := p.rows[min(row, len(p.rows)):min(row+msg.Rows, len(p.rows))]
		row += msg.Rows
		if !p.topic.exceededBy(&msg) {
			continue
		}
		if begin < i {
			p.runs = append(p.runs, run{m, begin, i})
		}
		begin = i + 1
		small, err := s.shrink(ctx, e, p.topic, rows, &msg)
		if err != nil {
			return err
		}
		p.runs = append(p.runs, run{small, 0, small.Len()})
	}
	if begin < m.Len() {
		p.runs = append(p.runs, run{m, begin, m.Len()})
	}
	return nil
}

// shrink returns smaller messages for rows whose common message is too large: one
// each, and if that is still too large, one that is not whole.
func (s *Sink) shrink(
	ctx context.Context, e codec.Encoder, t *topic, rows []*event.RowChanged, large *codec.Message,
) (*codec.Messages, error) {
	out := &codec.Messages{}
	if len(rows) == 0 {
		return nil, s.tooLarge(t, large, "rows") // a message about no row
	}
	for _, row := range rows {
		one := &codec.Messages{}
		if len(rows) > 1 {
			if err := e.AppendRows(one, t.name, []*event.RowChanged{row}); err != nil {
				return nil, sink.Permanent(err)
			}
			var err error
			if one, err = s.compressValues(one); err != nil {
				return nil, err
			}
		} else {
			appendMessage(one, large)
		}
		for i := range one.Len() {
			m := one.At(i)
			if !t.exceededBy(&m) {
				appendMessage(out, &m)
				continue
			}
			if err := s.replaceLarge(ctx, e, t, out, row, &m); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// replaceLarge appends what stands for the message of a row.
func (s *Sink) replaceLarge(
	ctx context.Context, e codec.Encoder, t *topic, dst *codec.Messages, row *event.RowChanged, m *codec.Message,
) error {
	what := "a row of " + row.Table.Schema + "." + row.Table.Table
	encoder, ok := e.(codec.LargeRowEncoder)
	if !ok || s.cfg.LargeMessage.Handling == RefuseLarge {
		return s.tooLarge(t, m, what)
	}
	small := &codec.Messages{}
	var err error
	if s.cfg.LargeMessage.Handling == ClaimCheck {
		var location string
		if location, err = s.store(ctx, m); err != nil {
			return err
		}
		err = encoder.AppendClaimCheck(small, t.name, row, location)
	} else {
		err = encoder.AppendHandleKey(small, t.name, row)
	}
	if err != nil {
		return sink.Permanent(err)
	}
	if small, err = s.compressValues(small); err != nil {
		return err
	}
	for i := range small.Len() {
		short := small.At(i)
		if t.exceededBy(&short) {
			return s.tooLarge(t, &short, "the handle key of "+what)
		}
		appendMessage(dst, &short)
	}
	return nil
}

// store puts a message into the claim check's storage, and returns where.
func (s *Sink) store(ctx context.Context, m *codec.Message) (string, error) {
	content := m.Value
	if !s.cfg.LargeMessage.RawValue {
		var err error
		if content, err = json.Marshal(struct {
			Key   []byte `json:"key"`
			Value []byte `json:"value"`
		}{m.Key, m.Value}); err != nil {
			return "", fmt.Errorf("encode a claim check: %w", err)
		}
	}
	name := uuid.NewString() + ".json"
	if err := s.bucket.WriteAll(ctx, name, content, nil); err != nil {
		return "", fmt.Errorf("store a large message: %w", err)
	}
	base, _, _ := strings.Cut(s.cfg.LargeMessage.StorageURI, "?")
	return strings.TrimSuffix(base, "/") + "/" + name, nil
}

func appendMessage(dst *codec.Messages, m *codec.Message) {
	buf := append(append(dst.Buffer(), m.Key...), m.Value...)
	key, value := len(m.Key), len(m.Value)
	if m.Key == nil {
		key = -1
	}
	if m.Value == nil {
		value = -1
	}
	dst.Append(buf, key, value, m.Rows, m.CommitTs)
}

// compressValues returns the messages with compressed values, if that is configured.
func (s *Sink) compressValues(m *codec.Messages) (*codec.Messages, error) {
	if s.cfg.LargeMessage.Compression == "" {
		return m, nil
	}
	out := &codec.Messages{}
	var value []byte
	for i := range m.Len() {
		msg := m.At(i)
		if msg.Value != nil {
			var err error
			if value, err = compressValue(value[:0], msg.Value, s.cfg.LargeMessage.Compression); err != nil {
				return nil, err
			}
			msg.Value = value
		}
		appendMessage(out, &msg)
	}
	return out, nil
}

// compressValue compresses as TiCDC does: a block of Snappy, or a frame of LZ4.
func compressValue(dst, value []byte, name string) ([]byte, error) {
	switch name {
	case "snappy":
		return s2.EncodeSnappy(dst[:cap(dst)], value), nil
	case "lz4":
		var b bytes.Buffer
		w := lz4.NewWriter(&b)
		if _, err := w.Write(value); err != nil {
			return nil, fmt.Errorf("compress a message: %w", err)
		}
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("compress a message: %w", err)
		}
		return append(dst, b.Bytes()...), nil
	}
	return nil, fmt.Errorf("compress a message: %q is not known", name)
}
