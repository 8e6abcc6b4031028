-- Lists the channels that somebody listens to.
-- KEYS: nodes (which primary it is)
-- ARGV: a pattern

return redis.call('PUBSUB', channels, ARGV[1])
