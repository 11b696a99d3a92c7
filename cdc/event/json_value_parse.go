package event

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ParseJSON returns a KindJSON value of JSON text, in the form that TiDB would
// store: integers that fit 64 bits stay exact, other numbers become float64;
// keys are sorted, and of equal ones the last wins.
func ParseJSON(text string) (Value, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		return Value{}, fmt.Errorf("parse JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Value{}, fmt.Errorf("parse JSON: text after the document at byte %d", d.InputOffset())
	}
	tp, body, err := encodeJSON(nil, doc, 0)
	if err != nil {
		return Value{}, fmt.Errorf("parse JSON: %w", err)
	}
	return JSONValue(append([]byte{tp}, body...))
}

// encodeJSON appends the binary form of v, without its type byte, to dst.
func encodeJSON(dst []byte, v any, depth int) (tp byte, _ []byte, err error) {
	switch v := v.(type) {
	case nil:
		return jsonLiteral, append(dst, jsonNull), nil
	case bool:
		if v {
			return jsonLiteral, append(dst, jsonTrue), nil
		}
		return jsonLiteral, append(dst, jsonFalse), nil
	case json.Number:
		return encodeJSONNumber(dst, v)
	case string:
		dst = binary.AppendUvarint(dst, uint64(len(v)))
		return jsonString, append(dst, v...), nil
	case []any:
		dst, err = encodeJSONContainer(dst, nil, v, depth)
		return jsonArray, dst, err
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		values := make([]any, len(keys))
		for i, k := range keys {
			values[i] = v[k]
		}
		dst, err = encodeJSONContainer(dst, keys, values, depth)
		return jsonObject, dst, err
	}
	return 0, dst, fmt.Errorf("unexpected %T", v)
}

func encodeJSONNumber(dst []byte, n json.Number) (byte, []byte, error) {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return jsonInt64, binary.LittleEndian.AppendUint64(dst, uint64(i)), nil
	}
	if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return jsonUint64, binary.LittleEndian.AppendUint64(dst, u), nil
	}
	f, err := n.Float64()
	return jsonFloat64, binary.LittleEndian.AppendUint64(dst, math.Float64bits(f)), err
}

// encodeJSONContainer appends an object, or an array if there are no keys: the
// entries are reserved first and filled in as their keys and values are placed.
func encodeJSONContainer(dst []byte, keys []string, values []any, depth int) ([]byte, error) {
	if depth >= maxJSONDepth {
		return dst, fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	start := len(dst)
	entries := start + jsonHeader
	dst = append(dst, make([]byte, jsonHeader+len(keys)*jsonKeyEntry+len(values)*jsonValueEntry)...)
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(values)))
	for i, k := range keys {
		if len(k) > math.MaxUint16 {
			return dst, fmt.Errorf("key of %d bytes is too long", len(k))
		}
		binary.LittleEndian.PutUint32(dst[entries+i*jsonKeyEntry:], uint32(len(dst)-start))
		binary.LittleEndian.PutUint16(dst[entries+i*jsonKeyEntry+4:], uint16(len(k)))
		dst = append(dst, k...)
	}
	entries += len(keys) * jsonKeyEntry
	for i, v := range values {
		e := entries + i*jsonValueEntry
		at := len(dst)
		tp, out, err := encodeJSON(dst, v, depth+1)
		if err != nil {
			return dst, err
		}
		dst = out
		dst[e] = tp
		if tp == jsonLiteral {
			dst[e+1] = dst[at]
			dst = dst[:at]
			continue
		}
		binary.LittleEndian.PutUint32(dst[e+1:], uint32(at-start))
	}
	binary.LittleEndian.PutUint32(dst[start+4:], uint32(len(dst)-start))
	return dst, nil
}
