package devidp

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// pathControls is where the forms of the home page go. They do what the endpoints of
// the HTTP API with the same path do.
const pathControls = "/controls/"

// A controlsPanel is the part of the home page that controls the provider.
type controlsPanel struct {
	AccessTokenLifetime, IDTokenLifetime, RefreshTokenLifetime string
	Modes                                                      []modeOption
	Faults                                                     []Fault
	Users                                                      []*directory.User
	Errors                                                     []string
	Keys                                                       int
	API                                                        string
}

type modeOption struct {
	Value    RefreshTokens
	Text     string
	Selected bool
}

// A userSelect is a field for a user, or for everyone.
type userSelect struct {
	ID    string
	Users []*directory.User
}

// Select returns the data of a field for a user.
func (c *controlsPanel) Select(id string) userSelect { return userSelect{id, c.Users} }

// refusals are errors for a refused refresh, one or more of each class in
// docs/login.md.
var refusals = []string{
	"invalid_grant", "interaction_required", "login_required", "mfa_required", "temporarily_unavailable", "slow_down",
	"invalid_client", "invalid_scope",
}

func (rl *realm) panel() *controlsPanel {
	b := rl.controls.behavior()
	users := rl.users.All(rl.now())
	c := &controlsPanel{
		AccessTokenLifetime: brief(b.AccessTokenLifetime), IDTokenLifetime: brief(b.IDTokenLifetime),
		RefreshTokenLifetime: brief(b.RefreshTokenLifetime), Faults: rl.controls.active(),
		Users: users[:min(len(users), maxListed)], Errors: refusals, Keys: len(rl.signing.published().Keys), API: rl.base + pathDev,
	}
	for _, o := range []modeOption{{RotateRefreshTokens, "rotated", false}, {KeepRefreshTokens, "kept", false}, {NoRefreshTokens, "not issued", false}} {
		o.Selected = o.Value == b.RefreshTokens
		c.Modes = append(c.Modes, o)
	}
	return c
}

// control handles the forms of the home page and of the banner.
func (p *Provider) control(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		p.pages.fail(w, r, "The form could not be read.")
		return
	}
	path := strings.TrimPrefix(r.URL.Path, pathControls)
	endpoints := p.devEndpoints()
	i := slices.IndexFunc(endpoints, func(e devEndpoint) bool {
		return e.path == path && e.method != http.MethodGet && path != "users" && path != "token"
	})
	if i < 0 {
		p.pages.notFound(w, r)
		return
	}
	// One form has the fields of all kinds of faults.
	for field, kind := range map[string]FaultKind{"error": RefuseRefresh, "delay": Slow} {
		if r.PostForm.Get("kind") != string(kind) {
			r.PostForm.Del(field)
		}
	}
	m, action := endpoints[i].begin()
	err := m.readForm(r.PostForm)
	if err == nil {
		_, err = action(r.Context())
	}
	if err != nil {
		var text []string
		for _, e := range devErrors(err) {
			text = append(text, e.Message)
		}
		p.pages.message(w, r, http.StatusBadRequest, "That did not work", text...)
		return
	}
	p.log.InfoContext(r.Context(), "request by a form", "path", r.URL.Path)
	http.Redirect(w, r, comeBack(r), http.StatusSeeOther)
}

// comeBack returns the page that has sent a form: a sign-in page, or the home page.
func comeBack(r *http.Request) string {
	if from, err := url.Parse(r.Referer()); err == nil && from.Path == pathLogin && from.Query().Has("request") {
		return pathLogin + "?" + from.RawQuery
	}
	return "/#controls"
}
