-- The sessions of a user: a sorted set of sids, which lives as long as any of them. The score is 0 for a session whose
-- connection is believed to be open, else its end (ms). An ended session is removed at once, an expired one with the next
-- write. The open ones are looked at, and corrected, when there are too many. All sessions that can be resumed are there.

local function keep_until(user_sessions, sid, score, lifetime)
  redis.call('ZREMRANGEBYSCORE', user_sessions, 1, text(now() / 1000))
  redis.call('ZADD', user_sessions, score, sid)
  if redis.call('PTTL', user_sessions) < tonumber(lifetime) then
    redis.call('PEXPIRE', user_sessions, lifetime)
  end
end

local function keep_for_user(user_sessions, sid, lifetime)
  keep_until(user_sessions, sid, 0, lifetime)
end

-- The connection of a session was lost.
local function keep_away_for_user(user_sessions, sid, lifetime)
  keep_until(user_sessions, sid, text(now() / 1000 + tonumber(lifetime)), lifetime)
end

-- Returns whether a user has as many sessions as most (0: there is no limit), or more, beside that of sid. Only sessions
-- with an open connection on a living node count. sessions and leases are the starts of their keys.
local function is_full(user_sessions, sid, most, sessions, leases)
  if most == 0 or redis.call('ZCOUNT', user_sessions, 0, 0) < most then
    return false
  end
  local count, time = 0, now() / 1000
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', user_sessions, 0, 0)) do
    local state = redis.call('HMGET', sessions .. other, 'pid', 'is_open', 'node')
    if not state[1] then
      redis.call('ZREM', user_sessions, other)
    elseif state[2] ~= '1' or redis.call('EXISTS', leases .. state[3]) == 0 then
      redis.call('ZADD', user_sessions, text(time + redis.call('PTTL', sessions .. other)), other)
    elseif other ~= sid then
      count = count + 1
    end
  end
  return count >= most
end
