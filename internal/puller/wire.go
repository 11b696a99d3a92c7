package puller

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// The wire format of cdcpb's messages, as far as this client reads them:
//
//	ChangeDataEvent  events 1 repeated Event, resolved_ts 2 ResolvedTs
//	Event            region_id 1, request_id 7, and one of
//	                 entries 3, admin 4, error 5, resolved_ts 6, long_txn 8
//	Entries          entries 1 repeated Row
//	ResolvedTs       regions 1 repeated, ts 2, request_id 3
//
// Fields come in any order, and unknown ones are skipped. Row is in wire_row.go.

var errTruncated = errors.New("a field does not end within its message")

// wireField is one field of a message.
type wireField struct {
	num   protowire.Number
	typ   protowire.Type
	value uint64 // of a varint
	bytes []byte // of a string, a message or a packed list
}

// nextField splits the first field off a message that is not empty.
func nextField(data []byte) (f wireField, rest []byte, err error) {
	num, typ, n := protowire.ConsumeTag(data)
	if n < 0 {
		return f, nil, protowire.ParseError(n)
	}
	f.num, f.typ = num, typ
	data = data[n:]
	switch typ {
	case protowire.VarintType:
		f.value, n = protowire.ConsumeVarint(data)
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(data)
	default:
		n = protowire.ConsumeFieldValue(num, typ, data)
	}
	if n < 0 {
		return f, nil, protowire.ParseError(n)
	}
	return f, data[n:], nil
}

// expect checks the type of a known field.
func (f *wireField) expect(typ protowire.Type) error {
	if f.typ != typ {
		return fmt.Errorf("field %d has wire type %d, not %d", f.num, f.typ, typ)
	}
	return nil
}

// content says which of the alternatives an event carries.
type content uint8

const (
	contentNone content = iota // or one that is of no interest
	contentRows
	contentError
	contentResolvedTs
)

// wireEvent is an Event whose rows, or error, have not been decoded.
type wireEvent struct {
	regionID, requestID uint64
	content             content
	payload             []byte // of rows and error
	resolvedTs          uint64
}

func decodeEvent(data []byte) (e wireEvent, err error) {
	for len(data) > 0 {
		var f wireField
		if f, data, err = nextField(data); err != nil {
			return e, err
		}
		typ := protowire.BytesType
		switch f.num {
		case 1:
			e.regionID, typ = f.value, protowire.VarintType
		case 2:
			typ = protowire.VarintType
		case 3:
			e.content, e.payload = contentRows, f.bytes
		case 4, 8:
			e.content, e.payload = contentNone, nil
		case 5:
			e.content, e.payload = contentError, f.bytes
		case 6:
			e.content, e.payload, typ = contentResolvedTs, nil, protowire.VarintType
			e.resolvedTs = f.value
		case 7:
			e.requestID, typ = f.value, protowire.VarintType
		default:
			continue
		}
		if err := f.expect(typ); err != nil {
			return e, err
		}
	}
	return e, nil
}

// wireResolvedTs is a ResolvedTs. Its regions are kept as scratch.
type wireResolvedTs struct {
	requestID, ts uint64
	regions       []uint64
}

// decode adds a message to r: a field of a message type that occurs again is merged.
func (r *wireResolvedTs) decode(data []byte) error {
	for len(data) > 0 {
		f, rest, err := nextField(data)
		if err != nil {
			return err
		}
		data = rest
		typ := protowire.VarintType
		switch f.num {
		case 1:
			if f.typ == protowire.BytesType {
				if err := r.decodePacked(f.bytes); err != nil {
					return err
				}
				continue
			}
			r.regions = append(r.regions, f.value)
		case 2:
			r.ts = f.value
		case 3:
			r.requestID = f.value
		default:
			continue
		}
		if err := f.expect(typ); err != nil {
			return err
		}
	}
	return nil
}

func (r *wireResolvedTs) decodePacked(data []byte) error {
	for len(data) > 0 {
		id, n := uvarint(data)
		if n == 0 {
			return errTruncated
		}
		r.regions = append(r.regions, id)
		data = data[n:]
	}
	return nil
}
