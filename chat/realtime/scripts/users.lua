-- Lists the users in a room, on the nodes that live.
-- KEYS: nodes
-- ARGV: room, what the keys of leases and of members begin with
-- Returns: for each node a list of user and clients in turn.

local answer = {}
for _, node in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('EXISTS', ARGV[2] .. node) == 1 then
    answer[#answer + 1] = redis.call('HGETALL', ARGV[3] .. node .. ':' .. ARGV[1])
  end
end
return answer
