-- Lists the living nodes.
-- KEYS: nodes
-- ARGV: the start of leases' keys; the start of the keys of nodes' clients
-- Returns: for each {node, description, clients}.

local answer = {}
for _, node in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local description = redis.call('GET', ARGV[1] .. node)
  if description then
    answer[#answer + 1] = {node, description, redis.call('HLEN', ARGV[2] .. node)}
  end
end
return answer
