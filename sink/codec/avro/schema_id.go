package avro

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
)

// The first bytes of a message tell whose registry holds its schema.
const (
	confluentMagic = 0
	confluentSize  = 5
	glueMagic      = 3
	glueSize       = 18
)

// SchemaID is a registry's id of a schema, as it stands in front of a message.
// The zero SchemaID is none.
type SchemaID struct {
	frame [glueSize]byte
	size  uint8
}

// ConfluentID returns the id of a schema in a Confluent-compatible registry.
func ConfluentID(id uint32) SchemaID {
	s := SchemaID{size: confluentSize}
	s.frame[0] = confluentMagic
	binary.BigEndian.PutUint32(s.frame[1:], id)
	return s
}

// GlueID returns the id of a schema version in AWS Glue, a UUID.
func GlueID(uuid [16]byte) SchemaID {
	s := SchemaID{size: glueSize}
	s.frame[0] = glueMagic // the byte after it says that nothing is compressed
	copy(s.frame[2:], uuid[:])
	return s
}

// Confluent returns the number that a Confluent-compatible registry gave.
func (s SchemaID) Confluent() (id uint32, ok bool) {
	return binary.BigEndian.Uint32(s.frame[1:]), s.size == confluentSize
}

// Glue returns the UUID that AWS Glue gave.
func (s SchemaID) Glue() (uuid [16]byte, ok bool) {
	copy(uuid[:], s.frame[2:])
	return uuid, s.size == glueSize
}

// String returns the number or the UUID.
func (s SchemaID) String() string {
	if id, ok := s.Confluent(); ok {
		return strconv.FormatUint(uint64(id), 10)
	}
	if uuid, ok := s.Glue(); ok {
		h := hex.EncodeToString(uuid[:])
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	}
	return "none"
}

// cutSchemaID splits a key or value into the id of its schema and the record.
func cutSchemaID(b []byte) (SchemaID, []byte, error) {
	s := SchemaID{}
	switch {
	case len(b) >= confluentSize && b[0] == confluentMagic:
		s.size = confluentSize
	case len(b) >= glueSize && b[0] == glueMagic && b[1] == 0:
		s.size = glueSize
	case len(b) >= 2 && b[0] == glueMagic && b[1] != 0:
		return s, nil, errors.New("a message of AWS Glue that is compressed")
	default:
		return s, nil, errors.New("no schema id in front of the record")
	}
	copy(s.frame[:], b[:s.size])
	return s, b[s.size:], nil
}
