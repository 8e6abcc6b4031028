-- Lists the users in a room, on the living nodes.
-- KEYS: nodes, the users who are present in the room
-- ARGV: room; the start of leases' keys; the start of members' keys; how many at most (0: all of them);
--       1 to list those with 0 clients, too, whose leaving is not announced yet
-- Returns: a list of user and clients in turn.

local members, users, is_listed, most = {}, {}, {}, tonumber(ARGV[4])
for _, node in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('EXISTS', ARGV[2] .. node) == 1 then
    members[#members + 1] = ARGV[3] .. node .. ':' .. ARGV[1]
  end
end

local function is_enough()
  return most > 0 and #users >= most
end

-- Lists the users of a hash who are not listed yet.
local function list(key)
  local cursor, found = '0', {}
  repeat
    cursor, found = unpack(redis.call('HSCAN', key, cursor, 'COUNT', most > 0 and math.min(most, 1000) or 1000))
    for i = 1, #found, 2 do
      if not is_listed[found[i]] and not is_enough() then
        is_listed[found[i]] = true
        users[#users + 1] = found[i]
      end
    end
  until cursor == '0' or is_enough()
end

for _, key in ipairs(members) do
  if not is_enough() then
    list(key)
  end
end
if ARGV[5] == '1' and not is_enough() then
  list(KEYS[2])
end

local answer = {}
for first = 1, #users, 1000 do -- Lua unpacks some thousands at once
  local some = {unpack(users, first, math.min(first + 999, #users))}
  local clients = {}
  for _, key in ipairs(members) do
    for i, count in ipairs(redis.call('HMGET', key, unpack(some))) do
      clients[i] = (clients[i] or 0) + (tonumber(count) or 0)
    end
  end
  for i, user in ipairs(some) do
    answer[#answer + 1] = user
    answer[#answer + 1] = clients[i]
  end
end
return answer
