package apiserver_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tidbcdc/tidbcdc/cdc"
	"github.com/tidbcdc/tidbcdc/cdc/cdctest"
)

// TestDocumentedCurlLines sends every curl line of the documentation, byte for byte as
// curl does, and looks at what comes back.
func TestDocumentedCurlLines(t *testing.T) {
	lines, err := os.ReadFile("testdata/curl.txt")
	if err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t)
	d.cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey())
	doc := loadDescription(t)
	n := 0
	for line := range strings.Lines(string(lines)) {
		n++
		method, target, header, body := parseCurl(t, strings.TrimSpace(line))
		// The documentation's changefeed is there, and rests if it is to be changed.
		if err := d.capture.RemoveChangefeed(t.Context(), "test1"); err != nil && !errors.Is(err, cdc.ErrChangefeedNotFound) {
			t.Fatal(err)
		}
		if a := d.call("POST", "/api/v1/changefeeds", `{"changefeed_id":"test1","sink_uri":"blackhole://"}`); a.status != 202 {
			t.Fatal(a)
		}
		if method == "PUT" {
			if a := d.call("POST", "/api/v1/changefeeds/test1/pause", ""); a.status != 202 {
				t.Fatal(a)
			}
		}
		a := d.curl(method, target, header, body)
		want := http.StatusAccepted
		if method == "GET" {
			want = http.StatusOK
		}
		if a.status != want {
			t.Errorf("%s: %d %s", line, a.status, a.body)
		}
		doc.check(t, method, target.Path, a)
	}
	if n != 12 {
		t.Errorf("%d lines, want 12", n)
	}
	if _, err := d.capture.Changefeed(t.Context(), "test5"); err != nil {
		t.Error(err)
	}
}

// parseCurl understands the options of the documentation.
func parseCurl(t *testing.T, line string) (method string, target *url.URL, header []string, body string) {
	t.Helper()
	words, err := shellWords(line)
	if err != nil || len(words) == 0 || words[0] != "curl" {
		t.Fatalf("%s: %v", line, err)
	}
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "-X", "-H", "-d":
			if i++; i == len(words) {
				t.Fatalf("%s: it ends too early", line)
			}
			switch words[i-1] {
			case "-X":
				method = words[i]
			case "-H":
				header = append(header, words[i])
			case "-d":
				body = words[i]
			}
		default:
			if target, err = url.Parse(words[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return method, target, header, body
}

// shellWords splits a line as a shell does, without expansions.
func shellWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	in := false
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, in = c, true
		case c == ' ':
			if in {
				words = append(words, word.String())
			}
			word.Reset()
			in = false
		default:
			word.WriteRune(c)
			in = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is open")
	}
	if in {
		words = append(words, word.String())
	}
	return words, nil
}

// curl sends what curl would.
func (d *daemon) curl(method string, target *url.URL, header []string, body string) answer {
	d.t.Helper()
	conn, err := net.Dial("tcp", d.server.Listener.Addr().String())
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n", method, target.RequestURI(), target.Host)
	for _, h := range header {
		b.WriteString(h + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\nContent-Type: application/x-www-form-urlencoded\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	if _, err := conn.Write(b.Bytes()); err != nil {
		d.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(data)}
}

// TestDocumentedAnswers: every key of the documentation's examples is there, in its
// place and of its type.
func TestDocumentedAnswers(t *testing.T) {
	d := newDaemon(t)
	table := d.cluster.CreateTable("shop", "items", cdctest.Int("id").PrimaryKey())
	if a := d.call("POST", "/api/v1/changefeeds", `{"changefeed_id":"test1","sink_uri":"blackhole://"}`); a.status != 202 {
		t.Fatal(a)
	}
	d.await("the table is followed", func() bool {
		p, err := d.capture.Processor(t.Context(), "test1", captureID)
		return err == nil && len(p.TableIDs) == 1 && p.CheckpointTs > 0
	})
	for path, example := range map[string]string{
		"/api/v1/status": `{"version":"v5.2.0-master-dirty","git_hash":"f191cd00c53fdf7a2b1c9308a355092f9bf8824e",
			"id":"c6a43c16-0717-45af-afd6-8b3e01e44f5d","pid":25432,"is_owner":true}`,
		"/api/v1/changefeeds?state=normal": `[{"id":"test1","state":"normal","checkpoint_tso":426921294362574849,
			"checkpoint_time":"2021-08-10 14:04:54.242","error":null}]`,
		"/api/v1/changefeeds/test1": `{"id":"test1","sink_uri":"blackhole://","create_time":"2021-08-10 11:41:30.642",
			"start_ts":426919038970232833,"target_ts":0,"checkpoint_tso":426921014615867393,"checkpoint_time":"2021-08-10 13:47:07.093",
			"sort_engine":"unified","state":"normal","error":null,"error_history":null,"creator_version":"",
			"task_status":[{"capture_id":"d8924259-f52f-4dfb-97a9-c48d26395945","table_ids":[63],"table_operations":{}}]}`,
		"/api/v1/processors": `[{"changefeed_id":"test1","capture_id":"561c3784-77f0-4863-ad52-65a3436db6af"}]`,
		"/api/v1/processors/test1/" + captureID: `{"checkpoint_ts":426919123303006208,"resolved_ts":426919123369066496,
			"table_ids":[63],"error":null}`,
		"/api/v1/captures": `[{"id":"561c3784-77f0-4863-ad52-65a3436db6af","is_owner":true,"address":"127.0.0.1:8300"}]`,
	} {
		a := d.call("GET", path, "")
		if a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
			continue
		}
		got := shape(t, a.body)
		for _, want := range shape(t, example) {
			at := slices.Index(got, want)
			if at < 0 {
				t.Errorf("%s: %s is missing, or not in its place\n%s", path, want, a.body)
				break
			}
			got = got[at+1:] // later versions have added more in between
		}
		if !strings.Contains(a.body, "\n    \"") && !strings.Contains(a.body, "\n        \"") {
			t.Errorf("%s: not indented by four spaces:\n%s", path, a.body)
		}
	}
	if a := d.call("GET", "/api/v1/changefeeds/test1", ""); !strings.Contains(a.body, fmt.Sprintf("\n                %d\n", table.ID())) {
		t.Errorf("table %d is not among the table ids:\n%s", table.ID(), a.body)
	}
}

// shape lists what is in a JSON text, in its order, such as "task_status[].table_ids[] number".
func shape(t *testing.T, text string) []string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var out []string
	token := func() json.Token {
		v, err := decoder.Token()
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		return v
	}
	var walk func(at string)
	walk = func(at string) {
		switch v := token().(type) {
		case json.Delim:
			out = append(out, at+" "+v.String())
			for n := 0; decoder.More(); n++ {
				if v == '[' {
					walk(at + "[]")
					continue
				}
				walk(fmt.Sprintf("%s.%v", at, token()))
			}
			token()
		default:
			out = append(out, fmt.Sprintf("%s %T", at, v))
		}
	}
	walk("")
	return out
}
