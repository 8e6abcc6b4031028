-- Keeps sessions alive, if they are still the caller's; a session without a connection no longer than to its own end.
-- KEYS: sessions
-- ARGV: node; lifetime (ms); 1 if their connections are open, else 0; the start of the keys of users' sessions;
--       then for each session: generation, the id up to which everything has reached its client
-- Returns: a list of index (from 0), 'taken', 'ended' or 'missing', for those that could not be renewed.

local answer = {}
for i, key in ipairs(KEYS) do
  local state = redis.call('HMGET', key, 'node', 'generation', 'namespace', 'user', 'expires')
  if state[1] == ARGV[1] and state[2] == ARGV[2 * i + 3] then
    redis.call('PEXPIRE', key, ARGV[2]) -- first: a full Redis takes this, and then all writes of a script that has begun
    redis.call('HSET', key, 'received', ARGV[2 * i + 4])
    if (state[4] or '') ~= '' then
      local keep = ARGV[3] == '0' and keep_away_for_user or keep_for_user
      keep(ARGV[4] .. state[3] .. ',' .. state[4], key:match('[^:]*$'), ARGV[2])
    end
    if ARGV[3] == '0' then
      redis.call('HSET', key, 'is_open', '0')
      local expires = tonumber(state[5] or 0)
      if expires > 0 and expires < now() / 1000 + tonumber(ARGV[2]) then
        redis.call('PEXPIREAT', key, text(expires)) -- no node would end it
      end
    end
  else
    answer[#answer + 1] = i - 1
    answer[#answer + 1] = state[2] == '0' and 'ended' or state[2] and 'taken' or 'missing'
  end
end
return answer
