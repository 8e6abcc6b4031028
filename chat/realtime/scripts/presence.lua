-- Presence, in front of every script that needs it. For each room a hash says how many clients each user has there, on
-- all nodes; its key is the channel on which it is published who comes and goes ('1 user', '0 user'). Who has gone
-- stands in a zset under the time at which that is published (microseconds), unless he is back by then.

local has_leaving -- anybody; nil as long as that was not asked

-- Adds count (below 0: takes away) to the clients of user in room; grace is in microseconds.
local function add_clients(present, leaving, room, user, count, grace)
  local clients = redis.call('HINCRBY', present, user, count)
  local before = clients - count
  if clients <= 0 then
    redis.call('HDEL', present, user)
    if before > 0 then
      redis.call('ZADD', leaving, text(now() + grace), #room .. ' ' .. room .. user)
      has_leaving = true
    end
  elseif before <= 0 then
    if has_leaving == nil then
      has_leaving = redis.call('EXISTS', leaving) == 1
    end
    if not has_leaving or redis.call('ZREM', leaving, #room .. ' ' .. room .. user) == 0 then
      redis.call('PUBLISH', present, '1 ' .. user)
    end
  end
end
