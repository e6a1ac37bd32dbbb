package gatehousetest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	"github.com/gatehouse-dev/gatehouse/gatehousetest/internal/notes"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// settingsOf returns the settings in a section of docs/issuers.md. If it has several blocks of
// settings, number says which.
func settingsOf(t *testing.T, heading string, number int) map[string]any {
	t.Helper()
	document, err := os.ReadFile("../docs/issuers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(document), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/issuers.md has no section %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	for _, block := range regexp.MustCompile("(?ms)^ *```yaml\n(.*?)^ *```$").FindAllStringSubmatch(text, -1) {
		var settings map[string]any
		if err := yaml.Unmarshal([]byte(block[1]), &settings); err != nil {
			t.Fatalf("%s: %v", heading, err)
		}
		if settings["issuers"] == nil {
			continue
		}
		if number--; number < 0 {
			return settings
		}
	}
	t.Fatalf("docs/issuers.md has too few settings below %q", heading)
	return nil
}

// issuersOf returns the elements of the setting issuers. Their keys are those of a file, since the
// test cannot reach the issuers.
func issuersOf(t *testing.T, settings map[string]any, keys string) string {
	t.Helper()
	reference, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range settings {
		if !strings.Contains(string(reference), "`--"+name+"`") {
			t.Errorf("there is no setting %s", name)
		}
	}
	for _, element := range settings["issuers"].([]any) {
		element := element.(map[string]any)
		for _, source := range []string{"jwks-url", "ca-file", "bearer-token-file"} {
			delete(element, source)
		}
		element["jwks-file"] = keys
	}
	text, err := json.Marshal(settings["issuers"])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A platform has the claims of its tokens as it documents them, and what must not be accepted.
type platform struct {
	heading string
	number  int // of the settings in the section
	claims  map[string]any
	header  map[string]any
	// misses change the claims of a token that is then rejected.
	misses map[string]map[string]any
	call   string
}

var platforms = []platform{
	{
		heading: "GitHub Actions", call: "POST /api/notes:import",
		claims: map[string]any{
			"iss": "https://token.actions.githubusercontent.com", "aud": "https://api.shop.example",
			"sub":   "repo:acme@123456/shop@456789:environment:production",
			"actor": "octocat", "actor_id": "12", "base_ref": "", "check_run_id": "96193868770", "environment": "production",
			"event_name": "push", "head_ref": "", "job_workflow_ref": "acme/shop/.github/workflows/notes.yml@refs/heads/main",
			"job_workflow_sha": "b8962f4eaff8e14fc646cb22c596c81e67d71362", "ref": "refs/heads/main", "ref_protected": "true", "ref_type": "branch",
			"repository": "acme/shop", "repository_id": "456789", "repository_owner": "acme", "repository_owner_id": "123456",
			"repository_visibility": "private", "run_attempt": "1", "run_id": "32291736541", "run_number": "1",
			"runner_environment": "github-hosted", "sha": "b8962f4eaff8e14fc646cb22c596c81e67d71362", "workflow": "notes",
			"workflow_ref": "acme/shop/.github/workflows/notes.yml@refs/heads/main",
		},
		misses: map[string]map[string]any{
			"the default audience":                {"aud": "https://github.com/acme"},
			"another repository of the name":      {"repository_id": "999", "repository_owner_id": "998"},
			"another repository of the owner":     {"repository_id": "456780", "repository": "acme/other"},
			"a longer id":                         {"repository_id": "4567890"},
			"an id that is a number":              {"repository_id": 456789},
			"a branch":                            {"ref": "refs/heads/feature"},
			"a branch that ends in main":          {"ref": "refs/heads/not/main"},
			"a pull request":                      {"event_name": "pull_request", "ref": "refs/pull/7/merge", "sub": "repo:acme/shop:pull_request"},
			"a pull request with the ref of main": {"event_name": "pull_request_target"},
			"another environment":                 {"environment": "staging"},
			"no environment":                      {"environment": tokentest.Absent, "sub": "repo:acme/shop:ref:refs/heads/main"},
			"another issuer":                      {"iss": "https://token.actions.evil.example"},
			"the issuer with a slash":             {"iss": "https://token.actions.githubusercontent.com/"},
			"the issuer of an enterprise":         {"iss": "https://token.actions.githubusercontent.com/acme"},
		},
	},
	{
		heading: "GitLab CI", call: "POST /api/notes:import",
		claims: map[string]any{
			"iss": "https://gitlab.com", "aud": "https://api.shop.example", "sub": "project_path:acme/shop:ref_type:branch:ref:main",
			"namespace_id": "72", "namespace_path": "acme", "project_id": "20", "project_path": "acme/shop", "user_id": "1", "user_login": "ada",
			"user_email": "ada@example.com", "user_access_level": "developer", "pipeline_id": "574", "pipeline_source": "push", "job_id": "302",
			"ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true", "runner_id": 1,
			"runner_environment": "gitlab-hosted", "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc", "project_visibility": "private",
			"ci_config_ref_uri": "gitlab.com/acme/shop//.gitlab-ci.yml@refs/heads/main",
		},
		misses: map[string]map[string]any{
			"another audience":               {"aud": "https://vault.example"},
			"another project":                {"project_id": "200"},
			"another namespace":              {"namespace_id": "7"},
			"a branch that is not protected": {"ref_protected": "false"},
			"a tag that is called main":      {"ref_type": "tag"},
			"a boolean":                      {"ref_protected": false},
		},
	},
	{
		heading: "Kubernetes", call: "POST /api/notes:import", header: map[string]any{"typ": tokentest.Absent},
		claims: map[string]any{
			"iss": "https://kubernetes.default.svc.cluster.local", "aud": []string{"https://api.shop.example"},
			"sub": "system:serviceaccount:batch:importer",
			"kubernetes.io": map[string]any{
				"namespace": "batch", "node": map[string]any{"name": "node-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
				"pod":            map[string]any{"name": "importer", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
				"serviceaccount": map[string]any{"name": "importer", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
			},
		},
		misses: map[string]map[string]any{
			"the token for the API server": {"aud": []string{"https://kubernetes.default.svc.cluster.local"}},
			"another account":              {"sub": "system:serviceaccount:batch:importer2"},
			"another namespace":            {"sub": "system:serviceaccount:shop:importer"},
			"a node":                       {"sub": "system:node:importer"},
			"another cluster":              {"iss": "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE"},
			"no audience":                  {"aud": tokentest.Absent},
		},
	},
	{
		heading: "Google service accounts", call: "POST /api/notes:import",
		claims: map[string]any{
			"iss": "https://accounts.google.com", "aud": "https://api.shop.example", "sub": "104029292853099978293", "azp": "104029292853099978293",
			"email": "importer@acme.iam.gserviceaccount.com", "email_verified": true,
		},
		misses: map[string]map[string]any{
			"another account":           {"sub": "104029292853099978294"},
			"a user's token":            {"aud": "1234.apps.googleusercontent.com"},
			"an address not verified":   {"email_verified": false},
			"an address that is a text": {"email_verified": "yes"},
			"the issuer's other name":   {"iss": "accounts.google.com"},
		},
	},
	{
		heading: "Amazon Cognito", call: "POST /api/notes", header: map[string]any{"typ": tokentest.Absent},
		claims: map[string]any{
			"iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI", "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
			"client_id": "1example23456789", "cognito:groups": []string{"notes:write", "eu-west-1_AbCdEfGhI_Google"}, "version": 2,
			"origin_jti": "aaaaaaaa-bbbb-cccc-dddd-ffffffffffff", "event_id": "aaaaaaaa-bbbb-cccc-dddd-111111111111", "token_use": "access",
			"scope": "openid profile https://api.shop.example/read", "username": "ada",
		},
		misses: map[string]map[string]any{
			"another client":               {"client_id": "2example23456789"},
			"no client":                    {"client_id": tokentest.Absent},
			"an ID token":                  {"token_use": "id", "aud": "1example23456789", "client_id": tokentest.Absent},
			"an ID token with a client id": {"token_use": "id"},
			"no use":                       {"token_use": tokentest.Absent},
			"another audience besides":     {"aud": "https://other.example"},
			"another user pool":            {"iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Other"},
		},
	},
	{
		heading: "From one provider to another", call: "POST /api/notes",
		claims: map[string]any{
			"iss": "https://new.example/", "aud": "https://api.shop.example", "sub": "dev|editor", "permissions": []string{"notes:write"},
		},
		misses: map[string]map[string]any{
			"another audience": {"aud": "https://other.example"},
			"the old issuer":   {"iss": "https://old.example/"},
		},
	},
	{
		heading: "From one provider to another", number: 1, call: "POST /api/notes",
		claims: map[string]any{
			"iss": "https://old.example/", "aud": "https://api.shop.example", "sub": "auth0|64f1c0", "permissions": []string{"notes:write"},
		},
		misses: map[string]map[string]any{"an ID token": {"aud": []string{"web", "https://api.shop.example"}, "at_hash": "x"}},
	},
}

// TestIssuersDocument: the settings of docs/issuers.md start, accept tokens with the claims that the
// platform documents, and reject those that are almost right.
func TestIssuersDocument(t *testing.T) {
	t.Parallel()
	for _, p := range platforms {
		t.Run(p.heading, func(t *testing.T) {
			t.Parallel()
			issuer := tokentest.NewUnserved(t, p.claims["iss"].(string))
			keys := filepath.Join(t.TempDir(), "keys.json")
			set, err := json.Marshal(map[string]any{"keys": []any{issuer.Key().JWK()}})
			if err == nil {
				err = os.WriteFile(keys, set, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			app := gatehousetest.Config{Settings: map[string]string{
				"audience": "https://api.shop.example", "issuers": issuersOf(t, settingsOf(t, p.heading, p.number), keys),
			}}.Start(t, notes.App())
			issuer.Now = app.Clock.Now
			mint := func(changes map[string]any) string {
				claims := maps.Clone(p.claims)
				claims["nbf"] = app.Clock.Now().Add(-5 * time.Minute).Unix()
				maps.Copy(claims, changes)
				return issuer.Mint(claims, p.header)
			}
			gatehousetest.Call(t, app.Client(mint(nil)), p.call, `"Released"`, http.StatusOK)
			for _, name := range slices.Sorted(maps.Keys(p.misses)) {
				response := gatehousetest.Call(t, app.Client(mint(p.misses[name])), p.call, `"Released"`, http.StatusUnauthorized)
				if !strings.Contains(response.String(), "TOKEN_INVALID") {
					t.Errorf("%s: got %s, want TOKEN_INVALID", name, response)
				}
			}
		})
	}
}
