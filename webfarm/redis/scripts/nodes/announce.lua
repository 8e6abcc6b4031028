-- Publishes that users have left rooms, once their grace period is over: each once.
-- KEYS: the users who are leaving
-- ARGV: most at once; the start of the keys of present users
-- Returns: how many there were.

local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now()), 'LIMIT', 0, ARGV[1])
for _, pair in ipairs(due) do
  redis.call('ZREM', KEYS[1], pair)
  local length, rest = pair:match('^(%d+) (.*)$')
  local present, user = ARGV[2] .. rest:sub(1, length), rest:sub(length + 1)
  if tonumber(redis.call('HGET', present, user) or 0) <= 0 then
    redis.call('HDEL', present, user)
    redis.call(publish, present, '0 ' .. user)
  end
end
return #due
