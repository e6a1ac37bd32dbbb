// Package session owns the browser session: its identifier, its lifetimes, its cookie, the sealing
// of its contents, and the [Store] interface with the rules that every store keeps. Login, refresh
// and logout are left to package bff, and storage to the packages below this one.
//
// A session is identified by 256 random bits, which only the browser's cookie holds. A store has
// their SHA-256, the [ID]. Tokens and claims are sealed under a key that is derived from the secret
// and from those bits: a stolen store does not open a session, even together with the secret.
// Issuer, subject, sid, times, user agent and address are stored outside the seal, since
// back-channel logout and the list of a user's sessions must find them.
package session
