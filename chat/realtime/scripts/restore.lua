-- Writes a session again that expired.
-- KEYS: session
-- ARGV: lifetime (ms), then fields and values
for i = 2, #ARGV, 2000 do -- Lua unpacks some thousands at once
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 1999, #ARGV)))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
