-- The clock of a shard, in front of every script that needs it.
-- A clock is a hash: format, epoch, id (the newest message's). Its four arguments are the format of this version, the name
-- of a new epoch if one begins, and the caller's epoch and newest id.

local function text(id)
  return string.format('%.0f', id)
end

local function now() -- microseconds
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Returns the epoch and the newest id. A new epoch begins if there is no clock. It also begins if the caller has seen
-- more of this epoch than the clock has: Redis came back without its last messages.
local function open_clock(key, format, fresh, seen_epoch, seen_id)
  local state = redis.call('HMGET', key, 'format', 'epoch', 'id')
  if state[1] and state[1] ~= format then
    error('FORMAT ' .. state[1])
  end
  local epoch, id = state[2], tonumber(state[3] or 0)
  seen_id = tonumber(seen_id)
  if not epoch or (epoch == seen_epoch and id < seen_id) then
    epoch, id = fresh, math.max(id, seen_id, now())
    redis.call('HSET', key, 'format', format, 'epoch', epoch, 'id', text(id))
  end
  return epoch, id
end
