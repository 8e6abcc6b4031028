-- Presence, in front of every script that needs it. For each room a hash says how many clients each user has there, on
-- all nodes; its key is the channel on which it is published who comes and goes ('1 user', '0 user'). Who has gone
-- stands in a zset under the time at which that is published (microseconds), unless he is back by then.

-- Adds count (below 0: takes away) to the clients of user in room; grace is in microseconds.
local function add_clients(present, leaving, room, user, count, grace)
  local clients = redis.call('HINCRBY', present, user, count)
  local before = clients - count
  local pair = #room .. ' ' .. room .. user
  if clients <= 0 then
    redis.call('HDEL', present, user)
    if before > 0 then
      redis.call('ZADD', leaving, text(now() + grace), pair)
    end
  elseif before <= 0 and redis.call('ZREM', leaving, pair) == 0 then
    redis.call('PUBLISH', present, '1 ' .. user)
  end
end
