-- Takes a session for another connection. What another node has written of its client in the registry is taken out.
-- KEYS: clock, session, who is leaving
-- ARGV: 4 for the clock; pid, owner, node, lifetime (ms); the session's sid, the namespace, 1 if a connection of the node
--       has it and is open; how many connections its user may have (0: any number); grace (microseconds); then what the keys of
--       these begin with: sessions, nodes' leases, nodes' channels, users' sessions, nodes' clients, nodes' rooms, nodes'
--       members, who is present
-- Returns: '' and the session's fields and values, or why not: 'unknown', 'foreign', 'expired', 'epoch', 'full' (its user
-- has as many connections as it may), 'twin' (then the node that has the session is asked whether its connection lives)

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
if session.is_open == '1' then
  -- two tabs that resume one session; the second gets one of its own
  local is_open = is_open_here == '1'
  if session.node ~= node then
    is_open = redis.call('EXISTS', leases .. session.node) == 1
  end
  if is_open and time - tonumber(session.resumed or 0) < 1000000 then
    redis.call(publish, marks .. session.node, 'probe ' .. sid .. ' ' .. session.generation)
    return {'twin'}
  end
  redis.call(publish, marks .. session.node, 'taken ' .. sid .. ' ' .. session.generation)
end

-- Takes one off a node's count of clients, if there is one; returns what is left.
local function take_off(key, field)
  local count = (tonumber(redis.call('HGET', key, field)) or 0) - 1
  if count > 0 then
    redis.call('HSET', key, field, text(count))
  elseif count == 0 then
    redis.call('HDEL', key, field)
  end
  return count
end

-- The node before, if it lives, writes its counts again once it knows; if it is dead, what is left is buried.
if session.node ~= node and redis.call('HDEL', clients_of .. session.node, sid) == 1 then
  for field in pairs(session) do
    local room = field:match('^floor:(.*)$')
    if room and room ~= sid then
      local name = namespace .. ',' .. room
      local members = members_of .. session.node .. ':' .. name
      if user ~= '' and take_off(members, user) >= 0 then
        add_clients(present .. name, KEYS[3], name, user, -1, tonumber(grace))
      end
      if take_off(rooms_of .. session.node, name) == 0 and redis.call('EXISTS', members) == 1 then
        redis.call('HSET', rooms_of .. session.node, name, '00') -- kept, as in register.lua
      end
    end
  end
end
redis.call('HINCRBY', KEYS[2], 'generation', 1)
redis.call('HSET', KEYS[2], 'node', node, 'is_open', '1', 'resumed', text(time))
redis.call('PEXPIRE', KEYS[2], lifetime)
if user ~= '' then
  keep_for_user(user_sessions, sid, lifetime)
end
return {'', redis.call('HGETALL', KEYS[2])}
