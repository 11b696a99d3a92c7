package rowcodec

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tidbcdc/tidbcdc/cdc/event"
)

// A record key is t{table id}_r{handle}. The handle is a comparable int64 of
// eight bytes, or the columns of a clustered primary key (a common handle),
// which is never that short.
const (
	signMask     = 1 << 63
	tableIDStart = 1
	tableIDEnd   = tableIDStart + 8
	handleStart  = tableIDEnd + len("_r")
	intHandle    = 8
)

// Flags in front of each value in a common handle and in row format v1.
const (
	flagNull         = 0x00
	flagBytes        = 0x01 // groups of eight, comparable
	flagCompactBytes = 0x02
	flagInt          = 0x03 // comparable, eight bytes
	flagUint         = 0x04
	flagFloat        = 0x05
	flagDecimal      = 0x06
	flagDuration     = 0x07
	flagVarint       = 0x08
	flagUvarint      = 0x09
	flagJSON         = 0x0a
	flagVector       = 0x14
)

// ErrNotRow is the error for a key that is not a row's: an index entry, or
// outside of every table.
var ErrNotRow = errors.New("key is not of a row")

// PhysicalTableID returns the id in a row's key: that of the table, or of the
// partition that holds the row. Other keys give [ErrNotRow].
func PhysicalTableID(key []byte) (int64, error) {
	if _, err := handleBytes(key); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(key[tableIDStart:]) ^ signMask), nil
}

// handleBytes returns the handle within a row's key.
func handleBytes(key []byte) ([]byte, error) {
	if len(key) < handleStart+intHandle || key[0] != 't' || key[tableIDEnd] != '_' || key[tableIDEnd+1] != 'r' {
		return nil, ErrNotRow
	}
	return key[handleStart:], nil
}

// handle tells which columns stand in a row's key.
type handle struct {
	// common: the columns are those of a clustered primary key, in order. Else
	// there is one column, the integer primary key, or none: the handle is a
	// hidden row id.
	common  bool
	columns []keyColumn
}

type keyColumn struct {
	slot int
	// prefix: the key holds only the start of the value.
	prefix bool
	// stored: the row normally holds the column too, because the key has a
	// prefix or, if the cluster uses new collations, a sort key of it.
	stored bool
	// lossy: the key's form, a sort key, may not be turned back into the value.
	lossy bool
}

func newHandle(t *event.TableInfo) (handle, error) {
	switch {
	case t.PKIsHandle:
		for i := range t.Columns {
			if t.Columns[i].Flag&event.FlagPrimaryKey != 0 {
				return handle{columns: []keyColumn{{slot: i}}}, nil
			}
		}
		return handle{}, errors.New("no column of the integer primary key")
	case t.IsCommonHandle:
		for i := range t.Indexes {
			if t.Indexes[i].Primary {
				return commonHandle(t, &t.Indexes[i])
			}
		}
		return handle{}, errors.New("no index of the clustered primary key")
	}
	return handle{}, nil
}

func commonHandle(t *event.TableInfo, pk *event.IndexInfo) (handle, error) {
	h := handle{common: true}
	for _, c := range pk.Columns {
		if c.Offset < 0 || c.Offset >= len(t.Columns) {
			return h, fmt.Errorf("primary key column %q is not stored", c.Name)
		}
		info := &t.Columns[c.Offset]
		restored := needsRestoredData(info)
		h.columns = append(h.columns, keyColumn{
			slot: c.Offset, prefix: c.Length >= 0, stored: c.Length >= 0 || restored,
			lossy: restored && !binaryCollation(info.Collation),
		})
	}
	return h, nil
}

// fillFromHandle sets the key's columns that the row did not hold, which are
// NULL until then: no column of a primary key can be NULL.
//
// A text that is not in the row although its collation has sort keys comes from
// a cluster without new collations, where the key holds it as it is.
func (p *Plan) fillFromHandle(dst []event.Value, rest []byte, a *arena) error {
	h := &p.handle
	if !h.common {
		if len(h.columns) == 1 && dst[h.columns[0].slot].IsNull() {
			return p.fillIntHandle(dst, rest)
		}
		return nil
	}
	missing := false
	for i := range h.columns {
		missing = missing || dst[h.columns[i].slot].IsNull()
	}
	if !missing {
		return nil
	}
	for i := range h.columns {
		k := &h.columns[i]
		v, n, err := p.columns[k.slot].fromKey(rest, a)
		if err != nil {
			return p.columnError(k.slot, fmt.Errorf("in the key: %w", err))
		}
		rest = rest[n:]
		if !dst[k.slot].IsNull() {
			continue
		}
		if k.prefix {
			return p.columnError(k.slot, errors.New("not in the row, and only its prefix in the key"))
		}
		dst[k.slot] = v
	}
	return nil
}

func (p *Plan) fillIntHandle(dst []event.Value, rest []byte) error {
	slot := p.handle.columns[0].slot
	if len(rest) != intHandle {
		return p.columnError(slot, fmt.Errorf("handle of %d bytes in the key, want %d", len(rest), intHandle))
	}
	n := binary.BigEndian.Uint64(rest) ^ signMask
	if p.columns[slot].op == opUint {
		dst[slot] = event.Uint64Value(n)
	} else {
		dst[slot] = event.Int64Value(int64(n))
	}
	return nil
}

// decodeKey is [Plan.DecodeKey].
func (p *Plan) decodeKey(dst []event.Value, key []byte, a *arena) error {
	rest, err := handleBytes(key)
	if err != nil {
		return err
	}
	clear(dst)
	h := &p.handle
	if !h.common {
		if len(h.columns) == 1 {
			return p.fillIntHandle(dst, rest)
		}
		return nil
	}
	for i := range h.columns {
		k := &h.columns[i]
		v, n, err := p.columns[k.slot].fromKey(rest, a)
		if err != nil {
			return p.columnError(k.slot, fmt.Errorf("in the key: %w", err))
		}
		rest = rest[n:]
		if !k.prefix && !k.lossy {
			dst[k.slot] = v
		}
	}
	return nil
}

// fromKey reads one value of a common handle and returns how many bytes it takes.
func (c *column) fromKey(b []byte, a *arena) (v event.Value, n int, err error) {
	if len(b) == 0 {
		return v, 0, errShortRow
	}
	flag, body := b[0], b[1:]
	switch flag {
	case flagBytes:
		raw, n, err := decodeBytes(body, a)
		if err != nil {
			return v, 0, err
		}
		v, err = c.bytes(raw)
		return v, 1 + n, err
	case flagDecimal:
		n, err := decimalSize(body)
		if err != nil {
			return v, 0, err
		}
		v, err = c.decimal(body[:n])
		return v, 1 + n, err
	}
	if len(body) < 8 {
		return v, 0, errShortRow
	}
	raw := binary.BigEndian.Uint64(body)
	switch flag {
	case flagInt, flagDuration:
		v, err = c.number(raw ^ signMask)
	case flagUint:
		v, err = c.number(raw)
	case flagFloat:
		v, err = c.float(decodeFloat(body))
	default:
		err = fmt.Errorf("unknown flag %#x", flag)
	}
	return v, 9, err
}

// Comparable bytes come in groups of eight and a marker, 0xff less the zeros
// that pad the group; a marker of 0xff says that another group follows.
const bytesGroup = 8

// decodeBytes reads comparable bytes. Up to eight bytes are used where they
// stand; longer ones are put together in a.
func decodeBytes(b []byte, a *arena) (raw []byte, n int, err error) {
	groups := 0
	for {
		end := (groups + 1) * (bytesGroup + 1)
		if end > len(b) {
			return nil, 0, errShortRow
		}
		marker := b[end-1]
		groups++
		if marker == 0xff {
			continue
		}
		pad := int(0xff - marker)
		if pad > bytesGroup {
			return nil, 0, fmt.Errorf("comparable bytes have marker %#x", marker)
		}
		for _, c := range b[end-1-pad : end-1] {
			if c != 0 {
				return nil, 0, fmt.Errorf("comparable bytes are padded with %#x", c)
			}
		}
		if groups == 1 {
			return b[: bytesGroup-pad : bytesGroup-pad], end, nil
		}
		raw = a.alloc(groups*bytesGroup - pad)
		for g, out := 0, raw; len(out) > 0; g += bytesGroup + 1 {
			out = out[copy(out, b[g:g+bytesGroup]):]
		}
		return raw, end, nil
	}
}

// needsRestoredData tells which columns TiDB stores in the row although they
// are in the key, because a sort key does not tell the text: all texts, unless
// the collation compares bytes and no trailing spaces can be lost.
func needsRestoredData(info *event.ColumnInfo) bool {
	switch info.Type {
	case event.TypeVarchar, event.TypeVarString:
		return info.Collation != "binary" && info.Collation != "utf8mb4_0900_bin"
	case event.TypeString, event.TypeTinyBlob, event.TypeBlob, event.TypeMediumBlob, event.TypeLongBlob:
		return !binaryCollation(info.Collation)
	}
	return false
}

// binaryCollation tells whether sort keys are the text's bytes, perhaps without
// trailing spaces. (TiDB does not count gbk_bin, whose keys are in GBK.)
func binaryCollation(name string) bool {
	switch name {
	case "binary", "ascii_bin", "latin1_bin", "utf8_bin", "utf8mb4_bin", "utf8mb4_0900_bin":
		return true
	}
	return false
}
