package rowcodec

const (
	firstChunk = 256
	maxChunk   = 16 << 10
)

// arena hands out small byte slices cut from chunks. It never reuses memory,
// because texts that point into it may outlive the batch.
type arena struct {
	free  []byte
	chunk int
}

func (a *arena) alloc(n int) []byte {
	if n > len(a.free) {
		a.chunk = min(max(2*a.chunk, firstChunk), maxChunk)
		a.free = make([]byte, max(n, a.chunk))
	}
	out := a.free[:n:n]
	a.free = a.free[n:]
	return out
}
