package puller

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// frame is a received message in its wire form, in the buffers of gRPC that it came in,
// with scratch for the time it is handled. Its memory is used again for the next
// one of any stream: nothing that outlives the handling may refer to it.
type frame struct {
	message mem.BufferSlice
	at      int    // the piece of message that rest is of
	rest    []byte // what has not been read of it
	left    int    // bytes in rest and in the pieces after it
	scratch []byte // a field that came in several pieces
	rows    []row
}

// maxPooledScratch and maxPooledRows bound what is kept: stores cut events at 32 KiB,
// except a single row that is larger.
const (
	maxPooledScratch = 1 << 20
	maxPooledRows    = 1 << 14
)

// framePool keeps scratch between messages. A stream that waits for a message has
// none, so streams may be many.
type framePool struct{ pool sync.Pool }

// take returns a frame of a message, to which it refers until it is released.
func (p *framePool) take(message mem.BufferSlice) *frame {
	f, _ := p.pool.Get().(*frame)
	if f == nil {
		f = new(frame)
	}
	message.Ref()
	f.message, f.at, f.left = message, -1, message.Len()
	return f
}

// release takes a frame back.
func (p *framePool) release(f *frame) {
	f.message.Free()
	f.message, f.rest = nil, nil
	if cap(f.scratch) <= maxPooledScratch && cap(f.rows) <= maxPooledRows {
		p.pool.Put(f)
	}
}

// next splits the first field off what is left. Its bytes stay as they are until the
// next call.
func (f *frame) next() (wireField, error) {
	var head [2 * binary.MaxVarintLen64]byte
	num, typ, n := protowire.ConsumeTag(f.peek(head[:]))
	if n < 0 {
		return wireField{}, protowire.ParseError(n)
	}
	if typ != protowire.BytesType {
		// No field of a message is of another type. Whatever it is, it ends somewhere.
		field, rest, err := nextField(f.read(f.left))
		f.rest, f.left = rest, len(rest)
		return field, err
	}
	size, m := protowire.ConsumeVarint(f.peek(head[:])[n:])
	if m < 0 {
		return wireField{}, protowire.ParseError(m)
	}
	if size > uint64(f.left-n-m) {
		return wireField{}, errTruncated
	}
	f.read(n + m)
	return wireField{num: num, typ: typ, bytes: f.read(int(size))}, nil //nolint:gosec // not more than is left
}

// peek returns what comes next, as much as there is room for in head.
func (f *frame) peek(head []byte) []byte {
	f.skipEmpty()
	if len(f.rest) >= min(len(head), f.left) {
		return f.rest[:min(len(head), f.left)]
	}
	n := copy(head, f.rest)
	for _, piece := range f.message[f.at+1:] {
		n += copy(head[n:], piece.ReadOnlyData())
	}
	return head[:n]
}

// read returns the next n bytes, which are there.
func (f *frame) read(n int) []byte {
	f.skipEmpty()
	f.left -= n
	if n <= len(f.rest) {
		b := f.rest[:n:n]
		f.rest = f.rest[n:]
		return b
	}
	b := slices.Grow(f.scratch[:0], n)
	for {
		part := f.rest[:min(n-len(b), len(f.rest))]
		b = append(b, part...)
		f.rest = f.rest[len(part):]
		if len(b) == n {
			f.scratch = b
			return b
		}
		f.skipEmpty()
	}
}

// skipEmpty goes on to the next piece if nothing is left of the present one.
func (f *frame) skipEmpty() {
	for len(f.rest) == 0 && f.at+1 < len(f.message) {
		f.at++
		f.rest = f.message[f.at].ReadOnlyData()
	}
}

// frameCodec leaves the decoding of messages to the stream: the generated code
// allocates a struct and three slices for every row, which costs more than all
// the rest of receiving it.
type frameCodec struct{ frames *framePool }

// Name makes the content type a plain application/grpc, as without a codec.
func (frameCodec) Name() string { return "" }

// Marshal encodes a request.
func (frameCodec) Marshal(v any) (mem.BufferSlice, error) {
	req, ok := v.(*cdcpb.ChangeDataRequest)
	if !ok {
		return nil, fmt.Errorf("encode request: unexpected type %T", v)
	}
	data, err := req.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}, nil
}

// Unmarshal makes a frame of the message.
func (c frameCodec) Unmarshal(message mem.BufferSlice, v any) error {
	f, ok := v.(**frame)
	if !ok {
		return fmt.Errorf("receive message: unexpected type %T", v)
	}
	*f = c.frames.take(message)
	return nil
}
