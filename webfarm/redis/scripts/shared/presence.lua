-- Presence, in front of every script that needs it. A hash for each room counts the clients of each user there, on all
-- nodes. Its key is also the channel that announces who comes and goes ('1 user', '0 user').
-- A user who left stays in the hash with 0, and in a sorted set under the time of the announcement (microseconds). A user
-- who is back by then is not announced. So for listeners all users in the hash are present.

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

-- Takes one off a count of clients, if there is one; returns the rest.
local function take_off(key, field)
  local count = (tonumber(redis.call('HGET', key, field)) or 0) - 1
  if count > 0 then
    redis.call('HSET', key, field, text(count))
  elseif count == 0 then
    redis.call('HDEL', key, field)
  end
  return count
end

-- Removes a client of user from its node's entries of room, if it is there. members is the start of the keys of the
-- node's members, without the colon. rooms is the node's hash. present is the start of the keys of present users.
local function release(members, rooms, present, leaving, room, user, grace)
  members = members .. ':' .. room
  if user ~= '' and take_off(members, user) >= 0 then
    add_clients(present .. room, leaving, room, user, -1, grace)
  end
  if take_off(rooms, room) == 0 and redis.call('EXISTS', members) == 1 then
    redis.call('HSET', rooms, room, '00') -- kept, as in register.lua
  end
end
