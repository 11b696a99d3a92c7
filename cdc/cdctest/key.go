package cdctest

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/tikv/client-go/v2/util/codec"
)

// encodeKey gives a raw key the memcomparable form of region boundaries; an
// empty key is unbounded in both.
func encodeKey(key []byte) []byte {
	if len(key) == 0 {
		return nil
	}
	return codec.EncodeBytes(nil, key)
}

// decodeKey undoes encodeKey.
func decodeKey(key []byte) ([]byte, error) {
	if len(key) == 0 {
		return nil, nil
	}
	rest, raw, err := codec.DecodeBytes(key, nil)
	if err != nil {
		return nil, fmt.Errorf("decode region key %x: %w", key, err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("decode region key %x: %d bytes follow it", key, len(rest))
	}
	return raw, nil
}

// RowKey returns the key of a row with an integer handle: t{id}_r{handle}.
func RowKey(physicalID, handle int64) []byte {
	key := codec.EncodeInt([]byte{'t'}, physicalID)
	return codec.EncodeInt(append(key, '_', 'r'), handle)
}

// metaKey is the key of one field of a hash among TiDB's meta keys:
// m + EncodeBytes(name) + uint64('h') + EncodeBytes(field).
func metaKey(hash, field string) []byte {
	key := codec.EncodeBytes([]byte{'m'}, []byte(hash))
	key = binary.BigEndian.AppendUint64(key, 'h')
	return codec.EncodeBytes(key, []byte(field))
}

const schemasHash = "DBs"

func schemaField(id int64) string { return "DB:" + strconv.FormatInt(id, 10) }

func tableField(id int64) string { return "Table:" + strconv.FormatInt(id, 10) }
