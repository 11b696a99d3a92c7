package spill

// NewRun returns a run over the bytes of a file that nobody wrote.
func NewRun(files Files, size int64) *Run {
	return &Run{file: &file{store: NewStore(Config{Files: files}), name: "given"}, end: size}
}

// Seal gives the block that begins at an offset of b, which has room for a
// header, the checksum that it should have.
func Seal(b []byte, offset, length, valuesBehind int) {
	sealBlock(int64(offset), b[offset:offset+headerSize+length], valuesBehind)
}
