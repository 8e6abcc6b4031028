-- Takes a session for another connection, and removes its client from the entries of the node before.
-- KEYS: clock, session, the users who are leaving
-- ARGV: 4 for the clock; pid; owner; node; lifetime (ms); the session's sid; the namespace;
--       1 if an open connection of this node has the session; how many connections its user may have (0: any number);
--       grace (microseconds);
--       then the start of the keys of: sessions, nodes' leases, nodes' channels, users' sessions, nodes' clients,
--       nodes' rooms, nodes' members, present users
-- Returns: '', the session's fields and values, and the node before if it does not listen any more;
--       then the caller releases that node's entries in other shards, too;
--       or the reason of a refusal: 'unknown', 'foreign', 'expired', 'epoch', 'full', 'twin'.
-- 'full': its user has as many connections as allowed. 'twin': its node is asked whether its connection lives.

local pid, owner, node, lifetime, sid, namespace, is_open_here, most, grace = unpack(ARGV, 5, 13)
local sessions, leases, marks, users, clients_of, rooms_of, members_of, present = unpack(ARGV, 14)

local epoch = open_clock(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local session = {}
local fields = redis.call('HGETALL', KEYS[2])
for i = 1, #fields, 2 do
  session[fields[i]] = fields[i + 1]
end
if not session.pid or session.pid ~= pid then
  return {'unknown'}
end
if session.owner ~= owner or session.namespace ~= namespace then
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
local user = session.user or ''
local user_sessions = users .. namespace .. ',' .. user
if user ~= '' and is_full(user_sessions, sid, tonumber(most), sessions, leases) then
  return {'full'}
end
local heard = 1
if session.is_open == '1' then
  -- two tabs may resume one session: the second gets a session of its own
  local is_open = is_open_here == '1'
  if session.node ~= node then
    is_open = redis.call('EXISTS', leases .. session.node) == 1
  end
  if is_open and time - tonumber(session.resumed or 0) < 1000000 then
    redis.call(publish, marks .. session.node, 'probe ' .. sid .. ' ' .. session.generation)
    return {'twin'}
  end
  heard = redis.call(publish, marks .. session.node, 'taken ' .. sid .. ' ' .. session.generation)
end

-- The node before writes its counts again once it knows, if it lives; the entries of a dead node are buried.
local dead = ''
if session.node ~= node and redis.call('HDEL', clients_of .. session.node, sid) == 1 then
  for field in pairs(session) do
    local room = field:match('^floor:(.*)$')
    if room and room ~= sid then
      release(members_of .. session.node, rooms_of .. session.node, present, KEYS[3], namespace .. ',' .. room, user, tonumber(grace))
    end
  end
  dead = heard == 0 and session.node or ''
end
redis.call('HINCRBY', KEYS[2], 'generation', 1)
redis.call('HSET', KEYS[2], 'node', node, 'is_open', '1', 'resumed', text(time))
redis.call('PEXPIRE', KEYS[2], lifetime)
if user ~= '' then
  keep_for_user(user_sessions, sid, lifetime)
end
return {'', redis.call('HGETALL', KEYS[2]), dead}
