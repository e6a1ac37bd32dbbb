package devidp

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// Behavior is what the tokens of the provider are like. It can be changed while the
// provider runs; tokens that were issued before keep theirs.
type Behavior struct {
	// AccessTokenLifetime is the lifetime of access tokens; 0 means 5 minutes.
	AccessTokenLifetime time.Duration
	// IDTokenLifetime is the lifetime of ID tokens; 0 means an hour.
	IDTokenLifetime time.Duration
	// RefreshTokenLifetime is how long after a sign-in its refresh tokens work; 0 means
	// 30 days.
	RefreshTokenLifetime time.Duration
	// RefreshTokens says whether refresh tokens are issued and rotated; "" means
	// RotateRefreshTokens.
	RefreshTokens RefreshTokens
}

// members returns the fields by their names in JSON.
func (b *Behavior) members() members {
	return members{
		"access_token_lifetime": &b.AccessTokenLifetime, "id_token_lifetime": &b.IDTokenLifetime,
		"refresh_token_lifetime": &b.RefreshTokenLifetime, "refresh_tokens": (*string)(&b.RefreshTokens),
	}
}

// RefreshTokens says whether refresh tokens are issued and rotated.
type RefreshTokens string

const (
	// RotateRefreshTokens replaces a refresh token at each use. A second use revokes
	// all tokens of the sign-in.
	RotateRefreshTokens RefreshTokens = "rotate"
	// KeepRefreshTokens lets a refresh token be used again and again.
	KeepRefreshTokens RefreshTokens = "keep"
	// NoRefreshTokens issues none. Those issued before go on working.
	NoRefreshTokens RefreshTokens = "none"
)

// maxLifetime bounds all lifetimes, so that sums of times do not overflow.
const maxLifetime = 10 * 365 * 24 * time.Hour

// normalize returns b with defaults in place of zero values, or an error for each
// wrong field.
func (b Behavior) normalize() (Behavior, error) {
	var errs []error
	for _, l := range []struct {
		field   string
		value   *time.Duration
		instead time.Duration
	}{
		{"AccessTokenLifetime", &b.AccessTokenLifetime, defaultAccessTokenLifetime},
		{"IDTokenLifetime", &b.IDTokenLifetime, defaultIDTokenLifetime},
		{"RefreshTokenLifetime", &b.RefreshTokenLifetime, defaultRefreshTokenLifetime},
	} {
		switch {
		case *l.value < 0:
			errs = append(errs, invalid.NotNegative(l.field, *l.value, "a positive duration", l.instead))
		case *l.value > 0 && *l.value < time.Second:
			errs = append(errs, invalid.Field(l.field, *l.value, "is shorter than a second, the unit of the times in tokens", "give 1s or more"))
		case *l.value > maxLifetime:
			errs = append(errs, invalid.Field(l.field, *l.value, "is too long", fmt.Sprintf("give at most %v", maxLifetime)))
		}
		*l.value = cmp.Or(*l.value, l.instead)
	}
	b.RefreshTokens = cmp.Or(b.RefreshTokens, RotateRefreshTokens)
	if !slices.Contains(refreshModes, b.RefreshTokens) {
		errs = append(errs, unknown("RefreshTokens", b.RefreshTokens, refreshModes))
	}
	return b, errors.Join(errs...)
}

var refreshModes = []RefreshTokens{RotateRefreshTokens, KeepRefreshTokens, NoRefreshTokens}
