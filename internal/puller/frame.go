package puller

import (
	"fmt"
	"sync"

	"github.com/pingcap/kvproto/pkg/cdcpb"
	"google.golang.org/grpc/mem"
)

// frame is a received message in its wire form, with scratch for the time it is
// handled. Its memory is used again for the next one of any stream: nothing that
// outlives the handling may refer to it.
type frame struct {
	data []byte
	rows []row
}

// maxPooledFrame and maxPooledRows bound what is kept: stores cut messages at
// 6 MiB and events at 32 KiB, except a single row that is larger.
const (
	maxPooledFrame = 8 << 20
	maxPooledRows  = 1 << 14
)

// framePool keeps the memory of frames between messages. A stream that waits for
// a message has none, so streams may be many and messages large. The pools of
// gRPC would do, but clear what they give out: a megabyte for 40 KiB.
type framePool struct{ pool sync.Pool }

// fill returns a frame with a copy of a message.
func (p *framePool) fill(message mem.BufferSlice) *frame {
	f, _ := p.pool.Get().(*frame)
	if f == nil {
		f = new(frame)
	}
	size := message.Len()
	if cap(f.data) < size {
		f.data = make([]byte, size)
	}
	f.data = f.data[:size]
	message.CopyTo(f.data)
	return f
}

// release takes a frame back.
func (p *framePool) release(f *frame) {
	if cap(f.data) <= maxPooledFrame && cap(f.rows) <= maxPooledRows {
		p.pool.Put(f)
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

// Unmarshal copies the message to a new frame: gRPC uses its buffers again afterwards.
func (c frameCodec) Unmarshal(message mem.BufferSlice, v any) error {
	f, ok := v.(**frame)
	if !ok {
		return fmt.Errorf("receive message: unexpected type %T", v)
	}
	*f = c.frames.fill(message)
	return nil
}
