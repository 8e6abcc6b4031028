-- Writes the present clients of a node; it may be repeated.
-- KEYS: the node's lease, clients and rooms, the users who are leaving; then for each member of a room: members, present
-- ARGV: grace (microseconds); the start of the keys of the node's members; how many clients there are;
--       then for each client: sid, description ('' if it left);
--       for each member: room, user, clients on this node;
--       for each room of these members: name, clients on this node
-- Returns: 1; or 0 if the lease has ended: then nothing was written.

if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end

-- Writes fields and values, and takes out those whose value is '' or '0'.
local function put(key, pairs)
  local kept, gone = {}, {}
  for i = 1, #pairs, 2 do
    if pairs[i + 1] == '' or pairs[i + 1] == '0' then
      gone[#gone + 1] = pairs[i]
    else
      kept[#kept + 1] = pairs[i]
      kept[#kept + 1] = pairs[i + 1]
    end
  end
  if #kept > 0 then
    redis.call('HSET', key, unpack(kept))
  end
  if #gone > 0 then
    redis.call('HDEL', key, unpack(gone))
  end
end

local a = 4 + 2 * tonumber(ARGV[3])
put(KEYS[2], {unpack(ARGV, 4, a - 1)})
for k = 5, #KEYS, 2 do
  local room, user, clients = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local added = tonumber(clients) - tonumber(redis.call('HGET', KEYS[k], user) or 0)
  if added ~= 0 then
    put(KEYS[k], {user, clients})
    add_clients(KEYS[k + 1], KEYS[4], room, user, added, tonumber(ARGV[1]))
  end
  a = a + 3
end
local rooms = {unpack(ARGV, a)}
for i = 1, #rooms, 2 do
  if rooms[i + 1] == '0' and redis.call('EXISTS', ARGV[2] .. rooms[i]) == 1 then
    rooms[i + 1] = '00' -- kept: the node that buries this one finds its members by its rooms
  end
end
put(KEYS[3], rooms)
return 1
