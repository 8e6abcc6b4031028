-- Publishes a request, and tells which nodes are to answer.
-- KEYS: nodes
-- ARGV: the requests' channel, the request, what the keys of leases and the names of nodes' channels begin with
-- Returns: how many listened to the request; then for each node that lives {node, how many of them it was}.

local answer = {redis.call(publish, ARGV[1], ARGV[2])}
for _, node in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('EXISTS', ARGV[3] .. node) == 1 then
    answer[#answer + 1] = {node, redis.call('PUBSUB', numsub, ARGV[4] .. node)[2]}
  end
end
return answer
