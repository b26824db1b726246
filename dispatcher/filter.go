package dispatcher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
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
	Work    *work             `expr:"#work"` // a name that no expression can write
}

// Bounds of one evaluation. An expression has no loops but those over the message's own
// lists, and each round of them is counted; a round may still be long, of a comparison
// of long lists for one, and so the time is looked at between two rounds.
const (
	filterMostRounds = 200_000
	filterMostTime   = 2 * time.Second
)

// work is what an evaluation has done so far.
type work struct {
	rounds int
	began  time.Time
}

func (w *work) round() error {
	w.rounds++
	switch {
	case w.rounds > filterMostRounds:
		return fmt.Errorf("it goes through the message's lists more than %d times", filterMostRounds)
	case time.Since(w.began) > filterMostTime:
		return fmt.Errorf("it takes longer than %s", filterMostTime)
	}
	return nil
}

// countRounds puts a call of #round before the body of every loop.
type countRounds struct{}

func (countRounds) Visit(node *ast.Node) {
	if p, ok := (*node).(*ast.PredicateNode); ok {
		count := &ast.CallNode{Callee: &ast.IdentifierNode{Value: "#round"}, Arguments: []ast.Node{&ast.IdentifierNode{Value: "#work"}}}
		count.SetLocation(p.Node.Location()) // for the error
		p.Node = &ast.SequenceNode{Nodes: []ast.Node{count, p.Node}}
	}
}

// CheckFilter says whether the text is an expression that a route's filter: may be.
// The error gives the position within the text, in one line.
func CheckFilter(text string) error {
	_, err := compileFilter(text)
	return err
}

// compileFilter compiles the text of a filter:; the empty text gives nil. The types
// within a message are not known, but arithmetic is true or false of none.
func compileFilter(text string) (*filter, error) {
	if text == "" {
		return nil, nil
	}
	f := &filter{}
	program, err := expr.Compile(text, expr.Env(filterEnv{}), expr.AsBool(), expr.Patch(watchBody{f}), expr.Patch(countRounds{}),
		expr.Function("#round", func(params ...any) (any, error) {
			w, _ := params[0].(*work) // the only argument that it is ever called with
			return nil, w.round()
		}))
	if at, ok := errors.AsType[*file.Error](err); ok {
		return nil, fmt.Errorf("%s at line %d, column %d of the expression", at.Message, at.Line, at.Column+1)
	}
	if err != nil {
		return nil, err
	}
	if b, ok := program.Node().(*ast.BinaryNode); ok && slices.Contains([]string{"+", "-", "*", "/", "%", "^", "**", ".."}, b.Operator) {
		return nil, fmt.Errorf("an expression that is true or false, got the result of %s", b.Operator)
	}
	f.program = program
	return f, nil
}

// match says whether the message is to be sent. An error means that the expression
// cannot be worked out for it, or not within the bounds of its work.
func (f *filter) match(d *delivery) (bool, error) {
	env := filterEnv{Subject: d.Subject, Headers: make(map[string]string, len(d.Headers)), Work: &work{began: time.Now()}}
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
