package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"relay/internal/testkit"
)

// labelsByMetric are the labels of metrics, by name.
type labelsByMetric map[string][]string

func (m labelsByMetric) add(name string, labels []string) {
	for _, l := range labels {
		if !slices.Contains(m[name], l) {
			m[name] = append(m[name], l)
		}
	}
	if m[name] == nil {
		m[name] = []string{}
	}
	slices.Sort(m[name])
}

var (
	sampleLine = regexp.MustCompile(`(?m)^(relay_[a-z_]+)(?:\{(.*)\})? `)
	labelName  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)"`)
	histogram  = regexp.MustCompile(`_(bucket|sum|count)$`)
	docRow     = regexp.MustCompile("(?m)^\\| `(relay_[a-z_]+)` \\|([^|]*)\\|")
	metricName = regexp.MustCompile(`\brelay_[a-z_]+`)
	grouping   = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
)

// metricsOf runs relay through all that it counts and returns what /metrics has.
func metricsOf(t *testing.T) labelsByMetric {
	t.Helper()
	h := newHouse(t)
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		if strings.Contains(string(q.Body), "taken") {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	p := h.run(writeRoutes(t, strings.Replace(ordersRoute, "webhook: {", "filter: 'body.total > 0'\n    webhook: {", 1), r.URL))
	admin := p.admin()
	h.publish(0, 1) // no object, so that its filter cannot be worked out
	h.awaitSettled("relay-billing")
	c, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing")
	if err != nil {
		t.Fatal(err)
	}
	changed := c.CachedInfo().Config
	changed.MaxDeliver = 1
	if _, err := h.js.UpdateConsumer(t.Context(), "ORDERS", changed); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{`{"total":1}`, `{"total":1,"by":"taken"}`} {
		if _, err := h.js.Publish(t.Context(), "orders.created", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	var page []byte
	testkit.Eventually(t, func() bool {
		_, page = get(t, admin+"/metrics")
		return strings.Contains(string(page), "relay_messages_taken_total{") && strings.Contains(string(page), "relay_projection_lag ") &&
			strings.Contains(string(page), "relay_consumer_pending{")
	}, "every metric to have a value")
	have := labelsByMetric{}
	for _, m := range sampleLine.FindAllStringSubmatch(string(page), -1) {
		var labels []string
		for _, l := range labelName.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		have.add(histogram.ReplaceAllString(m[1], ""), labels)
	}
	return have
}

// The metrics of the documentation are those of a running relay, with their labels; the
// dashboard and the alerts use no other.
func TestMetricsAreDocumented(t *testing.T) {
	have := metricsOf(t)
	doc := labelsByMetric{}
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range docRow.FindAllStringSubmatch(string(page), -1) {
		doc.add(m[1], strings.FieldsFunc(m[2], func(r rune) bool { return strings.ContainsRune("`, ", r) }))
	}
	if !maps.EqualFunc(have, doc, slices.Equal) {
		t.Errorf("relay has\n%v\nand docs/operations.md\n%v", have, doc)
	}
	exprs := dashboardExprs(t)
	for _, r := range alertRules(t) {
		exprs = append(exprs, r.Expr)
	}
	if len(exprs) < 30 {
		t.Errorf("only %d expressions were found", len(exprs))
	}
	for _, expr := range exprs {
		known := []string{"instance"}
		for _, name := range metricName.FindAllString(expr, -1) {
			base := histogram.ReplaceAllString(name, "")
			if base != name {
				known = append(known, "le")
			}
			if have[base] == nil {
				t.Errorf("%s: relay has no metric %s", expr, name)
			}
			known = append(known, have[base]...)
		}
		var used []string
		for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
			used = append(used, strings.Split(m[1], ", ")...)
		}
		for _, m := range labelName.FindAllStringSubmatch(expr, -1) {
			used = append(used, m[1])
		}
		for _, l := range used {
			if !slices.Contains(known, l) {
				t.Errorf("%s: no metric in it has the label %q", expr, l)
			}
		}
	}
}

func dashboardExprs(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../../deploy/grafana/relay.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	var exprs []string
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			exprs = append(exprs, target.Expr)
		}
		if p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
	}
	return exprs
}

type alertRule struct{ Alert, Expr string }

func alertRules(t *testing.T) []alertRule {
	t.Helper()
	data, err := os.ReadFile("../../deploy/prometheus/relay.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct{ Groups []struct{ Rules []alertRule } }
	if err := yaml.Unmarshal(data, &rules); err != nil {
		t.Fatal(err)
	}
	return rules.Groups[0].Rules
}

// Where promtool is, it runs the rules' own tests; everywhere, each alert has one.
func TestAlertRules(t *testing.T) {
	test, err := os.ReadFile("../../deploy/prometheus/relay.rules.test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range alertRules(t) {
		if !strings.Contains(string(test), "alertname: "+r.Alert+"\n") {
			t.Errorf("alert %s has no test", r.Alert)
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		return
	}
	for _, args := range [][]string{{"check", "rules", "relay.rules.yaml"}, {"test", "rules", "relay.rules.test.yaml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = "../../deploy/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
