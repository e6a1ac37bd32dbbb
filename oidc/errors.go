package oidc

import "errors"

// ErrUnavailable is wrapped by errors that say that the provider's metadata or
// keys are not available. A token that cannot be verified for this reason may
// be valid, so the response is 503 and not 401.
var ErrUnavailable = errors.New("oidc: provider unavailable")

// ErrUnknownKey is wrapped by errors that say that the key set has no key for a
// token. Its signature was not verified.
var ErrUnknownKey = errors.New("oidc: no key to verify the signature with")
