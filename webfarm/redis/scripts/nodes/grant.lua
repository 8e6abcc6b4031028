-- Remembers a name about a user, or goes on remembering it.
-- KEYS: the user's names: a sorted set, the score is the end (ms)
-- ARGV: name; for how long (ms); 1 for a new name, 0 for a name that is only prolonged;
--       how many names at most: beyond that the oldest go first
-- Returns: 1; or 0 if the name was to be prolonged and is not there.

local time, lifetime = now() / 1000, tonumber(ARGV[2])
if ARGV[3] == '0' and time >= tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2]) -- first: a full Redis takes this, and then all writes of a script that has begun
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(time))
redis.call('ZADD', KEYS[1], text(time + lifetime), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[4]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
