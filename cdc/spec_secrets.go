package cdc

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidbcdc/tidbcdc/sink"
)

// masked takes the place of a secret, as in sink.Redact.
const masked = "xxxxx"

// Redacted returns a copy that may be shown: the secrets in the sink's URI and
// settings are masked.
func (s Spec) Redacted() Spec {
	out := s.clone()
	for _, secret := range out.secrets() {
		*secret = mask(*secret)
	}
	return out
}

// unmask puts back the secrets that old had, where s has them as Redacted shows
// them: whoever sends back what was shown changes nothing.
func (s *Spec) unmask(old *Spec) {
	was := old.secrets()
	for i, secret := range s.secrets() {
		if *was[i] != "" && *secret == mask(*was[i]) {
			*secret = *was[i]
		}
	}
}

// mask hides a secret, of a URI as little as is safe.
func mask(secret string) string {
	switch {
	case secret == "":
		return ""
	case strings.Contains(secret, "://"):
		return sink.Redact(secret)
	}
	return masked
}

// secrets returns where a Spec may hold secrets, always as many in the same order.
// Places in sections that the Spec does not have are of sections that are dropped.
func (s *Spec) secrets() []*string {
	kafka := s.Sink.Kafka
	if kafka == nil {
		kafka = &sink.KafkaOptions{}
	}
	large, glue := kafka.LargeMessage, kafka.GlueRegistry
	if large == nil {
		large = &sink.LargeMessageOptions{}
	}
	if glue == nil {
		glue = &sink.GlueRegistryOptions{}
	}
	return []*string{
		&s.SinkURI, &s.Sink.SchemaRegistry,
		&kafka.SASLPassword, &kafka.SASLGSSAPIPassword, &kafka.SASLOAuthClientSecret, &kafka.SASLOAuthTokenURL,
		&large.ClaimCheckStorageURI, &glue.AccessKey, &glue.SecretAccessKey, &glue.Token,
	}
}

// clone returns a copy that shares nothing with s, through its JSON form, which
// holds all of it.
func (s *Spec) clone() Spec {
	var out Spec
	data, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		// Every Spec was decoded or validated; only maps with values that have no JSON
		// form could fail, and validation has refused those.
		return Spec{ID: s.ID, SinkURI: masked}
	}
	return out
}

// equal reports whether two Specs say the same.
func (s *Spec) equal(other *Spec) (bool, error) {
	a, err := json.Marshal(s)
	if err != nil {
		return false, fmt.Errorf("encode changefeed settings: %w", err)
	}
	b, err := json.Marshal(other)
	if err != nil {
		return false, fmt.Errorf("encode changefeed settings: %w", err)
	}
	return string(a) == string(b), nil
}
