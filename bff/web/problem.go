package web

import "net/http"

// A Link is an address with a label. An Href with the scheme javascript is
// rendered as a link that does nothing.
type Link struct {
	Label string
	Href  string
}

// A Problem is a page that tells what happened and offers the next step: an
// expired login, a provider that does not respond, a question before a logout.
type Problem struct {
	// Code says what happened in a stable word, for programs and for pages with texts
	// of their own; docs/front-ends.md lists them.
	Code string
	// Reason is the application's word for why it has refused a sign-in; "" for none.
	Reason string
	// Status is the HTTP status; 0 means 500.
	Status int
	// Title is the heading: what happened, in a few words. The default says
	// that something went wrong.
	Title string
	// Message tells the user what that means and what to do.
	Message string
	// Detail is shown in small print for support requests: a request id, never
	// a secret.
	Detail string

	// Action is the next step. The default leads to the home page.
	Action Link
	// Secondary is another step; nil for none.
	Secondary *Link
}

// Problem answers a request with pr. The page has no navigation bar, since the
// front end may be another server, and does not ask for the user, since the
// session store may be unavailable. Problem sets Cache-Control to no-store and
// keeps other headers that the caller has set, such as Retry-After and
// Set-Cookie.
func (p *Pages) Problem(w http.ResponseWriter, r *http.Request, pr Problem) {
	if pr.Status == 0 {
		pr.Status = http.StatusInternalServerError
	}
	if pr.Title == "" {
		pr.Title = p.cfg.Catalog.Text("problem.internal-title")
	}
	if pr.Action == (Link{}) {
		pr.Action = Link{Label: p.cfg.Catalog.Text("action.home"), Href: "/"}
	}
	w.Header().Set("Cache-Control", "no-store")
	p.write(w, r, p.problem, pr.Status, problemView{pr, p.cfg.DevBanner})
}

// A problemView is the data of problem.html.
type problemView struct {
	Problem
	Dev bool // development
}
