package event

// Op is what a committed change did to its key.
type Op uint8

const (
	// OpPut wrote a value.
	OpPut Op = iota + 1
	// OpDelete removed the key.
	OpDelete
)

// String returns "put" or "delete".
func (o Op) String() string {
	switch o {
	case OpPut:
		return "put"
	case OpDelete:
		return "delete"
	}
	return "unknown op"
}

// RawKV is one committed change as TiKV stores it.
type RawKV struct {
	Op Op
	// Key is the raw key: t{table id}_r{handle} for a row.
	Key []byte
	// Value is the new value; empty for a delete.
	Value []byte
	// OldValue is the value before the change; empty if there was none.
	OldValue          []byte
	StartTs, CommitTs Ts
}
