package schema

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// TiDB keeps its schema under keys that begin with 'm', as hashes of named
// fields: m + EncodeBytes(hash name) + uint64('h') + EncodeBytes(field). The
// hash "DBs" holds each schema's DBInfo under the field "DB:<id>", and the hash
// "DB:<id>" holds each table's TableInfo under the field "Table:<id>", beside
// auto-id counters (TiDB's packages structure and meta).
const (
	metaPrefix     = 'm'
	hashData       = 'h'
	schemasHash    = "DBs"
	schemaPrefix   = "DB:"
	tablePrefix    = "Table:"
	bytesGroupSize = 8
)

// appendBytes appends the memcomparable form of b: groups of eight bytes, each
// followed by 0xff minus the number of zero bytes that pad it. A last group
// that is full is followed by an empty one.
func appendBytes(dst, b []byte) []byte {
	for {
		n := min(len(b), bytesGroupSize)
		dst = append(dst, b[:n]...)
		for range bytesGroupSize - n {
			dst = append(dst, 0)
		}
		dst = append(dst, 0xff-byte(bytesGroupSize-n))
		if n < bytesGroupSize {
			return dst
		}
		b = b[n:]
	}
}

// cutBytes decodes what appendBytes wrote and returns the rest of b.
func cutBytes(b []byte) (data, rest []byte, err error) {
	for {
		if len(b) < bytesGroupSize+1 {
			return nil, nil, fmt.Errorf("memcomparable bytes end in the middle of a group: % x", b)
		}
		pad := int(0xff - b[bytesGroupSize])
		if pad > bytesGroupSize {
			return nil, nil, fmt.Errorf("memcomparable bytes have the marker %#x", b[bytesGroupSize])
		}
		group := b[:bytesGroupSize]
		for _, c := range group[bytesGroupSize-pad:] {
			if c != 0 {
				return nil, nil, fmt.Errorf("memcomparable bytes are padded with %#x", c)
			}
		}
		data = append(data, group[:bytesGroupSize-pad]...)
		b = b[bytesGroupSize+1:]
		if pad > 0 {
			return data, b, nil
		}
	}
}

// hashKey returns the key that all fields of a hash begin with.
func hashKey(hash string) []byte {
	k := appendBytes([]byte{metaPrefix}, []byte(hash))
	return binary.BigEndian.AppendUint64(k, hashData)
}

// fieldKey returns the key of one field of a hash.
func fieldKey(hash, field string) []byte {
	return appendBytes(hashKey(hash), []byte(field))
}

// fieldRange returns the keys of the fields of a hash that begin with prefix.
func fieldRange(hash, prefix string) (start, end []byte) {
	last := len(prefix) - 1
	return fieldKey(hash, prefix), fieldKey(hash, prefix[:last]+string(prefix[last]+1))
}

// cutField returns the field that a key of a hash names.
func cutField(hash string, key []byte) (string, error) {
	rest, ok := strings.CutPrefix(string(key), string(hashKey(hash)))
	if !ok {
		return "", fmt.Errorf("read meta key %x: not a field of %q", key, hash)
	}
	field, tail, err := cutBytes([]byte(rest))
	if err != nil {
		return "", fmt.Errorf("read meta key %x: %w", key, err)
	}
	if len(tail) > 0 {
		return "", fmt.Errorf("read meta key %x: %d bytes follow the field %q", key, len(tail), field)
	}
	return string(field), nil
}

// tablesHash returns the name of the hash that holds a schema's tables.
func tablesHash(schemaID int64) string {
	return schemaPrefix + strconv.FormatInt(schemaID, 10)
}
