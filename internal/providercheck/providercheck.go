// Package providercheck owns the checks of a provider that every part which verifies
// tokens needs: metadata, keys and clocks. It leaves the checks of a client to package
// probe of the bff, and the report to internal/check.
package providercheck

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/cause"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A Checker checks one provider.
type Checker struct {
	Provider *oidc.Provider
	// Setting returns the name of the setting that sets a field, such as
	// "Provider.Issuer".
	Setting func(field string) string
}

// Metadata fetches the metadata, nil if that fails.
func (c Checker) Metadata(ctx context.Context) (*oidc.Metadata, check.Result) {
	md, err := c.Provider.Discover(ctx)
	if err != nil {
		return nil, c.unreachable(err)
	}
	return md, check.Good("provider", "the provider answers, and calls itself %s", md.Issuer)
}

// unreachable is the result for a provider whose metadata cannot be fetched.
func (c Checker) unreachable(err error) check.Result {
	setting, internal := c.Setting("Provider.Issuer")+"="+c.Provider.Issuer(), c.Setting("Provider.InternalURL")
	r := check.Bad("provider", "correct the issuer, or let this machine reach the provider, at "+internal+" if not at its issuer", "%s: %v", setting, err)
	problem, remedy := cause.Of(err)
	mismatch, mismatched := errors.AsType[*oidc.IssuerMismatchError](err)
	switch {
	case mismatched: // the error has a remedy
		r.Remedy = ""
		if address := mismatch.InternalURL(); address != "" {
			r.Remedy = "the setting for that is " + internal + "=" + address
		}
	case strings.Contains(problem, "certificate"):
		r.What, r.Remedy = fmt.Sprintf("%s: %s (%v)", setting, problem, err), remedy
	case problem != "":
		r.What, r.Remedy = fmt.Sprintf("%s: %s (%v)", setting, problem, err), remedy+"; "+r.Remedy
	}
	return r
}

// Keys fetches the key set, without which no token can be verified.
func (c Checker) Keys(ctx context.Context, md *oidc.Metadata) check.Result {
	err := c.Provider.Refresh(ctx)
	if err == nil {
		return check.Good("keys", "the provider's key set has keys that can be used, for %s", strings.Join(c.Provider.KeyAlgorithms(), ", "))
	}
	if problem, remedy := cause.Of(err); problem != "" {
		return check.Bad("keys", remedy, "the provider's key set at %s cannot be fetched: %s (%v)", md.JWKSURI, problem, err)
	}
	return check.Bad("keys", "no token can be verified and no login succeeds before the provider publishes a signing key of a kind that is accepted here",
		"the provider's key set at %s cannot be used: %v", md.JWKSURI, err)
}

// Algorithms returns what is wrong if the key set has no key for the algorithms that a
// field allows of a kind of tokens; none if it has one.
func (c Checker) Algorithms(kind string, algorithms []string, field string) []check.Result {
	err := token.KeysFit(c.Provider, algorithms, c.Setting(field))
	if problem, ok := errors.AsType[*token.KeysError](err); ok {
		return []check.Result{check.Bad("algorithms", problem.Remedy()+", or let the provider sign with an allowed algorithm",
			"no %s can be verified: the provider has keys for %s only", kind, strings.Join(problem.Have, ", "))}
	}
	return nil
}

// maxSkew is the clock difference that verification tolerates.
const maxSkew = time.Minute

// Clock judges how far the provider's clock is ahead of ours, if that is known.
func Clock(ahead time.Duration, known bool) check.Result {
	const synchronise = "synchronise this machine's clock (NTP), or the provider's"
	switch seconds := int(ahead.Abs().Round(time.Second).Seconds()); {
	case !known:
		return check.Result{Status: check.Unknown, Proof: "clock", Optional: true, What: "whether the clocks agree: no answer of the provider had a Date header"}
	case ahead > maxSkew:
		return check.Bad("clock", synchronise, "this machine's clock is %d s behind the provider's, so that new tokens are from the future here (60 s are tolerated)", seconds)
	case ahead < -maxSkew:
		return check.Bad("clock", synchronise, "this machine's clock is %d s ahead of the provider's, so that tokens expire too early here (60 s are tolerated)", seconds)
	default:
		return check.Good("clock", "the clocks of this machine and of the provider differ by %d s", seconds)
	}
}
