package dispatcher

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"
)

// filter is a route's compiled filter: expression.
type filter struct {
	program  *vm.Program
	wantBody bool // it reads body, so the payload has to be parsed
}

// filterEnv is what an expression sees. body is nil when the payload is not JSON.
type filterEnv struct {
	Subject string            `expr:"subject"`
	Headers map[string]string `expr:"headers"` // the first value of each
	Body    any               `expr:"body"`
}

// CheckFilter says whether the text is an expression that a route's filter: may be.
// The error gives the position within the text.
func CheckFilter(text string) error {
	_, err := compileFilter(text)
	return err
}

// compileFilter compiles the text of a filter:; the empty text gives nil.
func compileFilter(text string) (*filter, error) {
	if text == "" {
		return nil, nil
	}
	f := &filter{}
	program, err := expr.Compile(text, expr.Env(filterEnv{}), expr.AsBool(), expr.Patch(watchBody{f}))
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	f.program = program
	return f, nil
}

// match says whether the message is to be sent. An expression has no loops but those
// over the message's own lists; the machine's memory budget bounds what it may make of
// them, and nothing bounds its time.
func (f *filter) match(d *delivery) (bool, error) {
	env := filterEnv{Subject: d.Subject, Headers: make(map[string]string, len(d.Headers))}
	for name, values := range d.Headers {
		if len(values) > 0 {
			env.Headers[name] = values[0]
		}
	}
	if f.wantBody && json.Valid(d.Body) {
		if err := json.NewDecoder(bytes.NewReader(d.Body)).Decode(&env.Body); err != nil {
			return false, fmt.Errorf("filter: read the payload: %w", err)
		}
	}
	got, err := expr.Run(f.program, env)
	if err != nil {
		return false, fmt.Errorf("filter: %w", err)
	}
	match, _ := got.(bool) // AsBool makes it one
	return match, nil
}

// watchBody notes whether an expression names body.
type watchBody struct{ f *filter }

func (w watchBody) Visit(node *ast.Node) {
	if id, ok := (*node).(*ast.IdentifierNode); ok && id.Value == "body" {
		w.f.wantBody = true
	}
}
