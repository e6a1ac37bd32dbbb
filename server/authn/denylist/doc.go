// Package denylist owns the set of revoked sessions, tokens and subjects of one
// process, each until its last token has expired. Looking tokens up is left to
// package authn, adding denials to the part that handles logouts, and sharing
// them between processes to package redis below this one.
package denylist
