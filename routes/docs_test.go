package routes_test

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"relay/routes"
)

const (
	schemaFile  = "../routes.schema.json"
	exampleFile = "../routes.example.yaml"
	docFile     = "../docs/routes.md"
)

func TestSchemaFileIsMadeFromTheSchema(t *testing.T) {
	compare(t, schemaFile, routes.Schema())
}

// The parts of the page between markers are made: the reference from the schema, the
// cookbook from the files that TestGoodFilesAreValid loads.
func TestDocumentationIsMadeFromTheSchema(t *testing.T) {
	block := regexp.MustCompile(`(?s)<!-- begin (\S+) -->\n.*?<!-- end (\S+) -->\n`)
	seen := map[string]bool{}
	made := block.ReplaceAllFunc(read(t, docFile), func(old []byte) []byte {
		name := string(block.FindSubmatch(old)[1])
		seen[name] = true
		content := string(routes.Reference())
		if name != "reference" {
			content = "```yaml\n" + string(read(t, filepath.Join("testdata", name))) + "```\n"
		}
		return []byte("<!-- begin " + name + " -->\n" + content + "<!-- end " + name + " -->\n")
	})
	compare(t, docFile, made)
	for _, name := range append(glob(t, "testdata/cookbook/*.yaml"), "testdata/reference") {
		if !seen[strings.TrimPrefix(name, "testdata/")] {
			t.Errorf("%s is not in %s", name, docFile)
		}
	}
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: got no files and %v", pattern, err)
	}
	return files
}

func goodFiles(t *testing.T) []string {
	t.Helper()
	return append(append(glob(t, "testdata/good/*.yaml"), glob(t, "testdata/cookbook/*.yaml")...), exampleFile)
}

func TestGoodFilesAreValid(t *testing.T) {
	for _, file := range goodFiles(t) {
		c, err := routes.Load([]string{file}, routes.Options{LookupEnv: func(string) (string, bool) { return "", false }})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		for _, w := range c.Warnings {
			if w.Code != "unreadable" {
				t.Errorf("a good file has a warning: %s", w)
			}
		}
	}
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(routes.Schema())))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("routes.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("routes.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// asJSON reads YAML the way an editor does: YAML 1.2, keys as texts. It is false for
// what is no YAML at all.
func asJSON(data []byte) (any, bool) {
	var n yaml.Node
	if err := yaml.Unmarshal(data, &n); err != nil || len(n.Content) == 0 {
		return nil, false
	}
	return nodeJSON(n.Content[0], 0)
}

func nodeJSON(n *yaml.Node, depth int) (any, bool) {
	if depth > 50 {
		return nil, false
	}
	switch n.Kind {
	case yaml.AliasNode:
		return nodeJSON(n.Alias, depth+1)
	case yaml.SequenceNode:
		values := []any{}
		for _, item := range n.Content {
			v, ok := nodeJSON(item, depth+1)
			if !ok {
				return nil, false
			}
			values = append(values, v)
		}
		return values, true
	case yaml.MappingNode:
		values := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, ok := nodeJSON(n.Content[i+1], depth+1)
			if !ok {
				return nil, false
			}
			if merged, isMap := v.(map[string]any); isMap && n.Content[i].Tag == "!!merge" {
				maps.Copy(values, merged)
				continue
			}
			values[n.Content[i].Value] = v
		}
		return values, true
	}
	switch n.Tag {
	case "!!int", "!!float":
		var number json.Number
		if json.Unmarshal([]byte(n.Value), &number) == nil {
			return number, true
		}
		return n.Value, true
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), true
	case "!!null":
		return nil, true
	}
	return n.Value, true
}

// The JSON Schema takes every good file, and refuses every bad one whose mistake a
// schema can see: in a key, a word, or the form of one value.
func TestTheSchemaAgreesWithTheDecoder(t *testing.T) {
	schema := compiledSchema(t)
	for _, file := range goodFiles(t) {
		value, ok := asJSON(read(t, file))
		if !ok {
			t.Fatalf("%s is no YAML", file)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: the schema refuses a good file: %v", file, err)
		}
	}
	structural := map[string]bool{}
	for _, code := range []string{"unknown-key", "type", "version", "word", "range", "number", "duration", "size", "time", "inline-secret", "status"} {
		structural[code] = true
	}
	unseen := map[string]string{
		"duration-overflow-days.yaml":      "a schema does not compare durations",
		"duration-overflow.yaml":           "a schema does not compare durations",
		"duration-too-long.yaml":           "a schema does not compare durations",
		"duration-zero.yaml":               "a schema does not compare durations",
		"size-too-large.yaml":              "a schema does not compare sizes",
		"status-reversed-range.yaml":       "a schema does not compare statuses",
		"name-no.yaml":                     "no is a text in YAML 1.2",
		"expansion-in-number.yaml":         "a schema does not know the environment",
		"number-exponent-for-integer.yaml": "1e2 is a whole number to a schema",
	}
	for _, file := range badFiles(t) {
		name := filepath.Base(file)
		problems := problemsOf(t, name, read(t, file))
		if len(problems) == 0 || !structural[problems[0].Code] {
			continue // among them the files that grow without bound
		}
		value, ok := asJSON(read(t, file))
		if !ok {
			continue
		}
		refused := schema.Validate(value) != nil
		if refused == (unseen[name] != "") {
			t.Errorf("%s (%s): the schema refuses it: %v", name, problems[0].Code, refused)
		}
	}
}

// keysOf lists the dotted keys of a schema's objects, and the default of each.
func keysOf(root, s map[string]any, prefix string, into map[string]any) {
	for _, part := range []string{"items", "anyOf"} {
		switch below := s[part].(type) {
		case map[string]any:
			keysOf(root, below, prefix, into)
		case []any:
			for _, alternative := range below {
				keysOf(root, alternative.(map[string]any), prefix, into)
			}
		}
	}
	properties, _ := s["properties"].(map[string]any)
	for name, value := range properties {
		property := value.(map[string]any)
		if _, refers := property["$ref"]; refers {
			property = root["definitions"].(map[string]any)[name].(map[string]any)
		}
		into[prefix+name] = property["default"]
		if name != "defaults" {
			keysOf(root, property, prefix+name+".", into)
		}
	}
}

func schemaKeys(t *testing.T) map[string]any {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal(routes.Schema(), &s); err != nil {
		t.Fatal(err)
	}
	keys := map[string]any{}
	keysOf(s, s, "", keys)
	if len(keys) < 80 {
		t.Fatalf("got %d keys, want at least 80", len(keys))
	}
	return keys
}

// The example has every key, and beside each key the default that the schema has.
func TestTheExampleHasEveryKeyAndDefault(t *testing.T) {
	data := read(t, exampleFile)
	value, _ := asJSON(data)
	present := map[string]bool{}
	var walk func(v any, prefix string)
	walk = func(v any, prefix string) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item, prefix)
			}
		case map[string]any:
			for name, below := range v {
				present[prefix+name] = true
				walk(below, prefix+name+".")
			}
		}
	}
	walk(value, "")
	for key, def := range schemaKeys(t) {
		// A route's dead_letter has the keys of the file's.
		if rest, ok := strings.CutPrefix(key, "routes.dead_letter."); ok {
			key = "dead_letter." + rest
		}
		inDefaults := "defaults." + strings.TrimPrefix(key, "routes.")
		secret := strings.HasSuffix(key, ".env") || strings.HasSuffix(key, ".file") // signing has both
		if !present[key] && !present[inDefaults] && !secret {
			t.Errorf("%s has no %s", exampleFile, key)
		}
		if def == nil || key == "routes.webhook.egress" {
			continue
		}
		text, _ := json.Marshal(def)
		name := key[strings.LastIndex(key, ".")+1:]
		line := regexp.MustCompile(`(?m)^[ -]*` + name + `: .*# .*default ` + regexp.QuoteMeta(strings.Trim(string(text), `"`)) + `($|[ ,;])`)
		if !line.Match(data) {
			t.Errorf("%s does not say that the default of %s is %s", exampleFile, key, text)
		}
	}
}

// Each key says what it does, and each value has an example.
func TestTheSchemaExplainsEveryKey(t *testing.T) {
	var walk func(s map[string]any, path string)
	walk = func(s map[string]any, path string) {
		for name, value := range s {
			below, ok := value.(map[string]any)
			if !ok {
				continue
			}
			if name == "properties" || name == "definitions" {
				for key, property := range below {
					p := property.(map[string]any)
					if p["$ref"] != nil {
						continue
					}
					if text, _ := p["description"].(string); !strings.HasSuffix(text, ".") {
						t.Errorf("%s.%s: the description is %q, want a sentence", path, key, text)
					}
					walk(p, path+"."+key)
				}
				continue
			}
			walk(below, path)
		}
	}
	var s map[string]any
	if err := json.Unmarshal(routes.Schema(), &s); err != nil {
		t.Fatal(err)
	}
	walk(s, "")
}

// Every code stands in the documentation, and every code there has a bad file or is
// told by a test of its own.
func TestCodes(t *testing.T) {
	page := string(read(t, docFile))
	_, table, _ := strings.Cut(page, "### Codes of problems")
	table, _, _ = strings.Cut(table, "<!-- end reference -->")
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(table, -1) {
		documented[m[1]] = false
	}
	documented["file-mode"] = true // TestSecretFileForEverybody
	documented["live"] = true      // TestStreamsOfTheServers
	for _, file := range badFiles(t) {
		for _, p := range problemsOf(t, file, read(t, file)) {
			if _, ok := documented[p.Code]; !ok {
				t.Errorf("%s: code %q is not documented", file, p.Code)
			}
			documented[p.Code] = true
		}
	}
	for code, used := range documented {
		if !used {
			t.Errorf("code %q has no bad file", code)
		}
	}
}
