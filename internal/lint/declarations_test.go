package lint_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// source is a file of the module.
type source struct {
	path string // from the module's root, with slashes
	file *ast.File
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// folder returns the package's folder, "" for the root.
func (s source) folder() string { return strings.TrimPrefix(path.Dir(s.path), ".") }

// sources parses all files of the module, whatever their build tags.
func sources(t *testing.T) []source {
	t.Helper()
	const root = "../.."
	var out []source
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		if entry.IsDir() {
			return skipFolder(name, relative)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse %s: %w", relative, err)
		}
		out = append(out, source{relative, file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// A walk that goes astray finds nothing wrong.
	for _, want := range []string{"doc.go", "cdc/event/ts.go", "internal/lint/imports_test.go"} {
		if !slices.ContainsFunc(out, func(s source) bool { return s.path == want }) {
			t.Fatalf("%s is not among the %d files that were found", want, len(out))
		}
	}
	return out
}

// skipFolder leaves out what the go command does, and modules inside this one.
func skipFolder(name, relative string) error {
	if relative == "." {
		return nil
	}
	base := path.Base(relative)
	if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

// vague are package names that say nothing.
func vague(name string) bool {
	switch strings.TrimSuffix(name, "_test") {
	case "util", "utils", "common", "helper", "helpers", "base", "model", "models", "types", "manager":
		return true
	}
	return false
}

// TestDeclarations: a package has a telling name; a library package runs nothing
// when it is imported and shares nothing between those who import it.
func TestDeclarations(t *testing.T) {
	for _, s := range sources(t) {
		if name := s.file.Name.Name; vague(name) {
			t.Errorf("%s: package %s has a name that says nothing", s.path, name)
		}
		l := layerOf(s.folder())
		if library := l != layerCommand && l != layerExample; library && !s.isTest() {
			for _, problem := range declarationProblems(s.file) {
				t.Errorf("%s: %s", s.path, problem)
			}
		}
		if s.folder() == "" && len(s.file.Decls) > 0 {
			t.Errorf("%s: the root package is documentation only", s.path)
		}
	}
}

// declarationProblems finds init functions and package variables that are there
// to be changed: locks, atomics, pools, channels, and maps that begin empty.
func declarationProblems(file *ast.File) []string {
	var out []string
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Name.Name == "init" && decl.Recv == nil {
				out = append(out, "func init runs when the package is imported")
			}
		case *ast.GenDecl:
			if decl.Tok != token.VAR {
				continue
			}
			for _, spec := range decl.Specs {
				value, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				shared := value.Type != nil && isShared(value.Type, len(value.Values) == 0)
				for _, v := range value.Values {
					shared = shared || isSharedValue(v)
				}
				if shared {
					out = append(out, fmt.Sprintf("var %s is shared by all who import the package", value.Names[0].Name))
				}
			}
		}
	}
	return out
}

// isShared reports whether a type is made to be changed by several; empty says
// that nothing is assigned to a variable of it.
func isShared(t ast.Expr, empty bool) bool {
	switch t := t.(type) {
	case *ast.SelectorExpr:
		name, ok := t.X.(*ast.Ident)
		return ok && (name.Name == "sync" || name.Name == "atomic")
	case *ast.IndexExpr: // atomic.Pointer[T]
		return isShared(t.X, empty)
	case *ast.StarExpr:
		return isShared(t.X, empty)
	case *ast.ArrayType:
		return isShared(t.Elt, false)
	case *ast.ChanType:
		return true
	case *ast.MapType:
		return empty || isShared(t.Value, false)
	case *ast.StructType:
		return slices.ContainsFunc(t.Fields.List, func(f *ast.Field) bool { return isShared(f.Type, false) })
	}
	return false
}

func isSharedValue(v ast.Expr) bool {
	switch v := v.(type) {
	case *ast.UnaryExpr:
		return isSharedValue(v.X)
	case *ast.CompositeLit:
		return v.Type != nil && isShared(v.Type, len(v.Elts) == 0)
	case *ast.CallExpr:
		if f, ok := v.Fun.(*ast.Ident); ok && (f.Name == "make" || f.Name == "new") && len(v.Args) > 0 {
			return isShared(v.Args[0], true)
		}
	}
	return false
}

func TestDeclarationRules(t *testing.T) {
	tests := []struct {
		code string
		bad  bool
	}{
		{"func init() {}", true},
		{"type T struct{}; func (T) init() {}", false},
		{"var mu sync.Mutex", true},
		{"var once = sync.OnceValue(f)", false},
		{"var n atomic.Int64", true},
		{"var p atomic.Pointer[T]", true},
		{"var pool = sync.Pool{New: f}", true},
		{"var pool = &sync.Pool{New: f}", true},
		{"var registry = map[string]int{}", true},
		{"var registry = make(map[string]int)", true},
		{"var registry map[string]int", true},
		{"var locks = map[string]*sync.Mutex{\"a\": nil}", true},
		{"var shards [16]sync.Mutex", true},
		{"var state struct { sync.Mutex; n int }", true},
		{"var events = make(chan int)", true},
		{"var table = map[string]int{\"a\": 1}", false},
		{"var names = []string{\"a\"}", false},
		{"var errClosed = errors.New(\"closed\")", false},
		{"var _ sink.Sink = (*T)(nil)", false},
		{"func f() { var mu sync.Mutex; mu.Lock() }", false},
	}
	for _, tt := range tests {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\n"+tt.code, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := declarationProblems(file); len(got) > 0 != tt.bad {
			t.Errorf("%s: got %q", tt.code, got)
		}
	}
	for name, want := range map[string]bool{"util": true, "common_test": true, "types": true, "puller": false, "event_test": false} {
		if vague(name) != want {
			t.Errorf("package name %s: vague is %t", name, !want)
		}
	}
}
