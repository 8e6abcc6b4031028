-- Writes a session again that expired.
-- KEYS: session
-- ARGV: lifetime (ms), then fields and values
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
