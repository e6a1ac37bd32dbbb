package bff

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// retryAfter is what a client is told to wait when a part that we need is
// away, in seconds.
const retryAfter = "5"

// problem answers a person with a page and a program with JSON.
func (b *BFF) problem(w http.ResponseWriter, r *http.Request, pr web.Problem) {
	if navigation(r) {
		b.pages.Problem(w, r, pr)
		return
	}
	title := pr.Title
	if !strings.HasSuffix(title, "?") {
		title += "."
	}
	writeError(w, pr.Status, title+" "+pr.Message)
}

// seeOther sends the browser elsewhere. http.Redirect would repeat the
// address, which can hold an id_token_hint, in a body, and clean its path,
// which was judged as it is.
func seeOther(w http.ResponseWriter, target string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}

// unavailable answers while the provider's metadata cannot be had; again is
// where to try once more.
func (b *BFF) unavailable(w http.ResponseWriter, r *http.Request, cause error, again string) {
	b.logger.WarnContext(r.Context(), "provider unavailable", "cause", cause)
	w.Header().Set("Retry-After", retryAfter)
	b.problem(w, r, web.Problem{
		Status:  http.StatusServiceUnavailable,
		Title:   "Signing in is not possible at the moment",
		Message: "The sign-in service does not answer. Please try again in a little while.",
		Detail:  requestDetail(r),
		Action:  web.Link{Label: "Try again", Href: again},
	})
}

// storeDown answers while sessions cannot be read or written. Nobody is
// signed out by that (oauth2-proxy #2503): the cookie stays as it is.
func (b *BFF) storeDown(w http.ResponseWriter, r *http.Request, cause error) {
	level, held := slog.LevelDebug, 0
	switch {
	case r.Context().Err() != nil: // the browser went away, which is no outage
	case errors.Is(cause, session.ErrSealedElsewhere): // logged with the session
	default:
		var ok bool
		if ok, held = b.outages.Next(); ok {
			level = slog.LevelError
		}
	}
	b.logger.Log(r.Context(), level, "session store unavailable", "cause", cause, "suppressed", held)
	w.Header().Set("Retry-After", retryAfter)
	b.problem(w, r, web.Problem{
		Status:  http.StatusServiceUnavailable,
		Title:   "Please try again in a little while",
		Message: "Your session cannot be looked up at the moment. You have not been signed out.",
		Detail:  requestDetail(r),
		Action:  web.Link{Label: "Try again", Href: "/"},
	})
}

// noFrontend answers for a front-end server that does not, as one that has not
// been started yet. The log has said which.
func (b *BFF) noFrontend(w http.ResponseWriter, r *http.Request) {
	b.problem(w, r, web.Problem{
		Status:  http.StatusBadGateway,
		Title:   "This page cannot be shown at the moment",
		Message: "The server that makes the pages does not answer. Please try again in a little while.",
		Detail:  requestDetail(r),
		Action:  web.Link{Label: "Try again", Href: "?" + r.URL.RawQuery},
	})
}

// broken answers a failure of our own.
func (b *BFF) broken(w http.ResponseWriter, r *http.Request, cause error) {
	b.logger.ErrorContext(r.Context(), "request failed", "cause", cause)
	b.problem(w, r, web.Problem{
		Status:  http.StatusInternalServerError,
		Title:   "Something went wrong",
		Message: "This was our fault, not yours. Please try again.",
		Detail:  requestDetail(r),
	})
}

func requestDetail(r *http.Request) string {
	if id := requestid.FromContext(r.Context()); id != "" {
		return "Request " + id
	}
	return ""
}

// grpcCodes are the google.rpc.Code of the statuses that the bff answers with
// itself, so that its errors look like the gateway's.
var grpcCodes = map[int]int{
	http.StatusBadRequest: 3, http.StatusUnauthorized: 16, http.StatusForbidden: 7, http.StatusMisdirectedRequest: 7, http.StatusNotFound: 5,
	http.StatusTooManyRequests: 8, http.StatusMethodNotAllowed: 12, http.StatusServiceUnavailable: 14, http.StatusBadGateway: 14, http.StatusInternalServerError: 13,
}

// writeError answers in the shape of google.rpc.Status, as the gateway does.
func writeError(w http.ResponseWriter, status int, message string) {
	code, ok := grpcCodes[status]
	if !ok {
		code = 2
	}
	writeJSON(w, status, map[string]any{"code": code, "message": message, "details": []any{}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"code":13,"message":"the answer could not be written","details":[]}`)
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a browser that went away needs no answer
}
