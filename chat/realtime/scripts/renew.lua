-- Keeps sessions alive, if they are still the caller's.
-- KEYS: sessions
-- ARGV: node, lifetime (ms), 1 if their connections are open, else 0; then for each session: generation,
--       and up to where all has reached its client
-- Returns: a list of index (from 0), 'taken', 'ended' or 'missing', for those that could not be renewed.

local answer = {}
for i, key in ipairs(KEYS) do
  local state = redis.call('HMGET', key, 'node', 'generation')
  if state[1] == ARGV[1] and state[2] == ARGV[2 * i + 2] then
    redis.call('HSET', key, 'received', ARGV[2 * i + 3])
    redis.call('PEXPIRE', key, ARGV[2])
    if ARGV[3] == '0' then
      redis.call('HSET', key, 'is_open', '0')
    end
  else
    answer[#answer + 1] = i - 1
    answer[#answer + 1] = state[2] == '0' and 'ended' or state[2] and 'taken' or 'missing'
  end
end
return answer
