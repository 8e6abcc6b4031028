-- Deletes all messages of a room. The newest id stays: so clients that had not received everything, and only they, find
-- that something is missing.
-- KEYS: stream, room, pointer
-- ARGV: lifetime (ms): by its end no such client can come back
-- Returns: how many messages there were.

local count = redis.call('XLEN', KEYS[1])
redis.call('DEL', KEYS[1])
local state = redis.call('HMGET', KEYS[2], 'id', 'bytes')
if state[1] then
  redis.call('HSET', KEYS[2], 'gone', state[2])
  redis.call('HDEL', KEYS[2], 'due') -- the next message's stream expires, too
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
  if tonumber(redis.call('GET', KEYS[3]) or 0) < tonumber(state[1]) then
    redis.call('SET', KEYS[3], state[1], 'PX', ARGV[1]) -- a new client begins behind what was erased
  end
end
return count
