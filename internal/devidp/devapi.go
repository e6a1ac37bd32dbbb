package devidp

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// pathDev is the folder of the HTTP API for tests and curl.
const pathDev = "/dev/"

// A devEndpoint is an endpoint of the HTTP API.
type devEndpoint struct {
	method, path, about string
	// begin returns the members of the request, and the action once they are read. The
	// action returns the body of the response.
	begin func() (members, devAction)
}

type devAction func(context.Context) (any, error)

// always is a devEndpoint.begin for a request without members.
func always(action devAction) func() (members, devAction) {
	return func() (members, devAction) { return members{}, action }
}

func (p *Provider) devEndpoints() []devEndpoint {
	return []devEndpoint{
		{http.MethodGet, "state", "what is in effect: lifetimes, faults, keys, sessions", always(p.devState)},
		{http.MethodPatch, "state", "change lifetimes, and whether refresh tokens are issued and rotated", p.devChange},
		{http.MethodPost, "fail", "switch a fault on, for everyone or for a user", p.devFail},
		{http.MethodPost, "heal", "remove the faults of a user, or without a user those for everyone", p.devHeal},
		{http.MethodPost, "reset", "remove all faults, and restore the lifetimes", always(func(ctx context.Context) (any, error) {
			p.Reset()
			return p.devState(ctx)
		})},
		{http.MethodPost, "logout", "end all sessions, or those of a user, and notify the applications", func() (members, devAction) {
			var user string
			return members{"user": &user}, func(ctx context.Context) (any, error) {
				n, err := p.LogOut(ctx, user)
				return map[string]int{"sessions": n}, err
			}
		}},
		{http.MethodPost, "revoke", "revoke all refresh tokens, or those of a user", func() (members, devAction) {
			var user string
			return members{"user": &user}, func(context.Context) (any, error) {
				n, err := p.RevokeTokens(user)
				return map[string]int{"sign_ins": n}, err
			}
		}},
		{http.MethodPost, "keys/rotate", "sign with a new key; the former keys stay published", always(func(ctx context.Context) (any, error) {
			if err := p.RotateKeys(); err != nil {
				return nil, err
			}
			return p.devState(ctx)
		})},
		{http.MethodPost, "keys/withdraw", "withdraw all keys but the newest", always(func(ctx context.Context) (any, error) {
			p.WithdrawKeys()
			return p.devState(ctx)
		})},
		{http.MethodGet, "users", "all users", always(func(context.Context) (any, error) {
			all := []any{}
			for _, u := range p.users.All(p.now()) {
				all = append(all, membersOf(u).values())
			}
			return map[string]any{"users": all}, nil
		})},
		{http.MethodPost, "users", "add a user with any claims, or replace one that was added", p.devAddUser},
		{http.MethodPost, "token", "mint an access token for a user or machine, with any claims", p.devToken},
	}
}

// devAPI returns the handler of the HTTP API. It refuses requests of web pages: a page
// of another origin can send one without asking only with a content type of a form,
// and its browser names the page's origin.
func (p *Provider) devAPI() http.Handler {
	endpoints := p.devEndpoints()
	own := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, pathDev)
		site := r.Header.Get("Sec-Fetch-Site")
		media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		var allowed []string
		var found *devEndpoint
		for i, e := range endpoints {
			if e.path == path {
				allowed = append(allowed, e.method)
				if e.method == r.Method {
					found = &endpoints[i]
				}
			}
		}
		switch {
		case own.Check(r) != nil, site != "" && site != "same-origin" && site != "none":
			refuseDev(w, http.StatusForbidden, &invalid.Error{Field: "Origin", Problem: "is another site", Remedy: "send requests from a program, such as curl or a test"})
		case path == "" && r.Method == http.MethodGet:
			writeJSON(w, http.StatusOK, devIndex(endpoints))
		case found == nil && allowed == nil:
			refuseDev(w, http.StatusNotFound, p.unknownPath(endpoints, path))
		case found == nil:
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			refuseDev(w, http.StatusMethodNotAllowed, invalid.Field("method", r.Method, "is not that of this endpoint", "send a "+strings.Join(allowed, " or ")))
		case r.Method != http.MethodGet && media != "application/json":
			refuseDev(w, http.StatusUnsupportedMediaType, invalid.Field("Content-Type", r.Header.Get("Content-Type"),
				"is not application/json", "send the header Content-Type: application/json, as curl does with --json '{}'"))
		default:
			p.serveDev(w, r, found)
		}
	})
}

func (p *Provider) serveDev(w http.ResponseWriter, r *http.Request, e *devEndpoint) {
	m, action := e.begin()
	if r.Method != http.MethodGet {
		if err := m.read(r.Body); err != nil {
			refuseDev(w, http.StatusBadRequest, err)
			return
		}
		p.log.InfoContext(r.Context(), "request to the HTTP API", "path", r.URL.Path)
	}
	body, err := action(r.Context())
	if err != nil {
		refuseDev(w, http.StatusBadRequest, err)
		return
	}
	writeJSON(w, http.StatusOK, body)
}

// devIndex describes the endpoints.
func devIndex(endpoints []devEndpoint) any {
	type described struct {
		Method  string   `json:"method"`
		Path    string   `json:"path"`
		About   string   `json:"about"`
		Members []string `json:"members,omitempty"`
	}
	var all []described
	for _, e := range endpoints {
		m, _ := e.begin()
		all = append(all, described{e.method, pathDev + e.path, e.about, slices.Sorted(maps.Keys(m))})
	}
	return map[string]any{"endpoints": all}
}

func (p *Provider) unknownPath(endpoints []devEndpoint, path string) error {
	var paths []string
	for _, e := range endpoints {
		paths = append(paths, pathDev+e.path)
	}
	return unknown("path", pathDev+path, slices.Compact(paths))
}

// devError is an error of the HTTP API.
type devError struct {
	Field   string `json:"field,omitempty"`
	Value   string `json:"value,omitempty"`
	Problem string `json:"problem,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
	Message string `json:"message"` // all of the above in a sentence
}

// devErrors returns the parts of an error that consists of several.
func devErrors(err error) (all []devError) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			all = append(all, devErrors(e)...)
		}
		return all
	}
	if e, ok := errors.AsType[*invalid.Error](err); ok {
		named := *e
		named.Field = cmp.Or(memberOf[e.Field], e.Field)
		return []devError{{named.Field, named.Value, named.Problem, named.Remedy, named.Error()}}
	}
	if e, ok := errors.AsType[*directory.Problem](err); ok {
		what, remedy, _ := strings.Cut(e.Text, "; ")
		return []devError{{Field: cmp.Or(e.Field, "key"), Problem: what, Remedy: remedy, Message: e.Error()}}
	}
	return []devError{{Message: err.Error()}}
}

// refuseDev writes errors. The status is that for wrong requests. An error that is not
// about a member is that of an application, and gets 502.
func refuseDev(w http.ResponseWriter, status int, err error) {
	all := devErrors(err)
	if all[0].Field == "" {
		status = http.StatusBadGateway
	}
	writeJSON(w, status, map[string]any{"errors": all})
}

// memberOf has the members for the fields of Behavior, Fault and TokenRequest.
var memberOf = map[string]string{
	"AccessTokenLifetime": "access_token_lifetime", "IDTokenLifetime": "id_token_lifetime",
	"RefreshTokenLifetime": "refresh_token_lifetime", "RefreshTokens": "refresh_tokens",
	"Kind": "kind", "User": "user", "Times": "times", "Error": "error", "Status": "status", "RetryAfter": "retry_after", "Delay": "delay",
	"Machine": "machine", "Lifetime": "lifetime",
}

func (p *Provider) devChange() (members, devAction) {
	var wanted Behavior
	return wanted.members(), func(ctx context.Context) (any, error) {
		err := p.changeBehavior(func(b *Behavior) {
			b.AccessTokenLifetime = cmp.Or(wanted.AccessTokenLifetime, b.AccessTokenLifetime)
			b.IDTokenLifetime = cmp.Or(wanted.IDTokenLifetime, b.IDTokenLifetime)
			b.RefreshTokenLifetime = cmp.Or(wanted.RefreshTokenLifetime, b.RefreshTokenLifetime)
			b.RefreshTokens = cmp.Or(wanted.RefreshTokens, b.RefreshTokens)
		})
		if err != nil {
			return nil, err
		}
		return p.devState(ctx)
	}
}

func (p *Provider) devFail() (members, devAction) {
	var f Fault
	return f.members(), func(ctx context.Context) (any, error) {
		if err := p.Fail(f); err != nil {
			return nil, err
		}
		return p.devState(ctx)
	}
}

func (p *Provider) devHeal() (members, devAction) {
	var user, kind string
	return members{"user": &user, "kind": &kind}, func(ctx context.Context) (any, error) {
		var kinds []FaultKind
		if kind != "" {
			kinds = append(kinds, FaultKind(kind))
		}
		if _, err := p.Heal(user, kinds...); err != nil {
			return nil, err
		}
		return p.devState(ctx)
	}
}

func (p *Provider) devAddUser() (members, devAction) {
	var u directory.User
	return membersOf(&u), func(context.Context) (any, error) {
		u.Key = cmp.Or(u.Key, "user-"+strings.ToLower(newSecret()[:8]))
		added, err := p.AddUser(u)
		return membersOf(&added).values(), err
	}
}

func (p *Provider) devToken() (members, devAction) {
	var req TokenRequest
	m := members{
		"user": &req.User, "machine": &req.Machine, "scopes": &req.Scopes, "lifetime": &req.Lifetime,
		"claims": &req.Claims, "type": &req.Type, "unknown_key": &req.UnknownKey,
	}
	return m, func(context.Context) (any, error) {
		token, claims, err := p.Mint(req)
		return map[string]any{"access_token": token, "token_type": "Bearer", "claims": claims}, err
	}
}

// devState returns the state of the provider: what was set, what it has issued.
func (p *Provider) devState(context.Context) (any, error) {
	type signedIn struct {
		User  string    `json:"user"`
		Since time.Time `json:"since"`
	}
	b := p.Behavior()
	faults, sessions, keys := []any{}, []signedIn{}, []string{}
	for _, f := range p.Faults() {
		faults = append(faults, f.members().values())
	}
	for _, ses := range p.state.liveSessions(p.now()) {
		sessions = append(sessions, signedIn{ses.user.Key, ses.authTime})
	}
	for _, k := range p.signing.published().Keys {
		keys = append(keys, k.KeyID)
	}
	state := b.members().values()
	state["issuer"], state["faults"], state["sessions"], state["keys"] = p.issuer, faults, sessions, keys
	return state, nil
}
