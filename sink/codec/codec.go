// Package codec is the contract between encoders of changes and sinks that send
// messages. Each protocol has a package of its own below; they deal in bytes and
// do no I/O.
//
// An Encoder appends to a Messages, which a sink reuses: encoding in the steady
// state allocates next to nothing. A Decoder turns messages back into changes.
//
// Encoders write all columns of a row's table. To leave some out, hand them rows of
// a table without these; they prepare what they need once for each *TableInfo, so
// that there should be one for each version of the table, not one for each row.
package codec

import (
	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// Encoder writes changes in a protocol. It is not safe for concurrent use: a
// sink makes one for each of its goroutines. An error names the table, the
// column and the commit ts, and nothing has been appended then.
type Encoder interface {
	// AppendRows appends the messages of rows that go to one partition of topic,
	// in their order. A protocol that can hold several rows in a message does so,
	// as far as the limits in its Config allow; a single row beyond that makes a
	// message of its own that is too large: the sink looks at Message.Size.
	AppendRows(dst *Messages, topic string, rows []*event.RowChanged) error
	// AppendDDL appends the messages of a DDL, none if the protocol has none for it.
	AppendDDL(dst *Messages, topic string, ddl *event.DDL) error
	// AppendWatermark appends the message that says that every change with a commit
	// ts at or below ts has been sent, none if the protocol has no such message.
	AppendWatermark(dst *Messages, topic string, ts event.Ts) error
}

// LargeRowEncoder is an Encoder that can stand in for a row whose message would
// be too large.
type LargeRowEncoder interface {
	Encoder
	// AppendHandleKey appends a message with only the handle key of the row.
	AppendHandleKey(dst *Messages, topic string, row *event.RowChanged) error
	// AppendClaimCheck appends a message that says where the whole message of the
	// row has been stored.
	AppendClaimCheck(dst *Messages, topic string, row *event.RowChanged, location string) error
}

// Decoder reads the messages of a protocol: the values of a topic's partition, in
// order. It is not safe for concurrent use.
type Decoder interface {
	// Decode returns the events of one message, in order; key is nil if the
	// message has none. The events are the caller's. Tables are described as far as
	// the protocol tells: names, types and handle key of columns, no ids.
	Decode(key, value []byte) ([]Event, error)
}

// Event is one thing that a message says. Exactly one of Row, DDL and Watermark
// is set.
type Event struct {
	Row       *event.RowChanged
	DDL       *event.DDL
	Watermark event.Ts
	// HandleKeyOnly: Row has only the columns of its handle key, because the whole
	// message was too large; the others are NULL.
	HandleKeyOnly bool
	// ClaimCheck is where the whole message of Row is stored, if it is not this one,
	// whose Row has only the columns of its handle key then.
	ClaimCheck string
}

// Messages holds encoded messages back to back. The zero value is ready for use.
type Messages struct {
	buf      []byte
	messages []extent
}

// extent is where a message lies in the buffer: its key, then its value.
type extent struct {
	start, value, end int
	rows              int
	hasKey, hasValue  bool
	commitTs          event.Ts
}

// Message is one encoded message.
type Message struct {
	// Key and Value lie in the Messages' buffer and are valid until it is changed.
	// Key is nil in a protocol without keys. A nil Value is a tombstone.
	Key, Value []byte
	// Rows is the number of rows in it: 0 for a DDL or a watermark.
	Rows int
	// CommitTs is that of the last change in it.
	CommitTs event.Ts
}

// Size is the number of bytes of key and value.
func (m *Message) Size() int { return len(m.Key) + len(m.Value) }

// Reset empties m and keeps its memory.
func (m *Messages) Reset() { m.buf, m.messages = m.buf[:0], m.messages[:0] }

// Len returns the number of messages.
func (m *Messages) Len() int { return len(m.messages) }

// Bytes returns the number of bytes of all messages.
func (m *Messages) Bytes() int { return len(m.buf) }

// At returns message i.
func (m *Messages) At(i int) Message {
	e := m.messages[i]
	out := Message{Rows: e.rows, CommitTs: e.commitTs}
	if e.hasKey {
		out.Key = m.buf[e.start:e.value:e.value]
	}
	if e.hasValue {
		out.Value = m.buf[e.value:e.end:e.end]
	}
	return out
}

// Truncate drops the messages from i on.
func (m *Messages) Truncate(i int) {
	if i < len(m.messages) {
		m.buf = m.buf[:m.messages[i].start]
		m.messages = m.messages[:i]
	}
}

// Buffer returns the buffer for an encoder to append a message to: its key,
// then its value. Append ends the message.
func (m *Messages) Buffer() []byte { return m.buf }

// Append takes buf, which is what Buffer returned with a message appended to it.
// keyBytes is the length of the message's key, -1 if it has none. valueBytes is
// what follows, -1 for a tombstone.
func (m *Messages) Append(buf []byte, keyBytes, valueBytes, rows int, commitTs event.Ts) {
	start := len(m.buf)
	value := start + max(keyBytes, 0)
	m.buf = buf
	m.messages = append(m.messages, extent{
		start: start, value: value, end: value + max(valueBytes, 0),
		hasKey: keyBytes >= 0, hasValue: valueBytes >= 0, rows: rows, commitTs: commitTs,
	})
}
