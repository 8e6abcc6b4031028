-- Gives a node a lease that no other node has, or renews it. Returns 1 if the node has it now, else 0.
-- KEYS: the lease
-- ARGV: node, how long the lease lasts (ms); 0 gives it up
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
if tonumber(ARGV[2]) == 0 then
  redis.call('DEL', KEYS[1])
  return 0
end
if holder then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
