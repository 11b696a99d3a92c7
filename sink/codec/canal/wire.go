package canal

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// The numbers of the fields that are written, by message.
const (
	packetVersion     = 2
	packetType        = 3
	packetCompression = 4
	packetBody        = 5

	messagesMessages = 2

	entryHeader     = 1
	entryEntryType  = 2
	entryStoreValue = 3

	headerVersion      = 1
	headerServerenCode = 5
	headerExecuteTime  = 6
	headerSourceType   = 7
	headerSchemaName   = 8
	headerTableName    = 9
	headerEventType    = 11
	headerProps        = 12

	rowChangeEventType     = 2
	rowChangeIsDdl         = 10
	rowChangeSQL           = 11
	rowChangeRowDatas      = 12
	rowChangeDdlSchemaName = 14

	rowDataBefore = 1
	rowDataAfter  = 2

	columnSQLType   = 2
	columnName      = 3
	columnIsKey     = 4
	columnUpdated   = 5
	columnIsNull    = 6
	columnValue     = 8
	columnMySQLType = 10
)

// The values of enumerations.
const (
	packetMessages  = 7 // PacketType.MESSAGES
	compressionNone = 1 // Compression.NONE
	entryRowData    = 2 // EntryType.ROWDATA
	sourceMySQL     = 2 // Type.MYSQL
)

// Protobuf's ways to write a field.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// appendVarint appends a field with a number. A negative one takes ten bytes.
func appendVarint(b []byte, field int, n int64) []byte {
	b = binary.AppendUvarint(b, uint64(field)<<3|wireVarint)
	return binary.AppendUvarint(b, uint64(n))
}

// appendLength appends the beginning of a field with n bytes.
func appendLength(b []byte, field, n int) []byte {
	b = binary.AppendUvarint(b, uint64(field)<<3|wireBytes)
	return binary.AppendUvarint(b, uint64(n))
}

// appendString appends a field with a text, unless it is empty.
func appendString(b []byte, field int, s string) []byte {
	if s == "" {
		return b
	}
	return append(appendLength(b, field, len(s)), s...)
}

// bytesSize returns the size of a field with n bytes, whose number is below 16.
func bytesSize(n int) int { return 1 + varintSize(uint64(n)) + n }

func varintSize(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }

var errCut = errors.New("a field is cut off")

// fields calls f for each field of a message: with n for a number, with data for
// bytes. Fields of fixed size, which Canal does not have, are passed over.
func fields(b []byte, f func(field int, n uint64, data []byte) error) error {
	for len(b) > 0 {
		tag, size := binary.Uvarint(b)
		if size <= 0 || tag>>3 == 0 || tag>>3 > 1<<29 {
			return errCut
		}
		b = b[size:]
		n, size := uint64(0), 0
		var data []byte
		switch tag & 7 {
		case wireVarint:
			if n, size = binary.Uvarint(b); size <= 0 {
				return errCut
			}
		case wireBytes:
			n, size = binary.Uvarint(b)
			if size <= 0 || n > uint64(len(b)-size) {
				return errCut
			}
			data = b[size : size+int(n)]
			size += int(n)
		case wireFixed64:
			size = 8
		case wireFixed32:
			size = 4
		default:
			return errors.New("a field is of an unknown type")
		}
		if size > len(b) {
			return errCut
		}
		b = b[size:]
		if wire := tag & 7; wire == wireFixed64 || wire == wireFixed32 {
			continue
		}
		if err := f(int(tag>>3), n, data); err != nil {
			return err
		}
	}
	return nil
}
