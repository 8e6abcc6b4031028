-- Ends sessions of any node: nobody can resume or write them any more.
-- KEYS: sessions
-- ARGV: the namespace; the field of a room's floor: only sessions in that room end, '': all;
--       the start of the keys of users' sessions
-- Returns: for each session that was ended: 1 if its connection was open, else 0.

local answer = {}
for _, key in ipairs(KEYS) do
  local state = redis.call('HMGET', key, 'pid', 'namespace', 'is_open', 'user')
  if state[1] and state[2] == ARGV[1] and (ARGV[2] == '' or redis.call('HEXISTS', key, ARGV[2]) == 1) then
    local lifetime = redis.call('PTTL', key)
    redis.call('DEL', key)
    redis.call('HSET', key, 'generation', '0') -- nobody's: its node finds it, and does not write it again
    redis.call('PEXPIRE', key, math.max(lifetime, 1))
    if (state[4] or '') ~= '' then
      redis.call('ZREM', ARGV[3] .. state[2] .. ',' .. state[4], key:match('[^:]*$'))
    end
    answer[#answer + 1] = state[3] == '1' and 1 or 0
  end
end
return answer
