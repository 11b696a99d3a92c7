package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// build compiles a program of this module, without C as README says, and returns its
// path. what is a package, or a file.
func build(t testing.TB, what string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-o", binary, what)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", what, err, out)
	}
	return binary
}

// output runs a program to its end and returns what it prints.
func output(ctx context.Context, t *testing.T, binary string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s%s", binary, args, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func TestExampleStdout(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	program := build(t, "./examples/stdout")
	db := database(t, "ex_stdout")
	up := dial(t)
	start := now(ctx, t, up)
	mustExec(t, db, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))", "INSERT INTO t VALUES (1, 'a')", "UPDATE t SET v = 'b'", "DELETE FROM t")
	out := output(ctx, t, program, "-pd", cluster.PD, "-rules", "ex_stdout.*", "-start-ts", start.String(), "-target-ts", now(ctx, t, up).String())
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, fmt.Sprintf("%v %v %v", m["type"], m["old"], m["new"]))
	}
	want := "[ddl <nil> <nil> insert <nil> map[id:1 v:a] update map[id:1 v:a] map[id:1 v:b] delete map[id:1 v:b] <nil>]"
	if fmt.Sprint(got) != want {
		t.Errorf("printed %v\nwant    %v", got, want)
	}
}

func TestExampleCustomSink(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	out := followInserts(ctx, t, build(t, "./examples/customsink"), "ex_cache")
	if !strings.Contains(out, "3 rows cached") {
		t.Errorf("printed\n%s", out)
	}
}

func TestExampleResume(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	program := build(t, "./examples/resume")
	db := database(t, "ex_resume")
	up := dial(t)
	dir := t.TempDir()
	mustExec(t, db, "CREATE TABLE t (id INT PRIMARY KEY)")
	run := func() string {
		return output(ctx, t, program, "-pd", cluster.PD, "-dir", dir, "-target-ts", now(ctx, t, up).Add(2*time.Second).String())
	}
	if out := run(); strings.Contains(out, "ex_resume.t") {
		t.Errorf("the first run printed changes from before it\n%s", out)
	}
	mustExec(t, db, "INSERT INTO t VALUES (1), (2)") // while it is stopped
	if out := run(); !strings.Contains(out, "ex_resume.t: 2 changes") {
		t.Errorf("the second run printed\n%s", out)
	}
}

// followInserts runs a program that follows a table t from now on, and inserts
// three rows once it does.
func followInserts(ctx context.Context, t *testing.T, program, name string) string {
	t.Helper()
	db := database(t, name)
	up := dial(t)
	mustExec(t, db, "CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	target := now(ctx, t, up).Add(6 * time.Second)
	done := make(chan string, 1)
	go func() {
		done <- output(ctx, t, program, "-pd", cluster.PD, "-table", name+".t", "-target-ts", target.String())
	}()
	// The program starts at some ts from now on: changes go on until it ends.
	for i := 0; ; i++ {
		select {
		case out := <-done:
			return out
		case <-time.After(100 * time.Millisecond):
			mustExec(t, db, fmt.Sprintf("REPLACE INTO t VALUES (1, %d), (2, %d), (3, %d)", i, i, i))
		}
	}
}

// TestReadme compiles the README's program as it is printed there and runs it.
func TestReadme(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```go\n(package main.*?)```").FindSubmatch(readme)
	if m == nil {
		t.Fatal("README.md has no program")
	}
	source := filepath.Join(t.TempDir(), "main.go")
	code := strings.ReplaceAll(string(m[1]), "127.0.0.1:2379", cluster.PD)
	if err := os.WriteFile(source, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	program := build(t, source)
	db := database(t, "shop")
	mustExec(t, db, "CREATE TABLE t (id INT PRIMARY KEY, v INT)")

	cmd := exec.CommandContext(ctx, program)
	var out syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	i := 0
	waitFor(t, "the README's program to print changes", func() bool {
		i++
		mustExec(t, db, fmt.Sprintf("REPLACE INTO t VALUES (1, %d)", i))
		return strings.Contains(out.String(), "shop.t") && strings.Contains(out.String(), "update")
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v\n%s", err, out.String())
	}
}

// TestDemo runs the demo for a few seconds, with a cluster of its own.
func TestDemo(t *testing.T) {
	ctx := testContext(t, 2*time.Minute)
	cmd := exec.CommandContext(ctx, build(t, "./examples/demo"), "-playground", playgroundBinary())
	cmd.Env = append(os.Environ(), "DEMO_SECONDS=9")
	var out syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("demo: %v\n%s", err, out.String())
	}
	m := regexp.MustCompile(`summary: (\d+) rows, (\d+) DDLs, checkpoint lag ([\d.]+) s`).FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("no summary line\n%s", out.String())
	}
	var rows, ddls int
	var lag float64
	_, err := fmt.Sscan(strings.Join(m[1:], " "), &rows, &ddls, &lag)
	if err != nil || rows < 5 || ddls < 4 || lag > 10 {
		t.Errorf("%s (%v)", m[0], err)
	}
	for _, part := range []string{"insert", "purchase", "lag"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the demo printed no %q\n%s", part, out.String())
		}
	}
}
