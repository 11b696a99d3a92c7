package filter_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tidbcdc/tidbcdc/filter"
)

// FuzzRule parses anything. What is refused has a position inside the rule;
// what is accepted means the same among spaces, and its opposite with a "!".
func FuzzRule(f *testing.F) {
	for _, rule := range []string{
		"*.*", "!db.*", "/^foo[0-9]+$/.*", "`a.b`.\"c\"\"d\"", "test.t[0-9]", "!test.t5", "a.[!b-d]?", `\\\..*`,
		"# comment", "@file", "[.*", "/(/.*", "a.b.c", "", "!", "a*b*.??", "[^a-].x", "/a\\/b/.c", "\xff.x", "中文.表名", "[[:a:]].x",
	} {
		f.Add(rule, "db", "T5")
	}
	f.Fuzz(func(t *testing.T, rule, schema, table string) {
		for _, caseSensitive := range []bool{false, true} {
			compiled, err := filter.New(filter.Config{Rules: []string{rule}, CaseSensitive: caseSensitive})
			if err != nil {
				var ruleErr *filter.RuleError
				if !errors.As(err, &ruleErr) {
					t.Fatalf("error %v is a %T", err, err)
				}
				if ruleErr.Number != 1 || ruleErr.Position < 1 || ruleErr.Position > utf8.RuneCountInString(rule)+1 || ruleErr.Reason == "" {
					t.Fatalf("rule %q: %+v", rule, ruleErr)
				}
				continue
			}
			trimmed := strings.Trim(rule, " \t\r\n")
			if !caseSensitive && compiled.Table(schema, table) && !compiled.Schema(schema) {
				t.Errorf("rule %q includes %q.%q but not the database", rule, schema, table)
			}
			again, err := filter.New(filter.Config{Rules: []string{" " + trimmed + "\t"}, CaseSensitive: caseSensitive})
			if err != nil {
				t.Fatalf("rule %q does not parse again: %v", rule, err)
			}
			if again.Table(schema, table) != compiled.Table(schema, table) {
				t.Errorf("rule %q changes its mind on %q.%q", rule, schema, table)
			}
			if trimmed == "" || trimmed[0] == '#' || trimmed[0] == '!' {
				continue
			}
			opposite, err := filter.New(filter.Config{Rules: []string{"*.*", "!" + trimmed}, CaseSensitive: caseSensitive})
			if err != nil {
				t.Fatalf("rule %q does not parse with a !: %v", rule, err)
			}
			system := !newFilter(t, filter.Config{}).Table(schema, table)
			if !system && opposite.Table(schema, table) == compiled.Table(schema, table) {
				t.Errorf("rule %q and its opposite agree on %q.%q", rule, schema, table)
			}
		}
	})
}

// FuzzQuoted includes exactly the table whose names were quoted.
func FuzzQuoted(f *testing.F) {
	f.Add("a.b", `c"d`)
	f.Add("`", " ")
	f.Add("!", "\\")
	f.Fuzz(func(t *testing.T, schema, table string) {
		if schema == "" || table == "" || !utf8.ValidString(schema) || !utf8.ValidString(table) || len(schema)+len(table) > 5000 {
			t.Skip()
		}
		rule := fmt.Sprintf("`%s`.\"%s\"", strings.ReplaceAll(schema, "`", "``"), strings.ReplaceAll(table, `"`, `""`))
		compiled := newFilter(t, filter.Config{Rules: []string{rule}, CaseSensitive: true})
		system := !newFilter(t, filter.Config{}).Table(schema, table)
		if compiled.Table(schema, table) == system {
			t.Errorf("rule %q does not include %q.%q", rule, schema, table)
		}
		if compiled.Table(schema+"x", table) || compiled.Table(schema, table+"x") {
			t.Errorf("rule %q includes more", rule)
		}
	})
}
