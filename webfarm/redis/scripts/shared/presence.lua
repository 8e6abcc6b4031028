-- Presence, in front of every script that needs it. For each room a hash says how many clients each user has there, on
-- all nodes; its key is the channel on which it is published who comes and goes ('1 user', '0 user'). Who has gone stays
-- there with 0, and stands in a zset under the time at which that is published (microseconds), unless he is back by then.
-- So whoever is in the hash is there as far as those know who listen.

-- Adds count (below 0: takes away) to the clients of user in room; grace is in microseconds.
local function add_clients(present, leaving, room, user, count, grace)
  local before = redis.call('HGET', present, user)
  local known = tonumber(before or 0)
  local clients = math.max(known + count, 0)
  if clients == known then
    return
  end
  redis.call('HSET', present, user, text(clients))
  local pair = #room .. ' ' .. room .. user
  if clients == 0 then
    redis.call('ZADD', leaving, text(now() + grace), pair)
  elseif not before then
    redis.call(publish, present, '1 ' .. user)
  elseif known == 0 then
    redis.call('ZREM', leaving, pair)
  end
end

-- Takes one off a count of clients, if there is one; returns what is left.
local function take_off(key, field)
  local count = (tonumber(redis.call('HGET', key, field)) or 0) - 1
  if count > 0 then
    redis.call('HSET', key, field, text(count))
  elseif count == 0 then
    redis.call('HDEL', key, field)
  end
  return count
end

-- Takes a client of user out of what its node has written of room, if it has. members is what the keys of the node's
-- members begin with, without the colon; rooms is the node's; present what the keys of who is present begin with.
local function release(members, rooms, present, leaving, room, user, grace)
  members = members .. ':' .. room
  if user ~= '' and take_off(members, user) >= 0 then
    add_clients(present .. room, leaving, room, user, -1, grace)
  end
  if take_off(rooms, room) == 0 and redis.call('EXISTS', members) == 1 then
    redis.call('HSET', rooms, room, '00') -- kept, as in register.lua
  end
end
