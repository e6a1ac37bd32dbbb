package deploy

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/cli/values"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/strvals"
)

const (
	chartDir = "helm/gatehouse"
	// required are the values without defaults.
	required = "settings.base-url=https://shop.example,settings.oidc-issuer=https://login.example," +
		"settings.oidc-client-id=shop-bff,settings.audience=https://api.shop.example,secrets.existingSecret=shop"
	everything = "tls.existingSecret=certificates,tls.caConfigMap=ca,ingress.enabled=true,ingress.className=nginx,ingress.tlsSecret=shop-tls," +
		"serviceMonitor.enabled=true,prometheusRule.enabled=true,bff.autoscaling.enabled=true,secrets.keys={secret,oidc-client-key,session-store,database-url,denylist}," +
		"networkPolicy.from[0].podSelector.matchLabels.app=proxy,networkPolicy.adminFrom[0].namespaceSelector.matchLabels.name=monitoring," +
		"networkPolicy.egress[0].ports[0].port=443,image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef," +
		"bff.env[0].name=OTEL_EXPORTER_OTLP_ENDPOINT,bff.env[0].value=http://collector:4318,bff.podLabels.team=shop,bff.podAnnotations.note=x"
)

// topologies has values for each, and what runs in each deployment.
var topologies = []struct {
	name, values string
	runs         map[string][]string
}{
	{"all", "topology=all", map[string][]string{"bff": {"bff", "gateway", "server"}}},
	{"edge", "topology=edge,grpcTarget=dns:///api.shop.svc:9090", map[string][]string{"bff": {"bff", "gateway"}}},
	{"parts", "topology=parts", map[string][]string{"bff": {"bff"}, "gateway": {"gateway"}, "server": {"server"}}},
}

// A manifest is a rendered object, with what the tests look at.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Template struct {
			Spec struct {
				TerminationGracePeriodSeconds int
				AutomountServiceAccountToken  *bool
				SecurityContext               struct {
					RunAsNonRoot   bool
					SeccompProfile struct{ Type string }
				}
				Containers []struct {
					Args  []string
					Env   []struct{ Name, Value string }
					Ports []struct {
						Name          string
						ContainerPort int
					}
					StartupProbe, LivenessProbe, ReadinessProbe struct {
						HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
					}
					SecurityContext struct {
						AllowPrivilegeEscalation *bool
						ReadOnlyRootFilesystem   bool
						Capabilities             struct{ Drop []string }
					}
				}
			}
		}
		ClusterIP string
		Ports     []struct{ TargetPort string }
	}
}

// UnmarshalYAML reads camel case.
func (m *manifest) UnmarshalYAML(node *yaml.Node) error {
	lower(node)
	type plain manifest
	return node.Decode((*plain)(m))
}

// lower makes keys lower case, which is what package yaml derives from names of fields.
func lower(node *yaml.Node) {
	for i, n := range node.Content {
		if node.Kind == yaml.MappingNode && i%2 == 0 && n.Value != "httpGet" {
			n.Value = strings.ToLower(n.Value)
		}
		lower(n)
	}
}

// render returns the files of the chart with values in the form of helm's --set.
func render(t *testing.T, values ...string) (map[string]string, error) {
	t.Helper()
	return renderValues(t, parse(t, values...))
}

func renderValues(t *testing.T, given map[string]any) (map[string]string, error) {
	t.Helper()
	loaded, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	release := common.ReleaseOptions{Name: "shop", Namespace: "shop", IsInstall: true}
	top, err := util.ToRenderValues(loaded, given, release, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(loaded, top)
}

func parse(t *testing.T, values ...string) map[string]any {
	t.Helper()
	given, err := strvals.Parse(required)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		if err := strvals.ParseInto(v, given); err != nil {
			t.Fatalf("%s: %v", v, err)
		}
	}
	return given
}

func TestChart(t *testing.T) {
	t.Parallel()
	settings := readSettings(t)
	for _, topology := range topologies {
		for name, more := range map[string]string{"defaults": "bff.replicas=3", "everything": everything} {
			t.Run(topology.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				files, err := render(t, topology.values, more)
				if err != nil {
					t.Fatal(err)
				}
				checkSchemas(t, files)
				found := map[string]int{}
				ports := map[string]bool{}
				var services []manifest
				for _, m := range manifests(t, files) {
					found[m.Kind]++
					if m.Kind == "Service" {
						services = append(services, m)
					}
					if m.Kind == "Deployment" {
						part := strings.TrimPrefix(m.Metadata.Name, "shop-gatehouse-")
						checkDeployment(t, settings, m, topology.runs[part])
						for _, p := range m.Spec.Template.Spec.Containers[0].Ports {
							ports[p.Name] = true
						}
					}
				}
				for _, s := range services {
					if called := topology.name == "parts" && strings.HasSuffix(s.Metadata.Name, "-gateway") || strings.HasSuffix(s.Metadata.Name, "-server"); called && s.Spec.ClusterIP != "None" {
						t.Errorf("service %s hides its pods from the part in front of it", s.Metadata.Name)
					}
					for _, p := range s.Spec.Ports {
						if !ports[p.TargetPort] {
							t.Errorf("service %s leads to the port %q, which no pod has", s.Metadata.Name, p.TargetPort)
						}
					}
				}
				n := len(topology.runs)
				want := map[string]int{"Deployment": n, "PodDisruptionBudget": n, "NetworkPolicy": n, "ServiceAccount": 1}
				if more == everything {
					want["Ingress"], want["ServiceMonitor"], want["PrometheusRule"], want["HorizontalPodAutoscaler"] = 1, 1, 1, 1
				}
				for kind, n := range want {
					if found[kind] != n {
						t.Errorf("%s: got %d, want %d", kind, found[kind], n)
					}
				}
				if found["Secret"] > 0 {
					t.Error("the chart makes a Secret beside the existing one")
				}
			})
		}
	}
}

func checkDeployment(t *testing.T, settings map[string]setting, m manifest, parts []string) {
	t.Helper()
	pod := m.Spec.Template.Spec
	c := pod.Containers[0]
	env, opened := map[string]string{}, map[string]int{}
	for _, v := range c.Env {
		env[v.Name] = v.Value
	}
	checkEnvironment(t, settings, env)
	for _, p := range c.Ports {
		opened[p.Name] = p.ContainerPort
	}
	listens := map[string]string{"bff": "BFF", "gateway": "GATEWAY", "server": "GRPC", "admin": "ADMIN"}
	for _, part := range append(slices.Clone(parts), "admin") {
		if got, want := env["GATEHOUSE_LISTEN_"+listens[part]], fmt.Sprintf(":%d", opened[part]); got != want {
			t.Errorf("%s: %s listens at %q, and the port is %q", m.Metadata.Name, part, got, want)
		}
	}
	if len(opened) != len(parts)+1 {
		t.Errorf("%s: ports %v, want those of %v and admin", m.Metadata.Name, opened, parts)
	}
	if got, want := time.Duration(pod.TerminationGracePeriodSeconds)*time.Second, longestStop(t, settings, env)+5*time.Second; got != want {
		t.Errorf("%s: grace period %v, want %v", m.Metadata.Name, got, want)
	}
	for probe, want := range map[struct{ Path, Port string }]string{
		c.StartupProbe.HTTPGet: "/healthz", c.LivenessProbe.HTTPGet: "/healthz", c.ReadinessProbe.HTTPGet: "/readyz",
	} {
		if probe.Path != want || probe.Port != "admin" {
			t.Errorf("%s: probe %v, want %s at admin", m.Metadata.Name, probe, want)
		}
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("%s: pods get a token of the service account", m.Metadata.Name)
	}
	if s := c.SecurityContext; !pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != "RuntimeDefault" ||
		s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("%s: security context %+v %+v", m.Metadata.Name, pod.SecurityContext, s)
	}
	if slices.Equal(parts, []string{"gateway"}) && env["GATEHOUSE_SECRET_FILE"] != "" {
		t.Errorf("%s: the gateway gets the secret of the bff", m.Metadata.Name)
	}
}

// manifests returns the objects in rendered files.
func manifests(t *testing.T, files map[string]string) (all []manifest) {
	t.Helper()
	for name, content := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		decoder := yaml.NewDecoder(strings.NewReader(content))
		for {
			var m manifest
			if err := decoder.Decode(&m); err != nil {
				if err.Error() != "EOF" {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			if m.Kind != "" {
				all = append(all, m)
			}
		}
	}
	return all
}

// checkSchemas validates rendered files against the schemas of Kubernetes, without those of
// monitoring.coreos.com.
func checkSchemas(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	args := []string{"--strict"}
	for name, content := range files {
		if !strings.HasSuffix(name, ".yaml") || strings.TrimSpace(content) == "" {
			continue
		}
		path := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	out, err := exec.CommandContext(t.Context(), ".venv/bin/kubernetes-validate", args...).CombinedOutput()
	if err != nil {
		t.Errorf("kubernetes-validate: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "INFO ") && !strings.Contains(line, "monitoring.coreos.com/v1") {
			t.Errorf("kubernetes-validate: %s", line)
		}
	}
}

// TestChartLists renders settings that are lists of structures, and the secret of introspection,
// which the server alone gets.
func TestChartLists(t *testing.T) {
	t.Parallel()
	files, err := render(t, "topology=parts,bff.replicas=1,secrets.keys={secret,oidc-client-secret,session-store,introspection-client-secret}",
		"settings.introspection=on,settings.introspection-client-id=api,settings.files-url=s3://sold?region=eu-central-1",
		"settings.issuers[0].issuer=https://token.actions.githubusercontent.com,settings.issuers[0].audiences={https://api.shop.example}",
		"bff.settings.routes[0].path=/orders,bff.settings.routes[0].to=http://orders:4000,bff.settings.routes[0].strip-prefix=true,"+
			"bff.settings.protect={/orders,/private}")
	if err != nil {
		t.Fatal(err)
	}
	checkSchemas(t, files)
	want := map[string]map[string]string{
		"bff": {
			"GATEHOUSE_ROUTES":                           `[{"path":"/orders","strip-prefix":true,"to":"http://orders:4000"}]`,
			"GATEHOUSE_PROTECT":                          "/orders,/private",
			"GATEHOUSE_INTROSPECTION_CLIENT_SECRET_FILE": "",
		},
		"server": {
			"GATEHOUSE_ISSUERS":                          `[{"audiences":["https://api.shop.example"],"issuer":"https://token.actions.githubusercontent.com"}]`,
			"GATEHOUSE_INTROSPECTION":                    "on",
			"GATEHOUSE_FILES_URL":                        "s3://sold?region=eu-central-1",
			"GATEHOUSE_INTROSPECTION_CLIENT_SECRET_FILE": "/etc/gatehouse/secrets/introspection-client-secret",
			"GATEHOUSE_ROUTES":                           "",
		},
	}
	settings := readSettings(t)
	for _, m := range manifests(t, files) {
		if m.Kind != "Deployment" {
			continue
		}
		env := map[string]string{}
		for _, v := range m.Spec.Template.Spec.Containers[0].Env {
			env[v.Name] = v.Value
		}
		checkEnvironment(t, settings, env)
		part := strings.TrimPrefix(m.Metadata.Name, "shop-gatehouse-")
		for name, value := range want[part] {
			if env[name] != value {
				t.Errorf("%s: %s is %q, want %q", part, name, env[name], value)
			}
		}
		delete(want, part)
	}
	if len(want) > 0 {
		t.Errorf("no deployments %v", slices.Sorted(maps.Keys(want)))
	}
}

// TestChartDocuments renders the values in documents, and validates the objects.
func TestChartDocuments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	settings := readSettings(t)
	for _, name := range []string{"deployment.md", "monitoring.md"} {
		for _, block := range regexp.MustCompile("(?ms)^```yaml (\\w+\\.yaml)\n(.*?)^```$").FindAllStringSubmatch(read(t, "../docs/"+name), -1) {
			if err := os.WriteFile(filepath.Join(dir, block[1]), []byte(block[2]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, names := range [][]string{{"all"}, {"all", "edge"}, {"all", "parts"}, {"all", "monitoring"}} {
		options := values.Options{}
		for _, name := range names {
			options.ValueFiles = append(options.ValueFiles, filepath.Join(dir, name+".yaml"))
		}
		given, err := options.MergeValues(nil)
		if err != nil {
			t.Fatal(err)
		}
		files, err := renderValues(t, given)
		if err != nil {
			t.Errorf("%q: %v", names, err)
			continue
		}
		checkSchemas(t, files)
		deployments := 0
		for _, m := range manifests(t, files) {
			if m.Kind != "Deployment" {
				continue
			}
			deployments++
			env := map[string]string{}
			for _, v := range m.Spec.Template.Spec.Containers[0].Env {
				env[v.Name] = v.Value
			}
			checkEnvironment(t, settings, env)
		}
		if want := map[bool]int{true: 3, false: 1}[names[len(names)-1] == "parts"]; deployments != want {
			t.Errorf("%q: %d deployments, want %d", names, deployments, want)
		}
	}
}

// TestChartRules compares the rules of the chart with the file that installations without a chart
// load, which is a link to that of the chart.
func TestChartRules(t *testing.T) {
	t.Parallel()
	type groups struct{ Groups []any }
	var file groups
	if err := yaml.Unmarshal([]byte(read(t, "prometheus/gatehouse.rules.yaml")), &file); err != nil || len(file.Groups) == 0 {
		t.Fatalf("%v, %d groups", err, len(file.Groups))
	}
	files, err := render(t, "prometheusRule.enabled=true,prometheusRule.groups[0].name=own")
	if err != nil {
		t.Fatal(err)
	}
	var rule struct {
		Kind string
		Spec groups
	}
	if err := yaml.Unmarshal([]byte(files["gatehouse/templates/monitoring.yaml"]), &rule); err != nil || rule.Kind != "PrometheusRule" {
		t.Fatalf("%v, kind %q", err, rule.Kind)
	}
	if want := append(file.Groups, any(map[string]any{"name": "own"})); !reflect.DeepEqual(rule.Spec.Groups, want) {
		t.Errorf("got the groups\n%v\nwant\n%v", rule.Spec.Groups, want)
	}
}

// TestChartRefuses checks the errors about values that cannot work.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"topology=two":                             "'/topology'",
		"bff.replica=3":                            "'replica' not allowed",
		"lameDuck=-1":                              "'/lameDuck'",
		"secrets.keys={secret,base-url}":           "'/secrets/keys/1'",
		"settings.Base_URL=x":                      "'Base_URL'",
		"settings.base-url=":                       "settings.base-url is missing",
		"settings.session-store=redis://redis":     "settings.session-store is a secret",
		"secrets.keys={secret}":                    "several replicas of the bff need a session store",
		"secrets.existingSecret=":                  "secrets.values.secret is missing",
		"topology=edge":                            "grpcTarget is missing",
		"bff.settings.database-url=postgres://x/y": "settings.database-url is a secret",
	} {
		if _, err := render(t, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %s", values, err, want)
		}
	}
	if _, err := render(t, "secrets.existingSecret=,secrets.keys={secret},secrets.values.secret=x,bff.replicas=1,settings.session-store=memory:"); err != nil {
		t.Errorf("a trial with secrets in values: %v", err)
	}
}

func TestChartLint(t *testing.T) {
	t.Parallel()
	for _, topology := range topologies {
		result := lint.RunAll(chartDir, parse(t, topology.values, everything), "shop")
		for _, m := range result.Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", topology.name, m)
			}
		}
	}
}

// TestChartReadme checks that the chart's README describes each value, and no other.
func TestChartReadme(t *testing.T) {
	t.Parallel()
	var values map[string]any
	if err := yaml.Unmarshal([]byte(read(t, chartDir+"/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	var want []string
	for name, v := range values {
		inner, ok := v.(map[string]any)
		if !ok || len(inner) == 0 {
			want = append(want, name)
			continue
		}
		if name == "gateway" || name == "server" { // as bff
			continue
		}
		for key := range inner {
			want = append(want, name+"."+key)
		}
	}
	var got []string
	_, table, _ := strings.Cut(read(t, chartDir+"/README.md"), "\n## Values\n")
	for _, found := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(table, -1) {
		got = append(got, found[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("README.md describes\n%q, want\n%q", got, want)
	}
}
