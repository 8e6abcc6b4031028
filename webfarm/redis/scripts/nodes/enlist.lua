-- Gives a node its lease, or writes its description again.
-- KEYS: lease, nodes
-- ARGV: node; description; how long the lease lasts (ms)
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])
