package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// The metrics of other origin that rules and dashboard may use.
var foreignMetrics = []string{"process_start_time_seconds", "process_open_fds", "process_max_fds", "process_cpu_seconds_total",
	"process_resident_memory_bytes", "go_goroutines"}

// A query is an expression of PromQL and where it is.
type query struct{ at, expr string }

// Rules and dashboard use metrics, labels and values that exist.
func TestRulesAndDashboardMatchTheMetrics(t *testing.T) {
	t.Parallel()
	known := declared(t)
	var queries []query
	recorded := map[string]bool{}
	for _, r := range alertRules(t) {
		if r.Record != "" {
			recorded[r.Record] = true
		}
		queries = append(queries, query{r.Record + r.Alert, r.Expr})
		for _, label := range all(strings.Join(slices.Collect(maps.Values(r.Annotations)), " "), `\$labels\.([a-z_]+)`) {
			if !knownLabel(known, label) {
				t.Errorf("%s: no metric has the label %s", r.Alert, label)
			}
		}
	}
	queries = append(queries, dashboardQueries(t)...)
	if len(queries) < 60 {
		t.Errorf("found %d queries, which are too few", len(queries))
	}
	for _, q := range queries {
		q.check(t, known, recorded)
	}
}

func (q query) check(t *testing.T, known map[string]*metrics.Instrument, recorded map[string]bool) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(q.expr)
	if err != nil {
		t.Errorf("%s: %v", q.at, err)
		return
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.AggregateExpr:
			for _, label := range n.Grouping {
				if !knownLabel(known, label) {
					t.Errorf("%s: no metric has the label %s", q.at, label)
				}
			}
		case *parser.VectorSelector:
			q.checkSelector(t, n, known, recorded)
		}
		return nil
	})
}

func (q query) checkSelector(t *testing.T, n *parser.VectorSelector, known map[string]*metrics.Instrument, recorded map[string]bool) {
	t.Helper()
	if recorded[n.Name] || slices.Contains(foreignMetrics, n.Name) {
		return
	}
	i := known[n.Name]
	if i == nil {
		if base := regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(n.Name, ""); known[base] != nil && known[base].Kind == metrics.KindHistogram {
			i = known[base]
		}
	}
	if i == nil || i.Kind == metrics.KindHistogram && known[n.Name] != nil {
		t.Errorf("%s: there is no metric %s", q.at, n.Name)
		return
	}
	for _, m := range n.LabelMatchers {
		if m.Name == labels.MetricName || m.Name == "job" || m.Name == "instance" {
			continue
		}
		a := attributeOf(i, m.Name)
		if a == nil {
			t.Errorf("%s: %s has no label %s", q.at, n.Name, m.Name)
			continue
		}
		for value := range strings.SplitSeq(m.Value, "|") {
			if value != "" && len(a.Values) > 0 && !slices.Contains(a.Values, value) {
				t.Errorf("%s: %s of %s is never %q", q.at, m.Name, n.Name, value)
			}
		}
	}
}

func knownLabel(known map[string]*metrics.Instrument, label string) bool {
	if slices.Contains([]string{"job", "instance", "le"}, label) {
		return true
	}
	for _, i := range known {
		if attributeOf(i, label) != nil {
			return true
		}
	}
	return false
}

// An alertRule is a rule of Prometheus, with an alert or a record.
type alertRule struct {
	Alert, Record, Expr, For string
	Labels, Annotations      map[string]string
}

func alertRules(t *testing.T) (rules []alertRule) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(repository(t), "deploy/prometheus/gatehouse.rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct{ Rules []alertRule }
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

// Each alert says how urgent it is, and where an operator reads what to do.
func TestAlertsAreComplete(t *testing.T) {
	t.Parallel()
	const runbook = "https://github.com/gatehouse-dev/gatehouse/blob/main/docs/runbook.md#"
	names := map[string]bool{}
	for _, r := range alertRules(t) {
		if r.Alert == "" {
			continue
		}
		if names[r.Alert] {
			t.Errorf("%s is there twice", r.Alert)
		}
		names[r.Alert] = true
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) || r.For == "" ||
			!strings.HasSuffix(r.Annotations["summary"], ".") || !strings.HasSuffix(r.Annotations["description"], ".") ||
			r.Annotations["runbook_url"] != runbook+strings.ToLower(r.Alert) {
			t.Errorf("%s: for %q, labels %v, annotations %v", r.Alert, r.For, r.Labels, r.Annotations)
		}
	}
	if len(names) < 20 {
		t.Errorf("%d alerts, which are too few", len(names))
	}
}

// The runbook has a section for each alert, with its severity, and no other. Messages that it quotes
// are logged.
func TestRunbook(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(repository(t), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	runbook, logs := read("docs/runbook.md"), read("docs/logs.md")
	severity := map[string]string{}
	for _, r := range alertRules(t) {
		if r.Alert != "" {
			severity[r.Alert] = r.Labels["severity"]
		}
	}
	_, alerts, _ := strings.Cut(runbook, "\n## Alerts\n")
	for _, section := range strings.Split(alerts, "\n### ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		if severity[name] == "" {
			t.Errorf("the runbook has %s, which is no alert or is there twice", name)
		}
		if got, _, _ := strings.Cut(strings.TrimSpace(text), " "); !strings.EqualFold(strings.Trim(got, "*."), severity[name]) {
			t.Errorf("%s: the severity is %q in the runbook, want %q", name, got, severity[name])
		}
		for _, part := range []string{"\n- Check", "emedy:", "\n- Escalate"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s: the section lacks %q", name, strings.Trim(part, "\n- "))
			}
		}
		delete(severity, name)
	}
	for name := range severity {
		t.Errorf("the runbook lacks %s", name)
	}
	programs := regexp.MustCompile(`^(gatehouse|journalctl|kubectl|redis-cli|pg_isready|info|ulimit|ss) `)
	for _, text := range all(runbook, "`([a-z]+ [^`|=]*[a-z])`") {
		if !programs.MatchString(text) && !strings.Contains(logs, "`"+text) {
			t.Errorf("the runbook quotes %q, which is no message of docs/logs.md", text)
		}
	}
}

// dashboardQueries returns the queries of the dashboard, with values for its variables.
func dashboardQueries(t *testing.T) (queries []query) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(repository(t), "deploy/grafana/gatehouse.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard any
	if err := json.Unmarshal(raw, &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", `"$job"`, `".+"`)
	var walk func(title string, v any)
	walk = func(title string, v any) {
		switch v := v.(type) {
		case []any:
			for _, one := range v {
				walk(title, one)
			}
		case map[string]any:
			if name, ok := v["title"].(string); ok {
				title = name
			}
			if expr, ok := v["expr"].(string); ok {
				queries = append(queries, query{"dashboard: " + title, variables.Replace(expr)})
			}
			for _, one := range v {
				walk(title, one)
			}
		}
	}
	walk("", dashboard)
	return queries
}

// Each metric of the reference is in a rule or on the dashboard, or is left out on purpose.
func TestEveryMetricIsWatched(t *testing.T) {
	t.Parallel()
	text := ""
	for _, r := range alertRules(t) {
		text += r.Expr + "\n"
	}
	for _, q := range dashboardQueries(t) {
		text += q.expr + "\n"
	}
	for name := range declared(t) {
		if !strings.Contains(text, name) {
			t.Errorf("neither a rule nor the dashboard has %s", name)
		}
	}
}
