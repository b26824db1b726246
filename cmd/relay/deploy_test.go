package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

const deployDir = "../../deploy/"

// strict decodes a YAML file into v; a key that v does not know is an error.
func strict(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// object is what all kinds of Kubernetes have in common.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct {
		Name, Namespace string
		Labels          map[string]string
	}
}

type selector struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

type probe struct {
	HTTPGet        struct{ Path, Port string } `yaml:"httpGet"`
	PeriodSeconds  int                         `yaml:"periodSeconds"`
	TimeoutSeconds int                         `yaml:"timeoutSeconds"`
}

type deployment struct {
	object `yaml:",inline"`
	Spec   struct {
		Replicas int
		Selector selector
		Strategy struct {
			RollingUpdate struct {
				MaxUnavailable int `yaml:"maxUnavailable"`
				MaxSurge       int `yaml:"maxSurge"`
			} `yaml:"rollingUpdate"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				ServiceAccountName string `yaml:"serviceAccountName"`
				AutomountToken     bool   `yaml:"automountServiceAccountToken"`
				GraceSeconds       int    `yaml:"terminationGracePeriodSeconds"`
				SecurityContext    struct {
					RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
					RunAsUser      int64                 `yaml:"runAsUser"`
					RunAsGroup     int64                 `yaml:"runAsGroup"`
					FSGroup        int64                 `yaml:"fsGroup"`
					SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
				} `yaml:"securityContext"`
				Spread []struct {
					MaxSkew           int      `yaml:"maxSkew"`
					TopologyKey       string   `yaml:"topologyKey"`
					WhenUnsatisfiable string   `yaml:"whenUnsatisfiable"`
					LabelSelector     selector `yaml:"labelSelector"`
				} `yaml:"topologySpreadConstraints"`
				Containers []container
				Volumes    []struct {
					Name      string
					ConfigMap struct{ Name string } `yaml:"configMap"`
					Secret    struct {
						SecretName  string `yaml:"secretName"`
						DefaultMode int    `yaml:"defaultMode"`
					}
				}
			}
		}
	}
}

type container struct {
	Name, Image string
	Args        []string
	Ports       []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	LivenessProbe   probe `yaml:"livenessProbe"`
	ReadinessProbe  probe `yaml:"readinessProbe"`
	Resources       struct{ Requests, Limits map[string]string }
	SecurityContext struct {
		AllowPrivilegeEscalation bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool `yaml:"readOnlyRootFilesystem"`
		Capabilities             struct{ Drop []string }
	} `yaml:"securityContext"`
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

// checkRunArgs says whether relay takes the arguments of a run, and returns their --drain.
func checkRunArgs(t *testing.T, args []string) time.Duration {
	t.Helper()
	cmd := runCommand()
	if len(args) == 0 || args[0] != "run" {
		t.Fatalf("%q does not run relay", args)
	}
	if err := cmd.ParseFlags(args[1:]); err != nil {
		t.Fatalf("relay %s: %v", strings.Join(args, " "), err)
	}
	drain, err := cmd.Flags().GetDuration("drain")
	if err != nil {
		t.Fatal(err)
	}
	return drain
}

var secretFile = regexp.MustCompile(`/run/secrets/relay/([a-z.-]+)`)

// The manifests hold together: relay takes the arguments, serves the probes, has time to
// drain, and finds every secret; nothing runs as root or writes to its own disk.
func TestKubernetes(t *testing.T) {
	dir := deployDir + "kubernetes/"
	var d deployment
	strict(t, dir+"deployment.yaml", &d)
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	if drain := checkRunArgs(t, c.Args); time.Duration(pod.GraceSeconds)*time.Second < drain+10*time.Second {
		t.Errorf("terminationGracePeriodSeconds %d leaves no time after --drain %s", pod.GraceSeconds, drain)
	}
	if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.Ports[0].Name != c.ReadinessProbe.HTTPGet.Port {
		t.Errorf("probes %+v %+v", c.LivenessProbe, c.ReadinessProbe)
	}
	s := c.SecurityContext
	if !pod.SecurityContext.RunAsNonRoot || !s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) || pod.AutomountToken {
		t.Errorf("more rights than relay needs: %+v %+v", pod.SecurityContext, s)
	}

	var secret struct {
		object     `yaml:",inline"`
		StringData map[string]string `yaml:"stringData"`
	}
	strict(t, dir+"secret.example.yaml", &secret)
	routes, err := os.ReadFile(dir + "routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := command(t, "", "validate", dir+"routes.yaml"); code != exitDone {
		t.Errorf("routes.yaml: exit %d\n%s%s", code, stdout, stderr)
	}
	named := map[string]bool{}
	for _, m := range secretFile.FindAllStringSubmatch(strings.Join(c.Args, " ")+string(routes), -1) {
		named[m[1]] = true
	}
	if !maps.EqualFunc(named, secret.StringData, func(bool, string) bool { return true }) {
		t.Errorf("the files named are %v, the secret holds %v", named, secret.StringData)
	}
	var service struct {
		object `yaml:",inline"`
		Spec   struct {
			Selector        map[string]string
			SessionAffinity string `yaml:"sessionAffinity"`
			Ports           []struct {
				Name       string
				Port       int
				TargetPort string `yaml:"targetPort"`
			}
		}
	}
	strict(t, dir+"service.yaml", &service)
	var budget struct {
		object `yaml:",inline"`
		Spec   struct {
			MinAvailable int `yaml:"minAvailable"`
			Selector     selector
		}
	}
	strict(t, dir+"poddisruptionbudget.yaml", &budget)
	for what, labels := range map[string]map[string]string{"deployment": d.Spec.Selector.MatchLabels, "service": service.Spec.Selector, "budget": budget.Spec.Selector.MatchLabels} {
		if !maps.Equal(labels, d.Spec.Template.Metadata.Labels) {
			t.Errorf("the %s selects %v, the pods have %v", what, labels, d.Spec.Template.Metadata.Labels)
		}
	}
	if service.Spec.Ports[0].TargetPort != c.Ports[0].Name || budget.Spec.MinAvailable >= d.Spec.Replicas {
		t.Errorf("service %+v, budget %+v", service.Spec, budget.Spec)
	}
	checkKustomization(t, dir, pod.Volumes[0].ConfigMap.Name)
}

// checkKustomization says whether all files have a use, and lets kubectl build what they
// make, where there is one.
func checkKustomization(t *testing.T, dir, configMap string) {
	t.Helper()
	var k struct {
		APIVersion         string `yaml:"apiVersion"`
		Kind, Namespace    string
		Resources          []string
		ConfigMapGenerator []struct {
			Name  string
			Files []string
		} `yaml:"configMapGenerator"`
		GeneratorOptions struct {
			DisableNameSuffixHash bool `yaml:"disableNameSuffixHash"`
		} `yaml:"generatorOptions"`
		Images []struct {
			Name    string
			NewName string `yaml:"newName"`
			NewTag  string `yaml:"newTag"`
		}
	}
	strict(t, dir+"kustomization.yaml", &k)
	used := append(slices.Clone(k.Resources), "kustomization.yaml", "secret.example.yaml", k.ConfigMapGenerator[0].Files[0])
	slices.Sort(used)
	var files []string
	paths, err := filepath.Glob(dir + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		files = append(files, filepath.Base(p))
	}
	if !slices.Equal(used, files) {
		t.Errorf("files %v, used are %v", files, used)
	}
	if k.ConfigMapGenerator[0].Name != configMap || !k.GeneratorOptions.DisableNameSuffixHash {
		t.Errorf("the ConfigMap %q is not what the pods mount for ever", configMap)
	}
	if kubectl, err := exec.LookPath("kubectl"); err == nil {
		if out, err := exec.Command(kubectl, "kustomize", dir).CombinedOutput(); err != nil || bytes.Count(out, []byte("\nkind: ")) != len(k.Resources)+1 {
			t.Errorf("kubectl kustomize: %v\n%s", err, out)
		}
	}
}

// The unit's command line is one that relay takes, with time to drain, and names only
// credentials that the unit loads.
func TestSystemdUnit(t *testing.T) {
	data, err := os.ReadFile(deployDir + "systemd/relay.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			unit[key] = append(unit[key], value)
		}
	}
	start := strings.Fields(unit["ExecStart"][0])
	drain := checkRunArgs(t, start[1:])
	if stop, err := time.ParseDuration(unit["TimeoutStopSec"][0]); err != nil || stop < drain+10*time.Second {
		t.Errorf("TimeoutStopSec %s leaves no time after --drain %s", unit["TimeoutStopSec"], drain)
	}
	var loaded []string
	for _, c := range unit["LoadCredential"] {
		name, _, _ := strings.Cut(c, ":")
		loaded = append(loaded, name)
	}
	for _, m := range regexp.MustCompile(`\$\{CREDENTIALS_DIRECTORY\}/([a-z.-]+)`).FindAllStringSubmatch(string(data), -1) {
		if !slices.Contains(loaded, m[1]) {
			t.Errorf("credential %s is not loaded", m[1])
		}
	}
	if unit["DynamicUser"][0] != "yes" || unit["ProtectSystem"][0] != "strict" {
		t.Error("the service has more rights than relay needs")
	}
}

// What a release packs is there, or is made by relay itself: a page for each command,
// and completions.
func TestRelease(t *testing.T) {
	var release struct {
		Builds   []struct{ Ldflags []string }
		Archives []struct{ Files []string }
		Nfpms    []struct{ Contents []struct{ Src string } }
		Checksum struct{ Algorithm string }
		Sboms    []struct{ Artifacts string }
	}
	data, err := os.ReadFile("../../.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &release); err != nil {
		t.Fatal(err)
	}
	build := t.TempDir()
	if code, _, stderr := command(t, "", "man", filepath.Join(build, "man")); code != exitDone {
		t.Fatalf("relay man: exit %d\n%s", code, stderr)
	}
	if err := os.Mkdir(filepath.Join(build, "completions"), 0o700); err != nil {
		t.Fatal(err)
	}
	for shell, file := range map[string]string{"bash": "relay.bash", "zsh": "_relay", "fish": "relay.fish"} {
		code, stdout, _ := command(t, "", "completion", shell)
		if code != exitDone || !strings.Contains(stdout, "relay") {
			t.Errorf("relay completion %s: exit %d", shell, code)
		}
		if err := os.WriteFile(filepath.Join(build, "completions", file), []byte(stdout), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := slices.Clone(release.Archives[0].Files)
	for _, c := range release.Nfpms[0].Contents {
		files = append(files, c.Src)
	}
	for _, f := range files {
		path := "../../" + strings.Replace(f, "**", "*", 1)
		if made, ok := strings.CutPrefix(f, "build/"); ok {
			path = filepath.Join(build, made)
		}
		if found, err := filepath.Glob(path); err != nil || len(found) == 0 {
			t.Errorf("%s is not there", f)
		}
	}
	page, err := os.ReadFile(filepath.Join(build, "man", "relay-doctor.1"))
	if err != nil || !bytes.Contains(page, []byte("RELAY_DATABASE_URL")) || !bytes.Contains(page, []byte("(default nats://127.0.0.1:4222)")) {
		t.Errorf("the page of relay doctor: %v\n%s", err, page)
	}
	if !strings.Contains(release.Builds[0].Ldflags[0], "main.version=") || release.Checksum.Algorithm != "sha256" || release.Sboms[0].Artifacts != "archive" {
		t.Errorf("version, checksums and SBOM: %+v", release)
	}
}
