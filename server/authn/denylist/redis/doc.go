// Package redis owns the denylist that several processes share through one
// Redis (6.2 or later) or Valkey: a denial by one takes effect in all within a
// second. Looking tokens up is left to package authn, and adding denials to the
// part that handles logouts.
//
// Each process mirrors the list in memory and follows a feed of its changes.
// While the feed is current, a look-up does not use the network. A second after
// the last news (a dead connection, a frozen server) every look-up asks Redis;
// if that fails the look-up fails, and package authn answers UNAVAILABLE. A
// token that is known to be denied is refused in any case.
//
// Denials in memory survive a loss in Redis: after a restart without
// persistence, a FLUSHALL or a failover that lost writes, each process writes
// back what it has. For the two seconds allowed for that, look-ups of tokens not
// known to be denied fail too. A denial is lost only if all processes that knew
// it have ended as well. Redis must not evict: set maxmemory-policy to noeviction
// (or volatile-…, which loses denials only when memory is short).
//
// Redis has SHA-256 sums of (issuer, sid), (issuer, jti) and (issuer, sub), and
// times; no token and no name. The sums are unkeyed, so a guessed subject can be
// checked against one. All keys of a list begin with Config.Prefix:
//
//	s:…, j:…, u:…  one denial each, of a session, token or subject; expires with what it refuses
//	index          the names of those keys, by the time they expire, for loading
//	feed, seq      the last changes, numbered without a gap, and the last number
//	epoch          changes when Redis has lost data
//
// The client is rueidis, which pipelines concurrent commands on one connection
// and applies the deadline of each context.
package redis
