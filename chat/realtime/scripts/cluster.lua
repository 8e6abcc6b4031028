-- How a cluster publishes, in front of every script: on a channel's own primary. The last key never exists: a slot that
-- is just being moved, key by key, refuses a script that has it as a whole, before it has done half of its work.
local publish, numsub = 'SPUBLISH', 'SHARDNUMSUB'
table.remove(KEYS)

