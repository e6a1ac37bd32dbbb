// Package redis owns the denylist that several processes share through one
// Redis (6.2 or later) or Valkey: what one of them denies, all refuse within a
// second. It leaves it to package authn to ask at every call, to whoever learns
// of a logout to tell it, and to package denylist to serve a single process.
//
// Each process mirrors the list in memory and follows a feed of its changes;
// while the feed is healthy a look-up touches no network. When nothing has been
// heard for a second (a dead connection, a frozen server), Redis is asked at
// every look-up, and if that fails the look-up fails, which package authn
// answers with UNAVAILABLE. A token that is known to be denied is refused
// whatever the state of Redis.
//
// What memory holds outlives Redis: after a restart without persistence, a
// FLUSHALL or a failover that lost writes, every process puts back what it
// knows, and for the two seconds given to that, tokens not known to be denied
// get that failure too. Only if, besides, all processes ended that knew of a
// denial is it forgotten. Redis must not evict: set maxmemory-policy to
// noeviction (or volatile-…, which loses denials only when memory is short).
//
// Redis holds SHA-256 sums of (issuer, sid), (issuer, jti) and (issuer, sub),
// and times: no token and no name. A subject that can be guessed can be
// checked against a sum, as with any unkeyed one. All keys of one list begin
// with Config.Prefix:
//
//	s:…, j:…, u:…  one denial each, of a session, token or subject; expires with what it refuses
//	index          the names of those keys, by the time they expire, for loading
//	feed, seq      the last changes, numbered without a gap, and the last number
//	epoch          changes when Redis has lost what it held
//
// The client is rueidis: it pipelines the concurrent questions of an outage on
// one connection and holds every one of them to its context's deadline.
package redis
