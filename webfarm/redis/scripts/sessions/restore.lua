-- Writes an expired session again, unless another node has done so, and has it by now.
-- KEYS: session, the sessions of its user
-- ARGV: lifetime (ms); node; generation; then fields and values
-- Returns: '' or the reason of a refusal: 'taken', 'ended'.

local state = redis.call('HMGET', KEYS[1], 'node', 'generation')
if state[2] == '0' then
  return 'ended'
end
if state[2] and (state[1] ~= ARGV[2] or state[2] ~= ARGV[3]) then
  return 'taken'
end
for i = 4, #ARGV, 2000 do -- Lua unpacks some thousands at once
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 1999, #ARGV)))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if (redis.call('HGET', KEYS[1], 'user') or '') ~= '' then
  keep_for_user(KEYS[2], KEYS[1]:match('[^:]*$'), ARGV[1])
end
return ''
