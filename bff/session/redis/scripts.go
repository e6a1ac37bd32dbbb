package redis

import "github.com/redis/rueidis"

// Each script is one step of Redis, on keys of one slot. A session is a hash:
//
//	m  the fixed fields, as JSON         s  sealed
//	l  last seen      x  idle expires    e  expires
//	f  the newest fence granted          k  locked until
//
// Times are milliseconds since 1970 by the callers' clocks, which decide about expiry. Redis
// removes a key a minute later by its own clock.

// found reads the session KEYS[1] at the time ARGV[1]; live is false if there is none or it has
// expired.
const found = `
local now = tonumber(ARGV[1])
local s = redis.call('HMGET', KEYS[1], 'x', 'e', 'l', 'f', 'k', 'm')
local live = s[1] and s[2] and tonumber(s[1]) > now and tonumber(s[2]) > now
`

const orNil = `
if not live then return false end
`

// expire makes Redis remove a session a minute after its end.
const expire = `
local function expire(idle, absolute)
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.min(tonumber(idle), tonumber(absolute)) + 60000))
end
`

// finish removes a session and sets the key that says why. The second may fail.
const finish = `
local function finish(key, told)
  redis.call('DEL', key)
  redis.pcall('SET', told, '', 'PX', 2000)
end
`

var (
	// create: ARGV[2] m, [3] l, [4] x, [5] e, [6] s. KEYS[2], if given, is the replaced session and
	// KEYS[3] the key that says so. The answer is 0 if there is a live session, and otherwise 1 and
	// the m of the replaced one.
	create = rueidis.NewLuaScript(found + expire + finish + `
if live then return {0} end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'm', ARGV[2], 'l', ARGV[3], 'x', ARGV[4], 'e', ARGV[5], 's', ARGV[6])
expire(ARGV[4], ARGV[5])
if not KEYS[2] then return {1} end
local old = redis.call('HGET', KEYS[2], 'm')
if not old then return {1} end
finish(KEYS[2], KEYS[3])
return {1, old}
`)

	// touch: ARGV[2] l, [3] x. The answer is m and e if they were written, and otherwise 0.
	touch = rueidis.NewLuaScriptRetryable(found + orNil + expire + `
if tonumber(ARGV[2]) <= tonumber(s[3]) then return 0 end
redis.call('HSET', KEYS[1], 'l', ARGV[2], 'x', ARGV[3])
expire(ARGV[3], s[2])
return {s[6], s[2]}
`)

	// lock: ARGV[2] the end of the lease. The answer is the fence, or 0 and the end of the current
	// lease.
	lock = rueidis.NewLuaScript(found + orNil + `
if s[5] and tonumber(s[5]) > now then return {0, tonumber(s[5])} end
redis.call('HSET', KEYS[1], 'k', ARGV[2])
return {redis.call('HINCRBY', KEYS[1], 'f', 1), 0}
`)

	// renew: ARGV[2] the fence, [3] the end of the lease. The answer is 0 if it is fenced, or the
	// lock was released.
	renew = rueidis.NewLuaScriptRetryable(found + orNil + `
local fence = tonumber(ARGV[2])
if fence <= 0 or not s[4] or tonumber(s[4]) ~= fence or not s[5] then return 0 end
redis.call('HSET', KEYS[1], 'k', ARGV[3])
return 1
`)

	// write: ARGV[2] the fence, [3] s, without which only the lock is released. The answer is 0 if
	// it is fenced.
	write = rueidis.NewLuaScriptRetryable(found + orNil + `
local fence = tonumber(ARGV[2])
if fence <= 0 or not s[4] or tonumber(s[4]) ~= fence then return 0 end
if ARGV[3] then redis.call('HSET', KEYS[1], 's', ARGV[3]) end
redis.call('HDEL', KEYS[1], 'k')
return 1
`)

	// remove ends a session; KEYS[2] is the key that says so. The answer is its m.
	remove = rueidis.NewLuaScript(found + finish + orNil + `
finish(KEYS[1], KEYS[2])
return s[6] or ''
`)

	// addToIndex: KEYS[1] a set of IDs sorted by expiry, ARGV[1] the time, [2] the expiry, [3] the
	// ID.
	addToIndex = rueidis.NewLuaScriptRetryable(`
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', tonumber(ARGV[1]) - 60000))
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', tonumber(last[2]) + 60000))
return 1
`)

	// putNote: KEYS[1] the note, [2] the due notes of its kind; ARGV[1] the time, [2] key, [3]
	// value, [4] due, [5] expires, [6] "add" if an existing one stays. The answer is whether it was
	// stored.
	putNote = rueidis.NewLuaScript(`
local now, ends = tonumber(ARGV[1]), tonumber(ARGV[5]) + 60000
if ARGV[6] == 'add' then
  local e = redis.call('HGET', KEYS[1], 'e')
  if e and tonumber(e) > now then return 0 end
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'v', ARGV[3], 'd', ARGV[4], 'e', ARGV[5])
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', ends))
if ARGV[4] == '0' then
  redis.call('ZREM', KEYS[2], ARGV[2])
  return 1
end
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[2])
if redis.call('PEXPIRETIME', KEYS[2]) < ends then redis.call('PEXPIREAT', KEYS[2], string.format('%.0f', ends)) end
return 1
`)

	// countNote: KEYS[1] the note; ARGV[1] the time, [2] expires.
	countNote = rueidis.NewLuaScript(`
local e = redis.call('HGET', KEYS[1], 'e')
if not e or tonumber(e) <= tonumber(ARGV[1]) then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'v', '', 'd', '0', 'e', ARGV[2])
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', tonumber(ARGV[2]) + 60000))
end
return redis.call('HINCRBY', KEYS[1], 'n', 1)
`)

	// takeNote: KEYS[1] the note, [2] the due notes; ARGV[1] the time, [2] key. The answer is v, d
	// and e.
	takeNote = rueidis.NewLuaScript(`
local n = redis.call('HMGET', KEYS[1], 'v', 'd', 'e')
if not n[3] or tonumber(n[3]) <= tonumber(ARGV[1]) then return false end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[2])
return n
`)

	// missNote: KEYS as above; ARGV[1] key. It removes a note that is gone from the due notes.
	missNote = rueidis.NewLuaScriptRetryable(`
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
return 1
`)
)
