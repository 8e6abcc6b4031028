-- How a cluster publishes, in front of every script: on a channel's own primary. The last key never exists: a slot that
-- is just being moved, key by key, refuses a script that has it as a whole, before it has done half of its work.
local publish, numsub = 'SPUBLISH', 'SHARDNUMSUB'
table.remove(KEYS)

-- Returns a key's value. Fails unless its slot is here, as a whole; absent is a key of that which never exists.
local function get_if_whole(key, absent)
  return redis.call('MGET', key, absent)[1]
end

-- What a message of the log names beside its epoch: a primary that stood still and was replaced meanwhile still executes
-- what it had been sent, and publishes it to all nodes of its shard, the one that replaced it among them.
local function at_source(epoch)
  return epoch .. '@' .. redis.call('CLUSTER', 'MYID')
end

