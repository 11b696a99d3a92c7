package dispatcher_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/dispatcher"
)

func TestTopic(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := []struct {
		topic, schema, table string
		want                 string // "" for an error
	}{
		{"", "s", "t", "cdc"},
		{"fixed.Name_1-2", "s", "t", "fixed.Name_1-2"},
		{"{schema}", "abc", "t", "abc"},
		{"{table}", "abc", "t", "t"},
		{"p_{schema}_m-{table}.s", "Hello", "WORLD", "p_Hello_m-WORLD.s"},
		{"{schema}{table}", "a", "b", "ab"},
		{"abc_def{schema}", "!@#$%^&*()_+.{}", "t", "abc_def____________.__"},
		{"abc{schema}def", "你好", "t", "abc__def"},
		{"{schema}_{table}", "你好", "世界", "_____"},
		{"{schema}_{table}", "{table}", "{schema}", "_table___schema_"},
		{"{schema}", ".", "t", "_"},
		{"{schema}", "..", "t", "__"},
		{".", "s", "t", "_"},
		{"..", "s", "t", "__"},
		{"{table}", "s", long, long[:249]},
		{long, "s", "t", long[:249]},
		{"{schema}", "a\xffb", "t", "a_b"},
		{"{table}{schema}", "s", "t", ""},
		{"{schema}{schema}", "s", "t", ""},
		{"{schema}{table}{table}", "s", "t", ""},
		{"{{schema}}", "s", "t", ""},
		{"{Schema}", "s", "t", ""},
		{"a b", "s", "t", ""},
		{"你好{schema}", "s", "t", ""},
		{"a/b", "s", "t", ""},
	}
	for _, tt := range tests {
		d, err := dispatcher.New(all(dispatcher.Rule{Topic: tt.topic}))
		if tt.want == "" {
			var topicErr *dispatcher.TopicError
			if !errors.As(err, &topicErr) || topicErr.Topic != tt.topic {
				t.Errorf("%s: got %v", tt.topic, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.topic, err)
			continue
		}
		if got := d.Topic(tt.schema, tt.table); got != tt.want {
			t.Errorf("%s of %s.%s: got %s, want %s", tt.topic, tt.schema, tt.table, got, tt.want)
		}
	}
}

// FuzzTopic compares with the grammar as a regular expression, and makes sure
// that Kafka takes every topic.
func FuzzTopic(f *testing.F) {
	f.Add("p_{schema}_{table}", "s", "t")
	f.Add("{schema}", "..", "数")
	f.Add("{table}x{schema}", "s", "t")
	f.Add("", "", "")
	grammar := regexp.MustCompile(`\A[A-Za-z0-9._-]*(\{schema\})?([A-Za-z0-9._-]*\{table\})?[A-Za-z0-9._-]*\z`)
	legal := regexp.MustCompile(`\A[A-Za-z0-9._-]{0,249}\z`)
	f.Fuzz(func(t *testing.T, topic, schema, table string) {
		d, err := dispatcher.New(all(dispatcher.Rule{Topic: topic}))
		if (err == nil) != grammar.MatchString(topic) {
			t.Fatalf("%q: %v", topic, err)
		}
		if err != nil {
			return
		}
		if got := d.Topic(schema, table); !legal.MatchString(got) || got == "." || got == ".." {
			t.Errorf("%q of %q.%q: got %q", topic, schema, table, got)
		}
	})
}
