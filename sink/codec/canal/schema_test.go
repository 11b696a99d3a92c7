package canal_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// field describes a field of a message: its number, name, type, and whether it is
// repeated or, with a oneof of its own, optional.
type field struct {
	number   int32
	name     string
	kind     descriptorpb.FieldDescriptorProto_Type
	message  string
	repeated bool
	optional bool
}

const (
	typeInt32   = descriptorpb.FieldDescriptorProto_TYPE_INT32
	typeInt64   = descriptorpb.FieldDescriptorProto_TYPE_INT64
	typeBool    = descriptorpb.FieldDescriptorProto_TYPE_BOOL
	typeString  = descriptorpb.FieldDescriptorProto_TYPE_STRING
	typeBytes   = descriptorpb.FieldDescriptorProto_TYPE_BYTES
	typeMessage = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
)

// schema is Canal's CanalProtocol.proto and EntryProtocol.proto, as far as they
// matter. Enumerations are written as numbers, like int32.
var schema = map[string][]field{
	"Packet": {
		{number: 1, name: "magic_number", kind: typeInt32, optional: true},
		{number: 2, name: "version", kind: typeInt32, optional: true},
		{number: 3, name: "type", kind: typeInt32},
		{number: 4, name: "compression", kind: typeInt32, optional: true},
		{number: 5, name: "body", kind: typeBytes},
	},
	"Messages": {{number: 1, name: "batch_id", kind: typeInt64}, {number: 2, name: "messages", kind: typeBytes, repeated: true}},
	"Entry": {
		{number: 1, name: "header", kind: typeMessage, message: "Header"},
		{number: 2, name: "entryType", kind: typeInt32, optional: true},
		{number: 3, name: "storeValue", kind: typeBytes},
	},
	"Header": {
		{number: 1, name: "version", kind: typeInt32, optional: true},
		{number: 2, name: "logfileName", kind: typeString},
		{number: 3, name: "logfileOffset", kind: typeInt64},
		{number: 4, name: "serverId", kind: typeInt64},
		{number: 5, name: "serverenCode", kind: typeString},
		{number: 6, name: "executeTime", kind: typeInt64},
		{number: 7, name: "sourceType", kind: typeInt32, optional: true},
		{number: 8, name: "schemaName", kind: typeString},
		{number: 9, name: "tableName", kind: typeString},
		{number: 10, name: "eventLength", kind: typeInt64},
		{number: 11, name: "eventType", kind: typeInt32, optional: true},
		{number: 12, name: "props", kind: typeMessage, message: "Pair", repeated: true},
		{number: 13, name: "gtid", kind: typeString},
	},
	"Pair": {{number: 1, name: "key", kind: typeString}, {number: 2, name: "value", kind: typeString}},
	"RowChange": {
		{number: 1, name: "tableId", kind: typeInt64},
		{number: 2, name: "eventType", kind: typeInt32, optional: true},
		{number: 10, name: "isDdl", kind: typeBool, optional: true},
		{number: 11, name: "sql", kind: typeString},
		{number: 12, name: "rowDatas", kind: typeMessage, message: "RowData", repeated: true},
		{number: 13, name: "props", kind: typeMessage, message: "Pair", repeated: true},
		{number: 14, name: "ddlSchemaName", kind: typeString},
	},
	"RowData": {
		{number: 1, name: "beforeColumns", kind: typeMessage, message: "Column", repeated: true},
		{number: 2, name: "afterColumns", kind: typeMessage, message: "Column", repeated: true},
		{number: 3, name: "props", kind: typeMessage, message: "Pair", repeated: true},
	},
	"Column": {
		{number: 1, name: "index", kind: typeInt32},
		{number: 2, name: "sqlType", kind: typeInt32},
		{number: 3, name: "name", kind: typeString},
		{number: 4, name: "isKey", kind: typeBool},
		{number: 5, name: "updated", kind: typeBool},
		{number: 6, name: "isNull", kind: typeBool, optional: true},
		{number: 7, name: "props", kind: typeMessage, message: "Pair", repeated: true},
		{number: 8, name: "value", kind: typeString},
		{number: 9, name: "length", kind: typeInt32},
		{number: 10, name: "mysqlType", kind: typeString},
	},
}

// canalProto returns the descriptors of the schema.
func canalProto(t testing.TB) protoreflect.MessageDescriptors {
	t.Helper()
	file := &descriptorpb.FileDescriptorProto{Name: proto.String("canal.proto"), Package: proto.String("canal"), Syntax: proto.String("proto3")}
	for name, fields := range schema {
		m := &descriptorpb.DescriptorProto{Name: proto.String(name)}
		for _, f := range fields {
			label := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
			if f.repeated {
				label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
			}
			d := &descriptorpb.FieldDescriptorProto{
				Name: proto.String(f.name), Number: proto.Int32(f.number), Label: &label, Type: f.kind.Enum(),
			}
			if f.message != "" {
				d.TypeName = proto.String(".canal." + f.message)
			}
			if f.optional {
				// Canal has a oneof for each; this is the same on the wire, but Go's code
				// writes it in the order of fields, as most others do.
				d.Proto3Optional = proto.Bool(true)
				d.OneofIndex = proto.Int32(int32(len(m.OneofDecl)))
				m.OneofDecl = append(m.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: proto.String("_" + f.name)})
			}
			m.Field = append(m.Field, d)
		}
		file.MessageType = append(file.MessageType, m)
	}
	d, err := protodesc.NewFile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d.Messages()
}

// unmarshal reads a message and makes sure that protobuf itself would write the
// same bytes.
func unmarshal(t testing.TB, messages protoreflect.MessageDescriptors, name string, b []byte) protoreflect.Message {
	t.Helper()
	m := dynamicpb.NewMessage(messages.ByName(protoreflect.Name(name)))
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatalf("%s: %v: %x", name, err, b)
	}
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil || !bytes.Equal(again, b) {
		t.Fatalf("%s: got  %x\nwant %x (%v)", name, b, again, err)
	}
	if len(m.GetUnknown()) > 0 {
		t.Errorf("%s has unknown fields: %x", name, m.GetUnknown())
	}
	return m
}

func get(m protoreflect.Message, name string) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
}

// packetText shows a packet as text.
func packetText(t testing.TB, b []byte) []byte {
	t.Helper()
	messages := canalProto(t)
	show := func(dst []byte, m protoreflect.Message) []byte {
		text, err := prototext.MarshalOptions{Multiline: false}.Marshal(m.Interface())
		if err != nil {
			t.Fatal(err)
		}
		// prototext varies its spaces, so that nobody depends on them.
		text = bytes.ReplaceAll(text, []byte("  "), []byte(" "))
		text = bytes.ReplaceAll(text, []byte(":"+" "), []byte(":"))
		return append(append(dst, text...), '\n')
	}
	packet := unmarshal(t, messages, "Packet", b)
	body := unmarshal(t, messages, "Messages", get(packet, "body").Bytes())
	packet.Clear(packet.Descriptor().Fields().ByName("body"))
	out := show(nil, packet)
	list := get(body, "messages").List()
	for i := range list.Len() {
		entry := unmarshal(t, messages, "Entry", list.Get(i).Bytes())
		change := unmarshal(t, messages, "RowChange", get(entry, "storeValue").Bytes())
		entry.Clear(entry.Descriptor().Fields().ByName("storeValue"))
		out = show(show(out, entry), change)
	}
	return out
}
