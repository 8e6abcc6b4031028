-- Publishes a request, and tells which nodes should answer.
-- KEYS: nodes
-- ARGV: the requests' channel; the request; the start of leases' keys; the start of nodes' channels
-- Returns: how many listened to the request; then for each living node {node, how many of these listeners it was}.

local answer = {redis.call(publish, ARGV[1], ARGV[2])}
for _, node in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('EXISTS', ARGV[3] .. node) == 1 then
    answer[#answer + 1] = {node, redis.call('PUBSUB', numsub, ARGV[4] .. node)[2]}
  end
end
return answer
