-- Takes away what a node has left behind whose lease has ended: some of it at each call.
-- KEYS: the node's lease, clients and rooms, who is leaving, nodes
-- ARGV: node, grace (microseconds), most members at once, what the keys of the node's members and of who is present begin with
-- Returns: 1 if there is more, else 0.

if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local left = tonumber(ARGV[3])
while left > 0 do
  local rooms = redis.call('HSCAN', KEYS[3], '0', 'COUNT', 10)[2]
  if #rooms == 0 then
    break
  end
  for i = 1, #rooms, 2 do
    local room = rooms[i]
    local members = ARGV[4] .. room
    while left > 0 do
      local users = redis.call('HSCAN', members, '0', 'COUNT', 100)[2]
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
