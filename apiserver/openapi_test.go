package apiserver_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// description is the OpenAPI document, which answers are held against.
type description struct {
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas map[string]*schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	OperationID string `json:"operationId"`
	Parameters  []struct {
		Name, In string
	} `json:"parameters"`
	RequestBody *struct {
		Content map[string]struct{ Schema *schema } `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content map[string]struct{ Schema *schema } `json:"content"`
	} `json:"responses"`
}

// schema is what the document uses of JSON Schema; anything else in it is refused.
type schema struct {
	Ref                  string             `json:"$ref"`
	Type                 string             `json:"type"`
	Description          string             `json:"description"`
	Format               string             `json:"format"`
	Pattern              string             `json:"pattern"`
	Enum                 []any              `json:"enum"`
	Nullable             bool               `json:"nullable"`
	Minimum              *float64           `json:"minimum"`
	MaxLength            int                `json:"maxLength"`
	Items                *schema            `json:"items"`
	Properties           map[string]*schema `json:"properties"`
	Required             []string           `json:"required"`
	AdditionalProperties *bool              `json:"additionalProperties"`
	AllOf                []*schema          `json:"allOf"`
}

func loadDescription(t *testing.T) *description {
	t.Helper()
	data, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var d description
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

func (d *description) operation(t *testing.T, path, method string) *operation {
	t.Helper()
	raw, ok := d.Paths[path][strings.ToLower(method)]
	if !ok {
		return nil
	}
	var o operation
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return &o
}

// check holds an answer against the document.
func (d *description) check(t *testing.T, method, path string, a answer) {
	t.Helper()
	path, _, _ = strings.Cut(path, "?")
	template := d.template(path)
	o := d.operation(t, template, method)
	if o == nil {
		if a.status != 404 && a.status != 405 {
			t.Errorf("%s %s answered %d and is not described", method, path, a.status)
		}
		d.checkBody(t, method+" "+path, &schema{Ref: "#/components/schemas/Error"}, a)
		return
	}
	response, ok := o.Responses[strconv.Itoa(a.status)]
	if !ok {
		t.Errorf("%s %s answered %d, which is not described: %s", method, path, a.status, a.body)
		return
	}
	if len(response.Content) == 0 {
		if a.body != "" {
			t.Errorf("%s %s: want an empty body, got %q", method, path, a.body)
		}
		return
	}
	d.checkBody(t, method+" "+path, response.Content["application/json"].Schema, a)
}

// template finds the path of the document; one without parameters wins.
func (d *description) template(path string) string {
	if _, ok := d.Paths[path]; ok {
		return path
	}
	for template := range d.Paths {
		pattern := regexp.MustCompile(`\\\{[a-z_]+\\\}`).ReplaceAllString(regexp.QuoteMeta(template), `[^/]+`)
		if regexp.MustCompile("^" + pattern + "$").MatchString(path) {
			return template
		}
	}
	return ""
}

func (d *description) checkBody(t *testing.T, what string, s *schema, a answer) {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("%s: Content-Type %q", what, got)
	}
	decoder := json.NewDecoder(strings.NewReader(a.body))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil || decoder.More() {
		t.Errorf("%s: the body is not JSON: %v: %q", what, err, a.body)
		return
	}
	if err := d.match(s, value, "body"); err != nil {
		t.Errorf("%s: %v\n%s", what, err, a.body)
	}
}

func (d *description) match(s *schema, value any, at string) error {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		target := d.Components.Schemas[name]
		if target == nil {
			return fmt.Errorf("%s: there is no schema %s", at, name)
		}
		return d.match(target, value, at)
	}
	for _, part := range s.AllOf {
		if err := d.match(part, value, at); err != nil {
			return err
		}
	}
	if value == nil {
		if !s.Nullable {
			return fmt.Errorf("%s is null", at)
		}
		return nil
	}
	ok := true
	switch v := value.(type) {
	case map[string]any:
		if s.Type != "object" {
			return fmt.Errorf("%s is an object, want %s", at, s.Type)
		}
		return d.matchObject(s, v, at)
	case []any:
		if s.Type != "array" {
			return fmt.Errorf("%s is an array, want %s", at, s.Type)
		}
		for i, item := range v {
			if err := d.match(s.Items, item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case string:
		ok = s.Type == "string" && (s.Pattern == "" || regexp.MustCompile(s.Pattern).MatchString(v)) &&
			(s.MaxLength == 0 || utf8.RuneCountInString(v) <= s.MaxLength) && (len(s.Enum) == 0 || slices.Contains(s.Enum, any(v)))
	case json.Number:
		n, err := strconv.ParseFloat(v.String(), 64)
		ok = err == nil && s.Type == "integer" && !strings.ContainsAny(v.String(), ".e") &&
			(s.Minimum == nil || n >= *s.Minimum) && (len(s.Enum) == 0 || slices.Contains(s.Enum, any(n)))
	case bool:
		ok = s.Type == "boolean"
	}
	if !ok {
		return fmt.Errorf("%s is %v, which does not fit its schema", at, value)
	}
	return nil
}

func (d *description) matchObject(s *schema, object map[string]any, at string) error {
	for _, name := range s.Required {
		if _, ok := object[name]; !ok {
			return fmt.Errorf("%s.%s is missing", at, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		property := s.Properties[name]
		if property == nil {
			if s.AdditionalProperties != nil && !*s.AdditionalProperties {
				return fmt.Errorf("%s.%s is not described", at, name)
			}
			continue
		}
		if err := d.match(property, object[name], at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

// TestDescriptionIsSound: everything that the document refers to is there, and it says
// nothing that the tests do not understand.
func TestDescriptionIsSound(t *testing.T) {
	d := loadDescription(t)
	data, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`"#/components/schemas/(\w+)"`).FindAllStringSubmatch(string(data), -1) {
		if used[m[1]] = true; d.Components.Schemas[m[1]] == nil {
			t.Errorf("there is no schema %s", m[1])
		}
	}
	var raw struct {
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	for name, text := range raw.Components.Schemas {
		decoder := json.NewDecoder(strings.NewReader(string(text)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(new(schema)); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
		if !used[name] {
			t.Errorf("schema %s is not used", name)
		}
	}
	ids := map[string]bool{}
	for path, methods := range d.Paths {
		for method := range methods {
			if method == "parameters" {
				continue
			}
			o := d.operation(t, path, method)
			if o.OperationID == "" || ids[o.OperationID] {
				t.Errorf("%s %s: operationId %q is missing or there twice", method, path, o.OperationID)
			}
			ids[o.OperationID] = true
		}
	}
}

// TestCheckerFindsMistakes: a checker that accepts everything holds nothing.
func TestCheckerFindsMistakes(t *testing.T) {
	d := loadDescription(t)
	good := `{"id":"a","is_owner":true,"address":"h:1","cluster_id":"default"}`
	capture := &schema{Ref: "#/components/schemas/Capture"}
	match := func(text string) error {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		return d.match(capture, value, "body")
	}
	if err := match(good); err != nil {
		t.Error(err)
	}
	for _, change := range [][2]string{
		{`"id":"a"`, `"id":"a_b"`}, {`"id":"a"`, `"id":7`}, {`"id":"a",`, ``}, {`true`, `1`}, {`true`, `null`}, {`}`, `,"more":1}`},
	} {
		if bad := strings.Replace(good, change[0], change[1], 1); match(bad) == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}
