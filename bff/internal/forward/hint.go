package forward

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// bearerToken reports whether a request has a token of its own, which does not
// reach the API.
func bearerToken(r *http.Request) bool {
	scheme, _, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return ok && strings.EqualFold(scheme, "Bearer")
}

// maxHinted is the largest body to which a hint is added, in bytes.
const maxHinted = 16 << 10

// A hinted answer is buffered, to get a hint with the address for tokens.
type hinted struct {
	body    []byte
	gateway string // the address
}

// hint prepares the 401 for a client that sends a bearer token to the bff: its
// body is buffered, to add the address for tokens. That needs a short body of
// declared length.
func (a *apiAnswer) hint(h http.Header) {
	gateway := "the gateway"
	if address := a.api.cfg.TokenAddress; address != "" {
		gateway += " at " + address
	}
	a.api.cfg.Logger.InfoContext(a.request.Context(), "bearer token ignored: the bff takes session cookies", "path", a.request.URL.Path, "remedy", "send it to "+gateway)
	n, err := strconv.Atoi(h.Get("Content-Length"))
	if err == nil && n <= maxHinted && a.request.Method != http.MethodHead && len(h["Content-Encoding"]) == 0 {
		a.hinted = &hinted{make([]byte, 0, n), gateway}
		h.Del("Content-Length")
	}
}

// Write sends a part of the body, or buffers it.
func (a *apiAnswer) Write(p []byte) (int, error) {
	a.Finish()
	if a.hinted == nil {
		return a.Answer.Write(p)
	}
	if len(a.hinted.body)+len(p) > maxHinted {
		return 0, io.ErrShortWrite
	}
	a.hinted.body = append(a.hinted.body, p...)
	return len(p), nil
}

// FlushError sends what was written so far, unless it is buffered.
func (a *apiAnswer) FlushError() error {
	a.Finish()
	if a.hinted != nil {
		return nil
	}
	return a.Answer.FlushError()
}

// finish ends the answer. A buffered one gets its hint: in the message of
// google.rpc.Status and Connect, or in the detail of RFC 9457.
func (a *apiAnswer) finish() {
	a.Finish()
	if a.hinted == nil {
		return
	}
	body, gateway := a.hinted.body, a.hinted.gateway
	a.hinted = nil
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) == nil {
		for _, member := range []string{"message", "detail"} {
			var text string
			if json.Unmarshal(members[member], &text) != nil {
				continue
			}
			members[member], _ = json.Marshal(text + "; this address takes the session cookie of a signed-in browser and no bearer token: send it to " + gateway)
			if extended, err := json.Marshal(members); err == nil {
				body = append(extended, '\n')
			}
			break
		}
	}
	_, _ = a.Answer.Write(body) // an error means that the client closed the connection
}
