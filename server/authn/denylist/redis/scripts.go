package redis

import (
	"crypto/rand"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/internal/denials"
)

// begin starts an epoch if there is none. Its name ends in the time of its begin
// by the server's clock, with which every process compares it. A feed without its
// epoch or counter starts again.
//
// KEYS epoch seq feed; ARGV[1] is a random name for a new epoch.
const begin = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if redis.call('EXISTS', KEYS[1], KEYS[2]) < 2 then
  redis.call('DEL', KEYS[3])
  redis.call('SET', KEYS[2], 0)
  redis.call('SET', KEYS[1], ARGV[1] .. '@' .. string.format('%.0f', now))
end
`

// hello returns the epoch, its age in milliseconds and the number of the last
// change.
var hello = rueidis.NewLuaScriptRetryable(begin + `
local epoch = redis.call('GET', KEYS[1])
local born = tonumber(string.match(epoch, '@(%d+)$')) or 0
return {epoch, string.format('%.0f', now - born), redis.call('GET', KEYS[2])}
`)

// deny stores a denial, merged with an existing one, and adds it to the feed, in
// one step. It may be repeated, also by the client after a broken connection: what
// changes nothing is not in the feed, so that processes which restore the same
// denials do not echo each other. The server's clock decides about the index, as
// about the keys.
//
// KEYS[4] index, KEYS[5] the denial; ARGV[2] its name, [3] milliseconds until
// Redis may drop it, [4] until, [5] at. A malformed value is replaced.
var deny = rueidis.NewLuaScriptRetryable(begin + `
local ttl, ends, at = tonumber(ARGV[3]), ARGV[4], ARGV[5]
local have = redis.call('GET', KEYS[5])
if have then
  local e, a = string.match(have, '^(%-?%d+) (%-?%d+)$')
  if e then
    if tonumber(e) >= tonumber(ends) and tonumber(a) >= tonumber(at) then return 0 end
    if tonumber(e) > tonumber(ends) then ends = e end
    if tonumber(a) > tonumber(at) then at = a end
    ttl = math.max(ttl, redis.call('PTTL', KEYS[5]))
  end
end
redis.call('SET', KEYS[5], ends .. ' ' .. at, 'PX', string.format('%.0f', ttl))
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', string.format('%.0f', now - 60000))
redis.call('ZADD', KEYS[4], string.format('%.0f', now + ttl), ARGV[2])
local last = redis.call('ZREVRANGE', KEYS[4], 0, 0, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[4], string.format('%.0f', tonumber(last[2]) + 60000))
local seq = redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, string.format('%.0f-0', seq), 'd', ARGV[2] .. ' ' .. ends .. ' ' .. at)
redis.call('PEXPIRE', KEYS[3], 600000)
return 1
`)

// keys are the names of the keys beside those of denials.
type keys struct{ prefix, epoch, seq, feed, index string }

func newKeys(prefix string) keys {
	return keys{prefix, prefix + "epoch", prefix + "seq", prefix + "feed", prefix + "index"}
}

// deny takes the time in milliseconds since 1970. Redis keeps a denial a minute
// longer than it lasts, since clocks differ.
func (k *keys) deny(e denials.Entry, now int64) rueidis.LuaExec {
	n := e.Name.String()
	return rueidis.LuaExec{
		Keys: []string{k.epoch, k.seq, k.feed, k.index, k.prefix + n},
		Args: []string{
			rand.Text(), n, strconv.FormatInt(e.Denial.Until-now+denials.Leeway.Milliseconds(), 10),
			strconv.FormatInt(e.Denial.Until, 10), strconv.FormatInt(e.Denial.At, 10),
		},
	}
}
