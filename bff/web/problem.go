package web

import "net/http"

// Link is something to follow.
type Link struct {
	Label string
	Href  string // a javascript: address is rendered inert
}

// Problem is a page that says what happened and offers the next step: a stale
// login callback, a provider that does not answer, a question before signing out.
type Problem struct {
	Status  int    // HTTP status; 0 means 500
	Title   string // the heading: what happened, in a few words
	Message string // what that means for the person, and what to do
	Detail  string // shown small, for a support request: a request id, never a secret

	Action    Link  // the next step; the zero value leads to the home page
	Secondary *Link // another way out, or nil
}

// Problem answers with pr as a page of its own: no navigation bar, since the
// front end may be another server, and no question who is signed in, since the
// session store may be what is broken. It replaces Cache-Control by no-store;
// other headers that the caller set (Retry-After, Set-Cookie) stay.
func (p *Pages) Problem(w http.ResponseWriter, r *http.Request, pr Problem) {
	if pr.Status == 0 {
		pr.Status = http.StatusInternalServerError
	}
	if pr.Title == "" {
		pr.Title = http.StatusText(pr.Status)
	}
	if pr.Action == (Link{}) {
		pr.Action = Link{Label: "Go to the home page", Href: "/"}
	}
	w.Header().Set("Cache-Control", "no-store")
	p.write(w, r, p.problem, pr.Status, struct {
		Problem
		Dev bool
	}{pr, p.dev})
}
