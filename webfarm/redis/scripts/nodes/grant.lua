-- Remembers a name about a user, or goes on remembering it.
-- KEYS: what is remembered of the user: a sorted set of names, the score until when (ms)
-- ARGV: name, for how long (ms), 1 if it is new, 0 if it is to be remembered already, how many names at most: of more, those
--       go first that have been remembered for longest
-- Returns: 1, or 0 if it was to be remembered and is not.

local time, lifetime = now() / 1000, tonumber(ARGV[2])
if ARGV[3] == '0' and time >= tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2]) -- first: a full Redis takes it, and what a script writes after it
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(time))
redis.call('ZADD', KEYS[1], text(time + lifetime), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[4]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
