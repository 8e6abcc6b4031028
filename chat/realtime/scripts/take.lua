-- Takes a session for another connection.
-- KEYS: clock, session
-- ARGV: 4 for the clock; pid, owner, node, lifetime (ms), what a node's lease's key and its channel's name begin with,
--       the session's sid, the namespace, 1 if a connection of the node has it and is open, what the key of a user's
--       sessions begins with
-- Returns: '' and the session's fields and values, or why not: 'unknown', 'foreign', 'expired', 'epoch', 'twin' (then the
-- node that has the session is asked whether its connection lives)

local epoch = open_clock(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local session = {}
local fields = redis.call('HGETALL', KEYS[2])
for i = 1, #fields, 2 do
  session[fields[i]] = fields[i + 1]
end
if not session.pid or session.pid ~= ARGV[5] then
  return {'unknown'}
end
if session.owner ~= ARGV[6] or session.namespace ~= ARGV[12] then
  return {'foreign'}
end
local time = now()
local expires = tonumber(session.expires or 0)
if expires > 0 and expires * 1000 <= time then
  return {'expired'}
end
if session.epoch ~= epoch then
  return {'epoch'}
end
if session.is_open == '1' then
  -- two tabs that resume one session; the second gets one of its own
  local is_open = ARGV[13] == '1'
  if session.node ~= ARGV[7] then
    is_open = redis.call('EXISTS', ARGV[9] .. session.node) == 1
  end
  if is_open and time - tonumber(session.resumed or 0) < 1000000 then
    redis.call('PUBLISH', ARGV[10] .. session.node, 'probe ' .. ARGV[11] .. ' ' .. session.generation)
    return {'twin'}
  end
  redis.call('PUBLISH', ARGV[10] .. session.node, 'taken ' .. ARGV[11] .. ' ' .. session.generation)
end
redis.call('HINCRBY', KEYS[2], 'generation', 1)
redis.call('HSET', KEYS[2], 'node', ARGV[7], 'is_open', '1', 'resumed', text(time))
redis.call('PEXPIRE', KEYS[2], ARGV[8])
if (session.user or '') ~= '' then
  keep_for_user(ARGV[14] .. session.namespace .. ',' .. session.user, ARGV[11], ARGV[8])
end
return {'', redis.call('HGETALL', KEYS[2])}
