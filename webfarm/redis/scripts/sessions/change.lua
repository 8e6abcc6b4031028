-- Changes a session, if it is still the caller's.
-- KEYS: clock, session
-- ARGV: 4 for the clock; node; generation; lifetime (ms) of an end; the start of the keys of users' sessions;
--       then in threes: 'set', field, value | 'join', field, floor ('': the clock) | 'del', field, '' | 'end', '', '';
--       after 'end' nothing of the session stays for that lifetime but the fact that it has ended
-- Returns: epoch; newest id; '' or the reason of a refusal: 'taken', 'ended', 'missing'.

local epoch, newest = open_clock(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local state = redis.call('HMGET', KEYS[2], 'node', 'generation', 'namespace', 'user')
if not state[2] then
  return {epoch, text(newest), 'missing'}
end
if state[2] == '0' then
  return {epoch, text(newest), 'ended'}
end
if state[1] ~= ARGV[5] or state[2] ~= ARGV[6] then
  return {epoch, text(newest), 'taken'}
end
for i = 9, #ARGV, 3 do
  if ARGV[i] == 'set' then
    redis.call('HSET', KEYS[2], ARGV[i + 1], ARGV[i + 2])
  elseif ARGV[i] == 'join' then
    redis.call('HSETNX', KEYS[2], ARGV[i + 1], ARGV[i + 2] ~= '' and ARGV[i + 2] or text(newest))
  elseif ARGV[i] == 'del' then
    redis.call('HDEL', KEYS[2], ARGV[i + 1])
  else
    redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[2], 'generation', '0') -- nobody's: it can't be written again
    redis.call('PEXPIRE', KEYS[2], ARGV[7])
    if (state[4] or '') ~= '' then
      redis.call('ZREM', ARGV[8] .. state[3] .. ',' .. state[4], KEYS[2]:match('[^:]*$'))
    end
  end
end
return {epoch, text(newest), ''}
