package schema_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc/event"
	"github.com/tidbcdc/tidbcdc/internal/schema"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestScripts runs testdata/*.txt. A script is a list of steps: a command, what
// it works on, "----", and the output expected; a blank line ends a step. Text
// after # is for the reader.
//
//	load ts=100 [keep=schema.table,…]     a snapshot of the schemas and tables below
//	job 5 "add column" ts=110 schema=2 table=104 [args=JSON] [version=0] [step=4]
//	                                      a job that carries what stands below; prints the DDL.
//	                                      step: it is in progress, in this schema state
//	complete ts=110                       the last job, with a snapshot of what stands below
//	advance|forget ts=120
//	tables ts=110 / lookup id=104 ts=110 / name test.t ts=110
//
// Below a command stand lines such as
//
//	schema 2 test
//	table 104 test.t {id* a} [p0=105 p1=106]      a star marks the primary key, a:7 a column id
//	view 107 test.v {id}
//	sequence 108 test.s {}
//
// Tables of a job are its TableInfo, or, after "tables", its MultipleTableInfos.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	types := map[event.DDLType]bool{}
	ran := 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			(&script{t: t, types: types}).run(file)
			ran++
		})
	}
	if ran < len(files) {
		return // -run chose some
	}
	for n := range 256 {
		tp := event.DDLType(n)
		if !strings.HasPrefix(tp.String(), "ddl type") && !types[tp] {
			t.Errorf("no script has a job of the type %q", tp)
		}
	}
}

type script struct {
	t       *testing.T
	types   map[event.DDLType]bool
	storage *schema.Storage
	job     *schema.Job
}

func (s *script) run(file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	var out bytes.Buffer
	var step []string
	expected, inExpected := "", false
	line, start := 0, 0
	finish := func() {
		if len(step) == 0 {
			return
		}
		got := s.step(step)
		if got != expected && !*update {
			s.t.Errorf("%s:%d: %s\nprints:\n%swant:\n%s", file, start, strings.Join(step, "\n"), got, expected)
		}
		fmt.Fprintf(&out, "%s\n----\n%s", strings.Join(step, "\n"), got)
		step, expected, inExpected = nil, "", false
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		line++
		text := sc.Text()
		switch {
		case text == "":
			finish()
			out.WriteByte('\n')
		case strings.HasPrefix(text, "#"):
			fmt.Fprintln(&out, text)
		case text == "----":
			inExpected = true
		case inExpected:
			expected += text + "\n"
		default:
			if len(step) == 0 {
				start = line
			}
			step = append(step, text)
		}
	}
	finish()
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}

// body is what stands below a command.
type body struct {
	schemas []object
	tables  []*tableDef
	schema  map[*tableDef]string
	many    bool
}

func (s *script) body(lines []string) *body {
	b := &body{schema: map[*tableDef]string{}}
	for _, line := range lines {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kind == "tables" {
			b.many = true
			continue
		}
		idText, rest, _ := strings.Cut(rest, " ")
		id := s.number(idText)
		if kind == "schema" {
			b.schemas = append(b.schemas, dbInfo(id, rest))
			continue
		}
		name, rest, _ := strings.Cut(rest, " ")
		schemaName, tableName, ok := strings.Cut(name, ".")
		if !ok {
			s.t.Fatalf("want schema.table in %q", line)
		}
		table := &tableDef{id: id, name: tableName, view: kind == "view", sequence: kind == "sequence"}
		cols, rest, _ := strings.Cut(strings.TrimPrefix(rest, "{"), "}")
		for i, c := range strings.Fields(cols) {
			c, pk := strings.CutSuffix(c, "*")
			colName, colID, ok := strings.Cut(c, ":")
			col := colDef{id: int64(i) + 1, name: colName, pk: pk}
			if ok {
				col.id = s.number(colID)
			}
			table.cols = append(table.cols, col)
		}
		parts := strings.Trim(rest, " []")
		for _, p := range strings.Fields(parts) {
			partName, partID, _ := strings.Cut(p, "=")
			table.parts = append(table.parts, partDef{s.number(partID), partName})
		}
		b.tables = append(b.tables, table)
		b.schema[table] = schemaName
	}
	return b
}

func (b *body) reader() metaKeys {
	m := metaKeys{}
	ids := map[string]int64{}
	for _, db := range b.schemas {
		name := db["db_name"].(object)["O"].(string)
		ids[name] = db["id"].(int64)
		m.schema(ids[name], name)
	}
	for _, t := range b.tables {
		m.table(ids[b.schema[t]], t)
	}
	return m
}

func (s *script) number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		s.t.Fatalf("want a number: %v", err)
	}
	return n
}

// step runs one command and returns what it prints.
func (s *script) step(lines []string) string {
	command, rest, _ := strings.Cut(lines[0], " ")
	b := s.body(lines[1:])
	var positional []string
	opts := map[string]string{}
	for _, f := range fields(rest) {
		if k, v, ok := strings.Cut(f, "="); ok {
			opts[k] = v
		} else {
			positional = append(positional, f)
		}
	}
	var ts event.Ts
	if text := opts["ts"]; text != "" {
		ts = event.Ts(s.number(text))
	}
	ctx := context.Background()
	switch command {
	case "load":
		cfg := schema.Config{}
		if keep, ok := opts["keep"]; ok {
			cfg.Keep = func(schema, table string) bool {
				return strings.Contains(","+keep+",", ","+strings.ToLower(schema+"."+table)+",")
			}
		}
		storage, err := schema.Load(ctx, b.reader(), ts, cfg)
		if err != nil {
			return fmt.Sprintf("error: %v\n", err)
		}
		s.storage = storage
		return s.tables(ts)
	case "job":
		s.job = s.newJob(positional, opts, ts, b)
		return s.apply()
	case "complete":
		if err := s.storage.Complete(ctx, s.job, b.reader()); err != nil {
			return fmt.Sprintf("error: %v\n", err)
		}
		return s.apply()
	case "advance":
		s.storage.Advance(ts)
		return fmt.Sprintf("resolved ts %d\n", s.storage.ResolvedTs())
	case "forget":
		s.storage.Forget(ts)
		ids, names, left := s.storage.Sizes()
		return fmt.Sprintf("%d ids, %d names, %d superseded versions\n", ids, names, left)
	case "tables":
		return s.tables(ts)
	case "lookup":
		t, err := s.storage.Table(s.number(opts["id"]), ts)
		if err != nil {
			return fmt.Sprintf("error: %v\n", err)
		}
		return describe(t) + "\n"
	case "name":
		schemaName, table, _ := strings.Cut(positional[0], ".")
		t, _ := s.storage.TableByName(schemaName, table, ts)
		return describe(t) + "\n"
	}
	s.t.Fatalf("unknown command %q", command)
	return ""
}

func (s *script) newJob(positional []string, opts map[string]string, ts event.Ts, b *body) *schema.Job {
	j := &jobDef{id: s.number(positional[0]), tp: s.ddlType(positional[1]), ts: ts, schemaName: opts["in"], query: "q", noVersion: opts["version"] == "0"}
	s.types[j.tp] = true
	if v, ok := opts["schema"]; ok {
		j.schemaID = s.number(v)
	}
	if v, ok := opts["table"]; ok {
		j.tableID = s.number(v)
	}
	if v, ok := opts["step"]; ok {
		j.step = int(s.number(v))
	}
	if v, ok := opts["args"]; ok {
		j.args = json.RawMessage(strings.ReplaceAll(v, "TABLES", string(b.recovered())))
		if strings.Contains(v, "TABLES") {
			b.tables = nil
		}
	}
	if len(b.schemas) > 0 {
		j.db = b.schemas[0]
	}
	if b.many {
		j.tables = b.tables
	} else if len(b.tables) > 0 {
		j.table = b.tables[0]
	}
	return j.job(s.t)
}

// recovered is what FLASHBACK DATABASE has in its arguments.
func (b *body) recovered() []byte {
	list := []object{}
	for _, t := range b.tables {
		list = append(list, object{"SchemaID": 0, "TableInfo": t.json()})
	}
	return marshal(list)
}

func (s *script) ddlType(name string) event.DDLType {
	for n := range 256 {
		if tp := event.DDLType(n); tp.String() == name {
			return tp
		}
	}
	s.t.Fatalf("no DDL type is called %q", name)
	return 0
}

func (s *script) apply() string {
	ddl, err := s.storage.Apply(s.job)
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	return describeDDL(ddl)
}

func (s *script) tables(ts event.Ts) string {
	var b strings.Builder
	for _, t := range sortedTables(s.storage, ts) {
		fmt.Fprintln(&b, describe(t))
	}
	return b.String()
}

// fields splits at spaces outside of double quotes. Quotes around a whole word
// are taken off.
func fields(s string) []string {
	var out []string
	quoted := false
	for _, f := range strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	}) {
		if n := len(f); n > 1 && f[0] == '"' && f[n-1] == '"' {
			f = f[1 : n-1]
		}
		out = append(out, f)
	}
	return out
}
