// Package denylist owns the memory of what has been revoked: sessions, tokens
// and whole subjects, each until its last token has expired. It leaves it to
// package authn to ask at every call, and to whoever learns of a logout to
// tell it; it tells no other process.
package denylist
