-- How a cluster publishes, in front of every script: on a channel's own primary. The last key never exists: a slot that
-- is just being moved, key by key, refuses a script that has it as a whole, before it has done half of its work.
local publish, numsub = 'SPUBLISH', 'SHARDNUMSUB'
table.remove(KEYS)

-- Fails unless the slot of a key that never exists is here, as a whole.
local function require_slot(absent)
  redis.call('EXISTS', absent)
end

-- What a message of the log names beside its epoch: a primary that stood still and was replaced meanwhile still executes
-- what it had been sent, and publishes it to all nodes of its shard, the one that replaced it among them.
local function at_source(epoch)
  return epoch .. '@' .. redis.call('CLUSTER', 'MYID')
end

