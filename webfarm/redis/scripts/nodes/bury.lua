-- Deletes the entries of a node whose lease has ended: some at each call.
-- KEYS: the node's lease, clients and rooms, the users who are leaving, nodes
-- ARGV: node; grace (microseconds); most members at once; the start of the keys of the node's members;
--       the start of the keys of present users
-- Returns: 1 if there is more, else 0.

if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end

-- Returns some fields and values of a hash; none only if it is empty. A page of a scan may be empty in a hash that is not.
local function some(key, count)
  local cursor, found = '0', {}
  repeat
    cursor, found = unpack(redis.call('HSCAN', key, cursor, 'COUNT', count))
  until #found > 0 or cursor == '0'
  return found
end

local left = tonumber(ARGV[3])
while left > 0 do
  local rooms = some(KEYS[3], 10)
  if #rooms == 0 then
    break
  end
  for i = 1, #rooms, 2 do
    local room = rooms[i]
    local members = ARGV[4] .. room
    while left > 0 do
      local users = some(members, 100)
      if #users == 0 then
        redis.call('HDEL', KEYS[3], room)
        left = left - 1
        break
      end
      for j = 1, #users, 2 do
        if redis.call('HDEL', members, users[j]) == 1 then
          add_clients(ARGV[5] .. room, KEYS[4], room, users[j], -tonumber(users[j + 1]), tonumber(ARGV[2]))
        end
        left = left - 1
      end
    end
  end
end
if left <= 0 then
  return 1
end
redis.call('UNLINK', KEYS[2])
redis.call('SREM', KEYS[5], ARGV[1])
return 0
