package introspect

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/cause"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// Check proves that the endpoint answers as RFC 7662 has it, and that it takes the client's
// credential: it calls a random token inactive, and refuses the client with a random
// credential. Any other pair of answers proves nothing. The random credential is sent once,
// so that no provider locks the client.
func (e *Endpoint) Check(ctx context.Context) check.Result {
	const proof = "introspection"
	md, err := e.cfg.Provider.Metadata()
	if err != nil {
		return check.NotKnown(proof, "", "whether opaque tokens can be verified: the provider's metadata could not be fetched")
	}
	endpoint, md, err := e.address(md)
	if err != nil {
		return check.Bad(proof, "", "opaque tokens cannot be verified: %v", err)
	}
	client := e.client.Load()
	if problem, remedy := client.Mismatch(md, e.cfg.Setting); problem != "" {
		return check.Bad(proof, remedy, "introspection endpoint: %s", problem)
	}
	invented := rand.Text()
	body, err := e.post(ctx, client, md, endpoint, invented)
	if refusal, ok := errors.AsType[*Refusal](err); ok && refusal.Client() {
		return check.Bad(proof, fmt.Sprintf("correct %s and %s, or the way of authentication, %s, with %s, or allow the client to introspect tokens there",
			e.cfg.Setting("Client.ID"), e.credentialSetting(), client.Method(md), e.cfg.Setting("Client.Auth")),
			"the provider refuses client %s at its introspection endpoint: %v", client.ID, err)
	}
	if err != nil {
		problem, remedy := cause.Of(err)
		if problem != "" {
			return check.Bad(proof, remedy, "the introspection endpoint %s does not answer: %s (%v)", endpoint, problem, err)
		}
		return check.Bad(proof, "correct "+e.cfg.Setting("Endpoint"), "the introspection endpoint %s is of no use: %v", endpoint, err)
	}
	if problem := unusual(body, md); problem != "" {
		return check.Bad(proof, "correct "+e.cfg.Setting("Endpoint"), "the introspection endpoint %s %s", endpoint, problem)
	}
	stranger, err := client.WithWrongCredential(md)
	if err != nil {
		return check.NotKnown(proof, "", "whether the introspection endpoint takes the credential of client %s: %v", client.ID, err)
	}
	_, err = e.post(ctx, stranger, md, endpoint, invented)
	switch refusal, refused := errors.AsType[*Refusal](err); {
	case err == nil:
		return check.Result{Status: check.Warn, Proof: proof,
			What:   fmt.Sprintf("the introspection endpoint %s answers, also to a random credential: whether that of client %s is right is not known", endpoint, client.ID),
			Remedy: "let the provider authenticate the callers of the endpoint (RFC 7662 §4), and make a call with a token to find out"}
	case !refused || !refusal.Client():
		return check.NotKnown(proof, "make a call with a token to find out",
			"whether the introspection endpoint takes the credential of client %s: the control request with a random credential got no refusal, but: %v", client.ID, err)
	}
	return check.Good(proof, "the introspection endpoint answers, and takes the credential of client %s (%s); a token that was never issued is not active", client.ID, client.Method(md))
}

// unusual returns what is wrong with the response about a token that was never issued, ""
// if nothing is.
func unusual(body string, md *oidc.Metadata) string {
	_, err := new(token.IntrospectionProfile).Read(body, md.Issuer, time.Time{})
	switch {
	case errors.Is(err, token.ErrNotActive):
		return ""
	case errors.Is(err, token.ErrResponse):
		return fmt.Sprintf("answers with what is %v", errors.Unwrap(err))
	}
	return "calls a token active that was never issued: do not trust it"
}
