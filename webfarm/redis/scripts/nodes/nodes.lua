-- Lists the nodes that live.
-- KEYS: nodes
-- ARGV: what the keys of leases and of nodes' clients begin with
-- Returns: for each {node, description, clients}.

local answer = {}
for _, node in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local description = redis.call('GET', ARGV[1] .. node)
  if description then
    answer[#answer + 1] = {node, description, redis.call('HLEN', ARGV[2] .. node)}
  end
end
return answer
