// Package session owns the browser session: its identifier, its lifetimes, its cookie, what of it is sealed, and the
// [Store] interface with the rules that every store keeps. How a session comes about, when its tokens are refreshed and
// whom its end has to be told is left to package bff; where it is kept is left to the packages below this one.
//
// A session is known by 256 random bits, which only the browser's cookie holds. A store knows the SHA-256 of them, the
// [ID]. Tokens and claims are sealed under a key that is derived from the secret and from those bits, so whoever steals a
// store, even together with the secret, opens nothing; issuer, subject, sid, times, device and address lie outside the
// seal, because back-channel logout and the list of a person's sessions must find them.
package session
