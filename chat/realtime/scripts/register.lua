-- Writes who is connected to a node, as it is by now; so it may be repeated.
-- KEYS: the node's lease, clients and rooms, who is leaving; then for each member of a room: members, present
-- ARGV: grace (microseconds), what the keys of the node's members begin with, how many clients there are; then for each
--       client: sid, description ('' if it has gone); for each member: room, user, clients on this node;
--       for each room, those of the members among them: name, clients on this node
-- Returns: 1, or 0 if the lease has ended: then nothing was written.

if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end

local function put(key, field, value)
  if value == '' or value == '0' then
    redis.call('HDEL', key, field)
  else
    redis.call('HSET', key, field, value)
  end
end

local a = 4
for _ = 1, tonumber(ARGV[3]) do
  put(KEYS[2], ARGV[a], ARGV[a + 1])
  a = a + 2
end
for k = 5, #KEYS, 2 do
  local room, user, clients = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local added = tonumber(clients) - tonumber(redis.call('HGET', KEYS[k], user) or 0)
  if added ~= 0 then
    put(KEYS[k], user, clients)
    add_clients(KEYS[k + 1], KEYS[4], room, user, added, tonumber(ARGV[1]))
  end
  a = a + 3
end
for i = a, #ARGV, 2 do
  if ARGV[i + 1] ~= '0' or redis.call('EXISTS', ARGV[2] .. ARGV[i]) == 0 then
    put(KEYS[3], ARGV[i], ARGV[i + 1])
  else -- whoever has to bury this node finds its members by its rooms
    redis.call('HSET', KEYS[3], ARGV[i], 0)
  end
end
return 1
