// Package respond owns the answers that the bff gives itself: errors as JSON
// for programs and as pages for people, and redirects. It leaves the look of
// the pages to bff/web, and when to give which answer to the handlers.
package respond

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/catalog"
	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// RetryAfter is the Retry-After header of a 503, in seconds.
const RetryAfter = "5"

// RetryIn sets the Retry-After header to d, rounded up to seconds, or to
// RetryAfter if d is 0.
func RetryIn(w http.ResponseWriter, d time.Duration) {
	value := RetryAfter
	if d > 0 {
		value = strconv.Itoa(int((d + time.Second - 1) / time.Second))
	}
	w.Header().Set("Retry-After", value)
}

// A Responder gives answers for which it needs pages or a log. It is safe for
// concurrent use.
type Responder struct {
	pages     *web.Pages
	errorPath string
	catalog   *catalog.Catalog // of the pages
	english   *catalog.Catalog // of errors for programs
	logger    *slog.Logger
}

// New returns a Responder with these pages, their texts and this log. errorPath is the
// page of the front end that shows problems; "" for none.
func New(pages *web.Pages, errorPath string, texts *catalog.Catalog, logger *slog.Logger) *Responder {
	return &Responder{pages: pages, errorPath: errorPath, catalog: texts, english: catalog.English(), logger: logger}
}

// Catalog returns the catalog of the pages.
func (rs *Responder) Catalog() *catalog.Catalog { return rs.catalog }

// Texts returns the texts for the answer to a request: those of the pages for a
// navigation, and English ones for a program, as all errors of the API are.
func (rs *Responder) Texts(r *http.Request) *catalog.Catalog {
	if origins.Navigation(r) {
		return rs.catalog
	}
	return rs.english
}

// Codes of problems that only a page of the bff can show: a question, whose answer needs
// a link, and a front end that does not respond.
const (
	CodeSignOut  = "sign_out_question"
	codeFrontend = "frontend_unavailable"
)

// Problem answers a navigation with a page and any other request with JSON.
func (rs *Responder) Problem(w http.ResponseWriter, r *http.Request, p web.Problem) {
	if origins.Navigation(r) {
		if rs.errorPath != "" && r.URL.Path != rs.errorPath && p.Code != CodeSignOut && p.Code != codeFrontend {
			SeeOther(w, rs.errorPath+"?"+describe(r, p).Encode())
			return
		}
		rs.pages.Problem(w, r, p)
		return
	}
	title := p.Title
	if !strings.HasSuffix(title, "?") {
		title += "."
	}
	Error(w, p.Status, title+" "+p.Message)
}

// describe returns what the front end's page learns of a problem. Any link can have the
// same parameters, so that they contain no text to show.
func describe(r *http.Request, p web.Problem) url.Values {
	query := url.Values{"code": {p.Code}, "status": {strconv.Itoa(p.Status)}}
	for name, value := range map[string]string{"reason": p.Reason, "request": requestid.FromContext(r.Context())} {
		if value != "" {
			query.Set(name, value)
		}
	}
	// The next step of most problems is a login, or an address of ours.
	if next, err := url.Parse(p.Action.Href); err == nil {
		to := p.Action.Href
		if next.Path == route.Login {
			to = next.Query().Get("returnTo")
		}
		if to = route.ReturnTo(to); to != "/" {
			query.Set("returnTo", to)
		}
	}
	return query
}

// ProviderUnavailable answers 503 while the provider's metadata cannot be
// fetched. again is the address of the page's link to try again. The provider logs the
// outage.
func (rs *Responder) ProviderUnavailable(w http.ResponseWriter, r *http.Request, err error, again string) {
	rs.cause(r, err)
	w.Header().Set("Retry-After", RetryAfter)
	t := rs.Texts(r)
	rs.Problem(w, r, web.Problem{
		Code: "provider_unavailable", Status: http.StatusServiceUnavailable,
		Title:   t.Text("problem.provider-title"),
		Message: t.Text("problem.provider"),
		Detail:  rs.Detail(r),
		Action:  web.Link{Label: t.Text("action.retry"), Href: again},
	})
}

// StoreUnavailable answers 503 while sessions cannot be read or written. The
// cookie stays as it is, so that an outage signs no user out (oauth2-proxy
// #2503). The sessions log the outage.
func (rs *Responder) StoreUnavailable(w http.ResponseWriter, r *http.Request, err error) {
	rs.cause(r, err)
	w.Header().Set("Retry-After", RetryAfter)
	t := rs.Texts(r)
	rs.Problem(w, r, web.Problem{
		Code: "store_unavailable", Status: http.StatusServiceUnavailable,
		Title:   t.Text("problem.store-title"),
		Message: t.Text("problem.store"),
		Detail:  rs.Detail(r),
		Action:  web.Link{Label: t.Text("action.retry"), Href: "/"},
	})
}

// FrontendUnavailable answers 502 for a front-end server that does not
// respond. The proxy has logged the error.
func (rs *Responder) FrontendUnavailable(w http.ResponseWriter, r *http.Request) {
	t := rs.Texts(r)
	rs.Problem(w, r, web.Problem{
		Code: codeFrontend, Status: http.StatusBadGateway,
		Title:   t.Text("problem.pages-title"),
		Message: t.Text("problem.pages"),
		Detail:  rs.Detail(r),
		Action:  web.Link{Label: t.Text("action.retry"), Href: "?" + r.URL.RawQuery},
	})
}

// cause adds the error to the line of the request.
func (rs *Responder) cause(r *http.Request, err error) {
	accesslog.FromContext(r.Context()).Add(slog.LevelInfo, slog.String("err", err.Error()))
}

// InternalError answers 500.
func (rs *Responder) InternalError(w http.ResponseWriter, r *http.Request, err error) {
	rs.logger.ErrorContext(r.Context(), "request failed", "err", err)
	t := rs.Texts(r)
	rs.Problem(w, r, web.Problem{
		Code: "internal", Status: http.StatusInternalServerError,
		Title:   t.Text("problem.internal-title"),
		Message: t.Text("problem.internal"),
		Detail:  rs.Detail(r),
	})
}

// Detail is the line of a problem page by which its request is found in the
// log; "" for a request without an id.
func (rs *Responder) Detail(r *http.Request) string {
	if id := requestid.FromContext(r.Context()); id != "" {
		return rs.Texts(r).Text("problem.request", "id", id)
	}
	return ""
}

// SeeOther redirects to target with status 303 and no body. http.Redirect
// would repeat the address, which may hold an id_token_hint, in a body, and
// would clean its path, which was checked as it is.
func SeeOther(w http.ResponseWriter, target string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}

// grpcCodes maps the statuses that the bff answers with itself to
// google.rpc.Code, so that its errors have the form of the gateway's.
var grpcCodes = map[int]int{
	http.StatusBadRequest: 3, http.StatusUnauthorized: 16, http.StatusForbidden: 7, http.StatusMisdirectedRequest: 7, http.StatusNotFound: 5,
	http.StatusTooManyRequests: 8, http.StatusMethodNotAllowed: 12, http.StatusServiceUnavailable: 14, http.StatusBadGateway: 14, http.StatusInternalServerError: 13,
}

// Error answers with an error in the JSON form of google.rpc.Status, as the
// gateway does.
func Error(w http.ResponseWriter, status int, message string) {
	code, ok := grpcCodes[status]
	if !ok {
		code = 2
	}
	JSON(w, status, map[string]any{"code": code, "message": message, "details": []any{}})
}

// JSON answers with v as JSON, which caches must not store.
func JSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"code":13,"message":"the answer could not be written","details":[]}`)
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the browser closed the connection
}
