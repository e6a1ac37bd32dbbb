//go:build proof

package e2e

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

const ordersClient = "orders-api"

// newRealm makes a realm for a bff at base. change changes the realm and its client with a secret.
func (k *keycloak) newRealm(t *testing.T, name, base string, change func(realm, client map[string]any)) *keycloak {
	t.Helper()
	realm := k.realm(base)
	realm["realm"] = name
	change(realm, realm["clients"].([]any)[0].(map[string]any))
	k.admin(t, http.MethodPost, "", realm)
	in := *k
	in.issuer = k.origin + "/realms/" + name
	return &in
}

// environment returns the settings of the client with a secret.
func (k *keycloak) environment(base string) []string {
	return []string{
		"GATEHOUSE_OIDC_CLIENT_ID=" + keycloakSecretClient, "GATEHOUSE_OIDC_CLIENT_SECRET=" + k.clientSecret,
		"GATEHOUSE_OIDC_ISSUER=" + k.issuer, "GATEHOUSE_AUDIENCE=" + keycloakAudience, "GATEHOUSE_BASE_URL=" + base,
		"GATEHOUSE_SECRET=" + tutorialSecret, "GATEHOUSE_SESSION_STORE=memory:", "GATEHOUSE_DATABASE_URL=memory:",
	}
}

// find returns the object with a name of a list of the realm.
func (k *keycloak) find(t *testing.T, path, field, name string) map[string]any {
	t.Helper()
	var list []map[string]any
	if err := json.Unmarshal(k.admin(t, http.MethodGet, "/"+k.realmName()+path, nil), &list); err != nil {
		t.Fatal(err)
	}
	for _, object := range list {
		if object[field] == name {
			return object
		}
	}
	t.Fatalf("%s has no %s", path, name)
	return nil
}

// setMapper changes the configuration of a mapper of a client scope, or with scope "" of the client
// with a secret.
func (k *keycloak) setMapper(t *testing.T, scope, name string, config map[string]any) {
	t.Helper()
	of := "/client-scopes/"
	if scope == "" {
		of += k.find(t, "/clients", "clientId", keycloakSecretClient)["id"].(string)
		of = strings.Replace(of, "client-scopes", "clients", 1)
	} else {
		of += k.find(t, "/client-scopes", "name", scope)["id"].(string)
	}
	mapper := k.find(t, of+"/protocol-mappers/models", "name", name)
	maps.Copy(mapper["config"].(map[string]any), config)
	k.admin(t, http.MethodPut, "/"+k.realmName()+of+"/protocol-mappers/models/"+mapper["id"].(string), mapper)
}

// sendsOrders adds the client of the API for orders, and a client scope "orders" that names it in
// access tokens, optional for the client with a secret.
func (k *keycloak) sendsOrders(t *testing.T) {
	t.Helper()
	realm := "/" + k.realmName()
	k.admin(t, http.MethodPost, realm+"/clients", map[string]any{"clientId": ordersClient, "standardFlowEnabled": false, "secret": rand.Text()})
	k.admin(t, http.MethodPost, realm+"/client-scopes", map[string]any{
		"name": "orders", "protocol": "openid-connect", "attributes": map[string]string{"include.in.token.scope": "true"},
		"protocolMappers": []any{map[string]any{
			"name": "orders", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
			"config": map[string]string{"included.client.audience": ordersClient, "access.token.claim": "true", "id.token.claim": "false"},
		}},
	})
	client := k.find(t, "/clients", "clientId", keycloakSecretClient)["id"].(string)
	scope := k.find(t, "/client-scopes", "name", "orders")["id"].(string)
	k.admin(t, http.MethodPut, realm+"/clients/"+client+"/optional-client-scopes/"+scope, map[string]any{})
}

// attributes sets attributes of a client.
func attributes(client map[string]any, more map[string]any) {
	maps.Copy(client["attributes"].(map[string]any), more)
}

// isFor reports whether the claim aud of a token has an audience.
func isFor(claims map[string]any, audience string) bool {
	return strings.Contains(" "+strings.Trim(fmt.Sprint(claims["aud"]), "[]")+" ", " "+audience+" ")
}

// TestProofKeycloak tries features of Keycloak that TestProviders does not, each in a realm.
func TestProofKeycloak(t *testing.T) {
	m := matrix{provider: "Keycloak " + keycloakVersion}
	defer m.report(t)
	k := startEmptyKeycloak(t)
	for _, c := range []struct{ access, id string }{{"RS256", "RS256"}, {"PS256", "PS256"}, {"ES256", "ES256"}, {"EdDSA", "EdDSA"}, {"EdDSA", "ES256"}} {
		m.run(t, fmt.Sprintf("access tokens with %s, ID tokens with %s", c.access, c.id),
			"keys of all algorithms in the realm; client settings for access tokens, ID tokens and userinfo; sign-in, API, signed userinfo, refresh, logout token",
			func(t *testing.T) { keycloakAlgorithms(t, k, c.access, c.id) })
	}
	m.run(t, "lightweight access tokens", "refused without `aud`, and without `sub`; accepted with both mappers in lightweight tokens. `introspection: on` changes nothing, since they are JWTs",
		func(t *testing.T) { keycloakLightweight(t, k) })
	m.run(t, "tokens for routes", "standard token exchange and client credentials for the audience of another client; an unknown audience is 502, and the session goes on",
		func(t *testing.T) { keycloakRouteTokens(t, k) })
	m.run(t, "refresh grant with a scope for another audience", "with the scope in the login; without it Keycloak ignores the scope, the token is discarded, and the session goes on",
		func(t *testing.T) { keycloakUngranted(t, k) })
	m.run(t, "from one realm to another", "bff, gateway and server, step by step as in [issuers](issuers.md#from-one-provider-to-another); one user with the same `sub` in both",
		func(t *testing.T) { keycloakMigration(t, k) })
}

func keycloakAlgorithms(t *testing.T, k *keycloak, access, id string) {
	base := "http://localhost:" + portOf(freeAddress(t))
	r := k.newRealm(t, strings.ToLower("signs-"+access+"-"+id), base, func(_, client map[string]any) {
		attributes(client, map[string]any{"access.token.signed.response.alg": access, "id.token.signed.response.alg": id, "user.info.response.signature.alg": id})
	})
	for name, config := range map[string]map[string]any{
		"rsa-generated":   {"algorithm": []string{"PS256"}, "keySize": []string{"2048"}},
		"ecdsa-generated": {"ecdsaEllipticCurveKey": []string{"P-256"}},
		"eddsa-generated": {"eddsaEllipticCurveKey": []string{"Ed25519"}},
	} {
		k.admin(t, http.MethodPost, "/"+r.realmName()+"/components", map[string]any{
			"name": "own-" + name, "providerId": name, "providerType": "org.keycloak.keys.KeyProvider", "config": config,
		})
	}
	r.setMapper(t, "profile", "full name", map[string]any{"id.token.claim": "false"}) // so that userinfo is requested
	api := newResourceServer(t, r.issuer, keycloakAudience, access)
	p := r.serveFor(t, base, "GATEHOUSE_ACCESS_TOKEN_ALGORITHMS="+access, "GATEHOUSE_ID_TOKEN_ALGORITHMS="+id,
		fmt.Sprintf("GATEHOUSE_ROUTES=[{path: /echo, to: %q}]", api.url))
	v := r.signsIn(t, base)
	v.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
	if me := v.fetch(t, "/api/auth/me").json(t); me["name"] != "Alice Adams" {
		t.Errorf("userinfo was not used: %v", me)
	}
	header, claims := arrives(t, v, "/echo")
	if header["alg"] != access {
		t.Errorf("the access token is signed with %v", header["alg"])
	}
	if alg, mediaType := r.userinfo(t, api.token()); alg != id || mediaType != "application/jwt" {
		t.Errorf("userinfo is %s signed with %v", mediaType, alg)
	}
	renewed(t, v, "/echo", claims["jti"])
	v.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
	r.endSessions(t)
	waitFor(t, v, "/api/auth/me", http.StatusNoContent)
	r.signsIn(t, base)
	for _, problem := range []string{"userinfo request failed", "logout token refused", "level=ERROR"} {
		if strings.Contains(p.out.String(), problem) {
			t.Errorf("the log has %q", problem)
		}
	}
	// `check` asks the provider with the settings, and with those of other algorithms.
	settings := append(r.environment(base), "GATEHOUSE_ACCESS_TOKEN_ALGORITHMS="+access, "GATEHOUSE_ID_TOKEN_ALGORITHMS="+id)
	if _, said := outcome(t, t.TempDir(), settings, "check"); strings.Contains(said, "ALGORITHMS") && strings.Contains(said, "WRONG") {
		t.Errorf("check:\n%s", said)
	}
}

// userinfo requests userinfo, and returns the algorithm of the answer and its media type.
func (k *keycloak) userinfo(t *testing.T, token string) (alg any, mediaType string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, k.issuer+"/protocol/openid-connect/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	mediaType, _, _ = strings.Cut(resp.Header.Get("Content-Type"), ";")
	return segment(string(body), 0)["alg"], mediaType
}

func keycloakLightweight(t *testing.T, k *keycloak) {
	base := "http://localhost:" + portOf(freeAddress(t))
	r := k.newRealm(t, "lightweight", base, func(_, client map[string]any) {
		attributes(client, map[string]any{"client.use.lightweight.access.token.enabled": "true"})
	})
	introspects := []string{"GATEHOUSE_INTROSPECTION=on", "GATEHOUSE_INTROSPECTION_CLIENT_ID=" + keycloakSecretClient, "GATEHOUSE_INTROSPECTION_CLIENT_SECRET=" + r.clientSecret}
	p := r.serveFor(t, base, append(introspects, "GATEHOUSE_LOG_LEVEL=debug")...)
	refused := func(why string) {
		t.Helper()
		v := r.signsIn(t, base)
		v.fetch(t, "/api/private-route").wants(t, http.StatusUnauthorized, "application/json")
		p.said(t, why)
	}
	refused("aud")
	r.setMapper(t, "", "audience", map[string]any{"lightweight.claim": "true"})
	refused("sid without sub")
	r.setMapper(t, "basic", "sub", map[string]any{"lightweight.claim": "true"})
	v := r.signsIn(t, base)
	v.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
	if _, said := outcome(t, t.TempDir(), append(r.environment(base), introspects...), "check"); !strings.Contains(said, "introspection") || strings.Contains(said, "WRONG GATEHOUSE_INTROSPECTION") {
		t.Errorf("check:\n%s", said)
	}
}

func keycloakRouteTokens(t *testing.T, k *keycloak) {
	base := "http://localhost:" + portOf(freeAddress(t))
	r := k.newRealm(t, "routes", base, func(_, client map[string]any) {
		client["serviceAccountsEnabled"] = true
		attributes(client, map[string]any{"standard.token.exchange.enabled": "true"})
	})
	r.sendsOrders(t)
	orders, own := newResourceServer(t, r.issuer, ordersClient), newResourceServer(t, r.issuer, keycloakAudience)
	p := r.serveFor(t, base, fmt.Sprintf(`GATEHOUSE_ROUTES=[
		{path: /exchanged, to: %[1]q, audience: %[2]s, scope: orders, grant: exchange},
		{path: /client, to: %[1]q, token: client, audience: %[2]s, scope: orders},
		{path: /own, to: %[3]q},
		{path: /other, to: %[1]q, audience: other-api, grant: exchange}]`, orders.url, ordersClient, own.url))
	v := r.signsIn(t, base)
	_, mine := arrives(t, v, "/own/5")
	_, exchanged := arrives(t, v, "/exchanged/5")
	_, client := arrives(t, v, "/client/5")
	if exchanged["sub"] != mine["sub"] || !isFor(exchanged, ordersClient) || isFor(exchanged, keycloakAudience) {
		t.Errorf("exchanged: %v", exchanged)
	}
	if isFor(mine, ordersClient) {
		t.Errorf("the session's own token: %v", mine)
	}
	if client["sub"] == mine["sub"] || !isFor(client, ordersClient) {
		t.Errorf("the client's own: %v", client)
	}
	v.fetch(t, "/other/5").wants(t, http.StatusBadGateway, "")
	p.said(t, `"setting":"routes[3].audience"`)
	for path, before := range map[string]map[string]any{"/own/5": mine, "/exchanged/5": exchanged, "/client/5": client} {
		renewed(t, v, path, before["jti"])
	}
	v.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
	if _, said := outcome(t, t.TempDir(), append(r.environment(base), fmt.Sprintf("GATEHOUSE_ROUTES=[{path: /client, to: %q, token: client, audience: %s, scope: orders}]", orders.url, ordersClient)), "check"); !strings.Contains(said, "/client: the client gets a token") {
		t.Errorf("check:\n%s", said)
	}
}

func keycloakUngranted(t *testing.T, k *keycloak) {
	base := "http://localhost:" + portOf(freeAddress(t))
	r := k.newRealm(t, "refreshes", base, func(_, _ map[string]any) {})
	r.sendsOrders(t)
	orders, own := newResourceServer(t, r.issuer, ordersClient), newResourceServer(t, r.issuer, keycloakAudience)
	routes := fmt.Sprintf(`GATEHOUSE_ROUTES=[{path: /orders, to: %q, audience: %s, scope: openid orders}, {path: /own, to: %q}]`, orders.url, ordersClient, own.url)
	t.Run("not in the login", func(t *testing.T) {
		p := r.serveFor(t, base, routes)
		v := r.signsIn(t, base)
		_, mine := arrives(t, v, "/own/5")
		v.fetch(t, "/orders/5").wants(t, http.StatusBadGateway, "")
		p.said(t, `"setting":"routes[0].audience"`)
		renewed(t, v, "/own/5", mine["jti"]) // by the rotated refresh token
	})
	t.Run("in the login", func(t *testing.T) {
		r.serveFor(t, base, routes, "GATEHOUSE_OIDC_SCOPE=openid profile email orders")
		v := r.signsIn(t, base)
		_, claims := arrives(t, v, "/orders/5")
		_, mine := arrives(t, v, "/own/5")
		if !isFor(claims, ordersClient) || !isFor(mine, keycloakAudience) {
			t.Errorf("the route's %v, the session's %v", claims, mine)
		}
		renewed(t, v, "/orders/5", claims["jti"])
		renewed(t, v, "/own/5", mine["jti"])
	})
}

func keycloakMigration(t *testing.T, k *keycloak) {
	const role, subject = "products:write", "6f9619ff-8b86-4011-b42d-00c04fc964ff"
	listen, rest, grpc := freeAddress(t), freeAddress(t), freeAddress(t)
	base := "http://localhost:" + portOf(listen)
	realm := func(name string) *keycloak {
		return k.newRealm(t, name, base, func(realm, client map[string]any) {
			realm["accessTokenLifespan"] = 90
			realm["roles"] = map[string]any{"realm": []any{map[string]any{"name": role}}}
			user := realm["users"].([]any)[0].(map[string]any)
			user["realmRoles"] = []string{role}
			// Users of one Keycloak have different ids.
			client["protocolMappers"] = append(client["protocolMappers"].([]map[string]any), map[string]any{
				"name": "subject", "protocol": "openid-connect", "protocolMapper": "oidc-hardcoded-claim-mapper",
				"config": map[string]string{"claim.name": "sub", "claim.value": subject, "jsonType.label": "String",
					"access.token.claim": "true", "id.token.claim": "true", "userinfo.token.claim": "true"},
			})
			client["directAccessGrantsEnabled"] = true // for tokens of programs
		})
	}
	before, after := realm("before"), realm("after")
	dir := t.TempDir()
	settings := func(at *keycloak, further ...*keycloak) []string {
		env := append(at.environment(base), "GATEHOUSE_SESSION_STORE=sqlite:"+filepath.Join(dir, "sessions.db"), "GATEHOUSE_DATABASE_URL=sqlite:"+filepath.Join(dir, "products.db"),
			"GATEHOUSE_PERMISSIONS_CLAIM=realm_access.roles", "GATEHOUSE_LISTEN_GRPC="+grpc, "GATEHOUSE_LISTEN_GATEWAY="+rest, "GATEHOUSE_LISTEN_BFF="+listen)
		for _, f := range further {
			env = append(env, fmt.Sprintf("GATEHOUSE_ISSUERS=[{issuer: %q, audiences: %q, permissions-claim: realm_access.roles}]", f.issuer, keycloakAudience))
		}
		return env
	}
	var running []*process
	restart := func(env []string, parts ...string) {
		for _, p := range running {
			p.stop(t)
		}
		running = nil
		for _, part := range parts {
			more := map[string][]string{"bff": {"--gateway-url=http://" + rest}, "gateway": {"--grpc-target=dns:///" + grpc}}[part]
			running = append(running, gatehouse(t, env, append([]string{part}, more...)...))
		}
		running[len(running)-1].ready(t, "http://"+rest+"/readyz")
	}
	bff := gatehouse(t, settings(before), "bff", "--gateway-url=http://"+rest)
	restart(settings(before), "server", "gateway")
	bff.ready(t, base+"/readyz")
	old := before.signsIn(t, base)
	waitFor(t, old, "/api/private-route", http.StatusOK)
	if got := bearing(t, rest, after.programToken(t)); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("before step 2, a token of the new realm: %s", got.Status)
	}
	writes := func(v *visitor, method, path, body string) answer {
		return v.send(t, method, base+path, http.Header{"Content-Type": {"application/json"}, "Origin": {base}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}}, strings.NewReader(body))
	}
	const content = `{"title":"Bass","price":{"currencyCode":"EUR","amountMinor":"1999"},"daw":"DAW_REAPER"}`
	product := writes(old, http.MethodPost, "/api/products", content).wants(t, http.StatusOK, "application/json").json(t)
	path := "/api/" + product["name"].(string)

	restart(settings(before, after), "server", "gateway") // step 2
	waitFor(t, old, "/api/private-route", http.StatusOK)
	for _, realm := range []*keycloak{before, after} {
		if got := bearing(t, rest, realm.programToken(t)); got.StatusCode != http.StatusOK {
			t.Errorf("step 2, %s: %s", realm.issuer, got.Status)
		}
	}
	restart(settings(after, before), "server", "gateway") // step 3
	bff.stop(t)
	bff = gatehouse(t, settings(after), "bff", "--gateway-url=http://"+rest)
	bff.ready(t, base+"/readyz")
	waitFor(t, old, "/api/private-route", http.StatusOK) // by the token from before
	now := after.signsIn(t, base)
	now.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
	for who, v := range map[string]*visitor{"before": old, "after": now} {
		if me := v.fetch(t, "/api/auth/me").json(t); me["sub"] != subject {
			t.Errorf("%s: %v", who, me)
		}
	}
	writes(now, http.MethodPost, "/api/products", content).wants(t, http.StatusOK, "application/json")
	if got := writes(now, http.MethodDelete, path, ""); got.status != http.StatusForbidden && got.status != http.StatusNotFound {
		t.Errorf("the same sub of the new realm deletes a product of the old one's: %d %s", got.status, got.body)
	}
	writes(old, http.MethodPatch, path, `{"title":"Deep bass"}`).wants(t, http.StatusOK, "application/json")
	waitFor(t, old, "/api/private-route", http.StatusUnauthorized) // the token has ended, and is not refreshed
	old.open(t, base+"/private")
	if !strings.HasPrefix(old.page.url, after.issuer+"/") {
		t.Errorf("the old session's user was led to %s", old.page.url)
	}
	now.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")

	restart(settings(after), "server", "gateway") // step 4
	waitFor(t, now, "/api/private-route", http.StatusOK)
	if got := bearing(t, rest, before.programToken(t)); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("step 4, a token of the old realm: %s", got.Status)
	}
}

// programToken returns an access token of alice for a program (the password grant).
func (k *keycloak) programToken(t *testing.T) string {
	t.Helper()
	resp, err := http.PostForm(k.issuer+"/protocol/openid-connect/token", url.Values{
		"grant_type": {"password"}, "client_id": {keycloakSecretClient}, "client_secret": {k.clientSecret}, "username": {"alice"}, "password": {k.password},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var token struct {
		Value string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&token); err != nil || token.Value == "" {
		t.Fatalf("no token of the password grant: %s, %v", resp.Status, err)
	}
	return token.Value
}
