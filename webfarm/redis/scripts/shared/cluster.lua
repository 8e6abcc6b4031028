-- How a cluster publishes, in front of every script: on a channel's own primary.
-- The last key never exists. While a slot is being moved, key by key, a primary refuses a script with such a key before
-- its first command. Without it, the script could fail after half of its work.
local publish, numsub = 'SPUBLISH', 'SHARDNUMSUB'
table.remove(KEYS)

-- Returns a key's value. Fails unless its whole slot is here; absent is a key of the slot that never exists.
local function get_if_whole(key, absent)
  return redis.call('MGET', key, absent)[1]
end

-- Returns the name of an epoch in a message of the log: it names the primary, too. A primary that was stalled, and
-- replaced meanwhile, still executes the commands that it was sent. It publishes to all nodes of its shard, also to the
-- primary that replaced it.
local function at_source(epoch)
  return epoch .. '@' .. redis.call('CLUSTER', 'MYID')
end

