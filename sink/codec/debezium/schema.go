package debezium

import "github.com/tidbcdc/tidbcdc/sink/codec/internal/jsontext"

// The schemas of Kafka Connect that are the same in every message.
const (
	sourceSchema = `{"type":"struct","fields":[` +
		`{"type":"string","optional":false,"field":"version"},` +
		`{"type":"string","optional":false,"field":"connector"},` +
		`{"type":"string","optional":false,"field":"name"},` +
		`{"type":"int64","optional":false,"field":"ts_ms"},` +
		`{"type":"string","optional":true,"name":"` + semanticEnum + `","version":1,` +
		`"parameters":{"allowed":"true,last,false,incremental"},"default":"false","field":"snapshot"},` +
		`{"type":"string","optional":false,"field":"db"},` +
		`{"type":"string","optional":true,"field":"sequence"},` +
		`{"type":"string","optional":true,"field":"table"},` +
		`{"type":"int64","optional":false,"field":"server_id"},` +
		`{"type":"string","optional":true,"field":"gtid"},` +
		`{"type":"string","optional":false,"field":"file"},` +
		`{"type":"int64","optional":false,"field":"pos"},` +
		`{"type":"int32","optional":false,"field":"row"},` +
		`{"type":"int64","optional":true,"field":"thread"},` +
		`{"type":"string","optional":true,"field":"query"}],` +
		`"optional":false,"name":"io.debezium.connector.mysql.Source","field":"source"}`

	tailSchema = `,{"type":"string","optional":false,"field":"op"},` +
		`{"type":"int64","optional":true,"field":"ts_ms"},` +
		`{"type":"struct","fields":[` +
		`{"type":"string","optional":false,"field":"id"},` +
		`{"type":"int64","optional":false,"field":"total_order"},` +
		`{"type":"int64","optional":false,"field":"data_collection_order"}],` +
		`"optional":true,"name":"event.block","version":1,"field":"transaction"}]}`

	ddlKeySchema = `{"type":"struct","name":"io.debezium.connector.mysql.SchemaChangeKey","optional":false,"version":1,` +
		`"fields":[{"field":"databaseName","optional":false,"type":"string"}]}`

	columnSchema = `{"name":"io.debezium.connector.schema.Column","optional":false,"type":"struct","version":1,"fields":[` +
		`{"field":"name","optional":false,"type":"string"},` +
		`{"field":"jdbcType","optional":false,"type":"int32"},` +
		`{"field":"nativeType","optional":true,"type":"int32"},` +
		`{"field":"typeName","optional":false,"type":"string"},` +
		`{"field":"typeExpression","optional":true,"type":"string"},` +
		`{"field":"charsetName","optional":true,"type":"string"},` +
		`{"field":"length","optional":true,"type":"int32"},` +
		`{"field":"scale","optional":true,"type":"int32"},` +
		`{"field":"position","optional":false,"type":"int32"},` +
		`{"field":"optional","optional":true,"type":"boolean"},` +
		`{"field":"autoIncremented","optional":true,"type":"boolean"},` +
		`{"field":"generated","optional":true,"type":"boolean"},` +
		`{"field":"comment","optional":true,"type":"string"},` +
		`{"field":"defaultValueExpression","optional":true,"type":"string"},` +
		`{"field":"enumValues","optional":true,"type":"array","items":{"type":"string","optional":false}}]}`

	tableSchema = `{"field":"table","optional":true,"type":"struct","name":"io.debezium.connector.schema.Table","version":1,"fields":[` +
		`{"field":"defaultCharsetName","optional":true,"type":"string"},` +
		`{"field":"primaryKeyColumnNames","optional":true,"type":"array","items":{"type":"string","optional":false}},` +
		`{"field":"columns","optional":false,"type":"array","items":` + columnSchema + `},` +
		`{"field":"comment","optional":true,"type":"string"}]}`

	ddlSchema = `{"optional":false,"type":"struct","version":1,"name":"io.debezium.connector.mysql.SchemaChangeValue","fields":[` +
		sourceSchema +
		`,{"field":"ts_ms","optional":false,"type":"int64"},` +
		`{"field":"databaseName","optional":true,"type":"string"},` +
		`{"field":"schemaName","optional":true,"type":"string"},` +
		`{"field":"ddl","optional":true,"type":"string"},` +
		`{"field":"tableChanges","optional":false,"type":"array","items":` +
		`{"name":"io.debezium.connector.schema.Change","optional":false,"type":"struct","version":1,"fields":[` +
		`{"field":"type","optional":false,"type":"string"},` +
		`{"field":"id","optional":false,"type":"string"},` +
		tableSchema + `]}}]}`
)

// keySchema appends the schema of a key.
func keySchema(b []byte, name string, fields []byte) []byte {
	b = jsontext.AppendString(append(b, `{"type":"struct","name":`...), name)
	b = append(b, `,"optional":false,"fields":[`...)
	return append(append(b, fields...), "]}"...)
}

// envelopeSchema appends the schema of a row's value. The images have the same
// fields.
func envelopeSchema(b []byte, name string, fields []byte) []byte {
	b = jsontext.AppendString(append(b, `{"type":"struct","optional":false,"name":`...), name+".Envelope")
	b = append(b, `,"version":1,"fields":[`...)
	for _, image := range []string{"before", "after"} {
		b = jsontext.AppendString(append(b, `{"type":"struct","optional":true,"name":`...), name+".Value")
		b = append(b, `,"field":"`+image+`","fields":[`...)
		b = append(append(b, fields...), "]},"...)
	}
	return append(append(b, sourceSchema...), tailSchema...)
}

// watermarkSchema appends the schema of a watermark's value.
func watermarkSchema(b []byte, name string) []byte {
	b = jsontext.AppendString(append(b, `{"type":"struct","optional":false,"name":`...), name+".Envelope")
	b = append(b, `,"version":1,"fields":[`...)
	return append(append(b, sourceSchema...), tailSchema...)
}
