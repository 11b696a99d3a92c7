package filter_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/filter"
)

func newFilter(t testing.TB, cfg filter.Config) *filter.Filter {
	t.Helper()
	f, err := filter.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// names splits "a.b c.d" into pairs.
func names(list string) [][2]string {
	var out [][2]string
	for name := range strings.FieldsSeq(list) {
		schema, table, _ := strings.Cut(name, ".")
		out = append(out, [2]string{schema, table})
	}
	return out
}

func TestTable(t *testing.T) {
	tests := []struct {
		name    string
		rules   []string
		in, out string // for both settings of case
		// differs is in if case does not matter, and out if it does.
		differs string
	}{
		{name: "no rules", in: "a.b Ö.x 中文.表"},
		{name: "every table", rules: []string{"*.*"}, in: "a.b"},
		{name: "only comments", rules: []string{"# *.*", "  ", ""}, out: "a.b"},
		{name: "spaces around", rules: []string{" \ta.b\t "}, in: "a.b", out: "a.c"},
		{name: "a name", rules: []string{"a.b"}, in: "a.b", out: "a.bb a.xb aa.b x.b a.", differs: "A.b a.B"},
		{name: "characters of a name", rules: []string{"p_1$.表_é"}, in: "p_1$.表_é", out: "p_1.表_é p_1$.表_e", differs: "P_1$.表_É"},
		{name: "last rule wins, out", rules: []string{"*.*", "!db.*"}, in: "a.b dbx.t", out: "db.t", differs: ""},
		{name: "last rule wins, in", rules: []string{"!a.b", "a.*"}, in: "a.b a.c", out: "b.c"},
		{name: "only negative rules", rules: []string{"!a.*"}, out: "a.b b.c"},
		{name: "in, out, in", rules: []string{"a.*", "!a.t*", "a.tt", "!*.tx", "a.tx"}, in: "a.x a.tt a.tx", out: "a.t a.ttt b.tx"},
		{name: "literals overruled by patterns", rules: []string{"a.b", "a.c", "!*.b", "!a.[c]", "a.d"}, in: "a.d", out: "a.b a.c"},
		{name: "patterns overruled by literals", rules: []string{"!a.*", "!*.c", "a.b", "a.c", "!a.c"}, in: "a.b", out: "a.c a.d"},
		{name: "a class", rules: []string{"test.t[0-9]", "!test.t5"}, in: "test.t0 test.t9", out: "test.t5 test.t test.ta test.t10"},
		{name: "not of a class", rules: []string{"a.t[!0-9x]"}, in: "a.ta a.t!", out: "a.t0 a.tx a.t", differs: ""},
		{name: "upper case in a class", rules: []string{"a.[A-C]"}, in: "a.B", out: "a.d", differs: "a.b"},
		{name: "upper case outside of a class", rules: []string{"!a.[!A-C]", "b.*", "a.[A-C]"}, in: "a.C", differs: "a.c"},
		{name: "a caret is itself", rules: []string{"a.[^a-z]"}, in: "a.^ a.b", out: "a.0"},
		{name: "escapes and dashes in a class", rules: []string{`a.[\]\\a-c-]`}, in: `a.] a.\ a.b a.-`, out: "a.d"},
		{name: "a class of several bytes", rules: []string{"a.[α-ω]"}, in: "a.β", out: "a.b a.ββ", differs: "a.Β"},
		{name: "one character", rules: []string{"a?c.?"}, in: "abc.x a中c.中", out: "ac.x abbc.x abc.xx abc."},
		{name: "many", rules: []string{"a*c.*"}, in: "ac.x abc.x accc.x acbc.", out: "a.x acb.x bac.x"},
		{name: "many times many", rules: []string{"*a*bb*c**.t"}, in: "abbc.t xaxbbxcx.t abababbc.t", out: "abc.t aabcb.t abb.t"},
		{name: "many over a line", rules: []string{"a.x*y"}, in: "a.xy"},
		{name: "wildcards and case", rules: []string{"A*.T?"}, in: "A1.T1", out: "b.t", differs: "a1.t1 A1.t1"},
		{name: "escapes", rules: []string{`\\\..\*\-x`}, in: "", out: `\\.*-x`},
		{name: "backquoted and double-quoted", rules: []string{"`a?`.\"c\"\"*\""}, in: `a?.c"*`, out: `ab.c"* a?.c""`, differs: `A?.C"*`},
		{name: "an expression anywhere in the name", rules: []string{"/b+/.*"}, in: "b.x abbc.x", out: "ac.x", differs: "aBc.x"},
		{name: "an anchored expression", rules: []string{"/^foo[0-9]+$/.*"}, in: "foo1.x foo42.x", out: "foo.x foo1a.x xfoo1.x"},
		{name: "a slash in an expression", rules: []string{`/a\/b/.*`}, in: "a/b.x", out: "ab.x"},
		{name: "an expression that names case", rules: []string{"*.*", "!*./^[A-Z]+$/"}, in: "a.0", out: "a.B", differs: ""},
		{
			name: "system schemas", rules: []string{"*.*", "mysql.t"},
			out: "mysql.t MySQL.t information_schema.t INFORMATION_SCHEMA.t performance_schema.t sys.t metrics_schema.t " +
				"inspection_schema.t dm_heartbeat.t tidb_cdc.t lightning_task_info.t workload_schema.t",
			in: "mysql2.t sys_.t cdc_tidb.t",
		},
	}
	for _, tt := range tests {
		for _, caseSensitive := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/case=%t", tt.name, caseSensitive), func(t *testing.T) {
				f := newFilter(t, filter.Config{Rules: tt.rules, CaseSensitive: caseSensitive})
				check := func(list string, want bool) {
					for _, n := range names(list) {
						if f.Table(n[0], n[1]) != want {
							t.Errorf("Table(%q, %q) = %t with rules %q", n[0], n[1], !want, tt.rules)
						}
					}
				}
				check(tt.in, true)
				check(tt.out, false)
				check(tt.differs, !caseSensitive)
			})
		}
	}
}

// TestTableNames has names that cannot stand in the lists above.
func TestTableNames(t *testing.T) {
	tests := []struct {
		rule, schema, table string
		want                bool
	}{
		{"`a.b`.\"c\"\"d\"", "a.b", `c"d`, true},
		{"`a.b`.\"c\"\"d\"", "a.b", `c""d`, false},
		{"`a``b`.x", "a`b", "x", true},
		{`a\.b.c`, "a.b", "c", true},
		{`\\\.\ .*`, `\. `, "x", true},
		{"a.x*y", "a", "x\n.y", true},
		{"a.?", "a", "\n", true},
		{"a.[!b]", "a", "\n", true},
		{"a.?", "a", "\xff", true},
		{"/^$/.*", "", "x", true},
		{"*.*", "", "", true},
		{"a.*", strings.Repeat("A", 300), "x", false},
		{strings.Repeat("a", 300) + ".*", strings.Repeat("A", 300), "x", true},
	}
	for _, tt := range tests {
		if got := newFilter(t, filter.Config{Rules: []string{tt.rule}}).Table(tt.schema, tt.table); got != tt.want {
			t.Errorf("rule %q: Table(%q, %q) = %t", tt.rule, tt.schema, tt.table, got)
		}
	}
}

func TestSchema(t *testing.T) {
	tests := []struct {
		rules   []string
		in, out []string
	}{
		{[]string{"*.*"}, []string{"a", "B"}, []string{"mysql", "SYS"}},
		{[]string{"a.*"}, []string{"a", "A"}, []string{"b"}},
		{[]string{"a.b"}, []string{"a"}, []string{"b"}},
		{[]string{"*.*", "!a.*"}, []string{"b"}, []string{"a"}},
		{[]string{"*.*", "!a.b"}, []string{"a", "b"}, nil}, // a has other tables
		{[]string{"*.*", "!a.**"}, []string{"b"}, []string{"a"}},
		{[]string{"!a.*", "a.b"}, []string{"a"}, []string{"b"}},
		{[]string{"a.b", "!a.*"}, nil, []string{"a"}},
		{[]string{"/^x/.t", "!xy.*"}, []string{"x", "xyz"}, []string{"xy", "y"}},
		{[]string{"#"}, nil, []string{"a"}},
	}
	for _, tt := range tests {
		f := newFilter(t, filter.Config{Rules: tt.rules})
		for _, s := range tt.in {
			if !f.Schema(s) {
				t.Errorf("rules %q leave out database %q", tt.rules, s)
			}
		}
		for _, s := range tt.out {
			if f.Schema(s) {
				t.Errorf("rules %q include database %q", tt.rules, s)
			}
		}
	}
	if newFilter(t, filter.Config{Rules: []string{"A.*"}, CaseSensitive: true}).Schema("a") {
		t.Error("case does not matter though it should")
	}
}

func TestRuleErrors(t *testing.T) {
	tests := []struct {
		rule     string
		position int
		reason   string // part of it
	}{
		{"db", 3, `want "."`},
		{"db.", 4, "want a table pattern"},
		{".t", 1, "want a schema pattern"},
		{"!", 2, "want a schema pattern"},
		{"a.b.c", 4, `unexpected ".c"`},
		{"  a.b.c", 6, `unexpected ".c"`},
		{"`db`*.*", 5, `want "."`},
		{"a%b.c", 2, "unexpected '%'"},
		{"a b.c", 2, "unexpected ' '"},
		{"a-b.c", 2, "unexpected '-'"},
		{"表-b.c", 2, "unexpected '-'"},
		{"a.b#comment", 4, "unexpected '#'"},
		{"! a.b", 2, "unexpected ' '"},
		{"!@a.b", 2, "unexpected '@'"},
		{"a\x00.b", 2, "unexpected"},
		{"\x00", 1, "unexpected"},
		{`a\tb.c`, 2, `\t has no meaning`},
		{`db\`, 3, "stands at the end"},
		{"[.*", 1, "no closing"},
		{"[a-", 1, "no closing"},
		{"[a.*", 1, "no closing"},
		{"a.x[].t", 4, "is empty"},
		{"[!].*", 1, "is empty"},
		{"[z-a].*", 3, "the range z-a is empty"},
		{`[\d].*`, 2, `\d has no meaning`},
		{"[[:alpha:]].*", 2, "no meaning"},
		{"/db.*", 1, "no closing"},
		{`/db\/.*`, 1, "no closing"},
		{"//.*", 1, "is empty"},
		{"/(/.*", 2, "missing closing )"},
		{"a./^(?!b)/", 4, "invalid or unsupported Perl syntax"},
		{"`db.*", 1, "no closing `"},
		{`a."b""`, 3, `no closing "`},
		{"``.t", 1, "is empty"},
		{"a\xff.b", 2, "not UTF-8"},
		{"@/etc/passwd", 1, "not read from files"},
		{" @rules", 2, "not read from files"},
		{strings.Repeat("a", 20000) + ".b", 16385, "more than 16384"},
	}
	for _, tt := range tests {
		_, err := filter.New(filter.Config{Rules: []string{"*.*", "#", tt.rule, "a.b"}})
		var ruleErr *filter.RuleError
		if !errors.As(err, &ruleErr) {
			t.Errorf("rule %q: got error %v", tt.rule, err)
			continue
		}
		if ruleErr.Number != 3 || ruleErr.Rule != tt.rule || ruleErr.Position != tt.position || !strings.Contains(ruleErr.Reason, tt.reason) {
			t.Errorf("rule %.30q: got %v at %d, want %q at %d", tt.rule, err, ruleErr.Position, tt.reason, tt.position)
		}
		if text := err.Error(); !strings.Contains(text, "rule 3 ") || len(text) > 500 {
			t.Errorf("rule %.30q: the message is %q", tt.rule, text)
		}
	}
}

func TestRow(t *testing.T) {
	f := newFilter(t, filter.Config{IgnoreTxnStartTs: []event.Ts{7, 9, 7}})
	for ts := event.Ts(5); ts < 12; ts++ {
		got, err := f.Row(&event.RowChanged{StartTs: ts, CommitTs: 9})
		if want := ts != 7 && ts != 9; got != want || err != nil {
			t.Errorf("Row of start ts %d = %t, %v", ts, got, err)
		}
	}
	if ok, _ := newFilter(t, filter.Config{}).Row(&event.RowChanged{}); !ok {
		t.Error("a row is dropped though no start ts is listed")
	}
}

func TestTableDoesNotAllocate(t *testing.T) {
	for _, caseSensitive := range []bool{false, true} {
		f := newFilter(t, filter.Config{
			Rules:         []string{"Shop.Order", "shop.Item_*", "*.[ab]?", "!/^Tmp/.*", "!x.Y"},
			CaseSensitive: caseSensitive,
		})
		for _, n := range names("Shop.ORDER SHOP.Item_9 TmpX.AB ÄÖ.Äb shop.none") {
			if allocs := testing.AllocsPerRun(100, func() { f.Table(n[0], n[1]) }); allocs != 0 {
				t.Errorf("Table(%q, %q) allocates %v times", n[0], n[1], allocs)
			}
		}
		if allocs := testing.AllocsPerRun(100, func() { f.Schema("SHOP") }); allocs != 0 {
			t.Errorf("Schema allocates %v times", allocs)
		}
	}
}
