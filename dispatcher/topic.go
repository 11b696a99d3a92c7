package dispatcher

import (
	"fmt"
	"strings"
)

// maxTopicLength is Kafka's limit.
const maxTopicLength = 249

const (
	schemaPlaceholder = "{schema}"
	tablePlaceholder  = "{table}"
)

// topicExpression is a topic with placeholders, cut where they are.
type topicExpression struct {
	prefix, middle, suffix string
	schema, table          bool
}

// TopicError says what is wrong with a topic of a [Rule]. TiCDC calls it
// CDC:ErrKafkaTopicExprInvalid.
type TopicError struct {
	// Topic is the topic as given.
	Topic string
	// Reason says what is wrong.
	Reason string
}

// Error shows the topic and what one looks like.
func (e *TopicError) Error() string {
	return fmt.Sprintf("topic %q: %s; a topic is made of letters, digits, '.', '_' and '-', {schema} and then {table}",
		e.Topic, e.Reason)
}

// newTopic compiles the topic of a rule.
func (cfg *Config) newTopic(text string) (topicExpression, error) {
	if text == "" {
		return topicExpression{prefix: cfg.DefaultTopic}, nil
	}
	var t topicExpression
	var rest string
	if t.prefix, rest, t.schema = strings.Cut(text, schemaPlaceholder); !t.schema {
		t.prefix, rest = "", text
	}
	if t.middle, t.suffix, t.table = strings.Cut(rest, tablePlaceholder); !t.table {
		t.middle, t.suffix = "", rest
	}
	for _, part := range [...]string{t.prefix, t.middle, t.suffix} {
		if i := strings.IndexFunc(part, notInTopic); i >= 0 {
			return t, &TopicError{text, fmt.Sprintf("there is no place for %q", part[i:])}
		}
	}
	if avro := cfg.Protocol == "avro" || cfg.Protocol == "flat-avro"; avro && !(t.schema && t.table) {
		return t, &TopicError{text, "the protocol avro needs a topic per table, so that it must contain both {schema} and {table}"}
	}
	return t, nil
}

// name returns the topic of a table.
func (t *topicExpression) name(schema, table string) string {
	if !t.schema && !t.table {
		return limitTopic(t.prefix + t.suffix)
	}
	name := make([]byte, 0, len(t.prefix)+len(schema)+len(t.middle)+len(table)+len(t.suffix))
	name = append(name, t.prefix...)
	if t.schema {
		name = appendTopicPart(name, schema)
	}
	name = append(name, t.middle...)
	if t.table {
		name = appendTopicPart(name, table)
	}
	return limitTopic(string(append(name, t.suffix...)))
}

func limitTopic(name string) string {
	switch {
	case len(name) > maxTopicLength:
		return name[:maxTopicLength]
	case name == ".":
		return "_"
	case name == "..":
		return "__"
	}
	return name
}

// appendTopicPart appends a name with an underscore for each character that Kafka
// does not allow.
func appendTopicPart(dst []byte, name string) []byte {
	for _, r := range name {
		if notInTopic(r) {
			r = '_'
		}
		dst = append(dst, byte(r))
	}
	return dst
}

func notInTopic(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
		return false
	}
	return true
}
