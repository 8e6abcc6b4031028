-- Reading a node's entries, in front of every script that needs it.

-- Returns the next cursor (0: there is no more), and some fields and values; none of a node whose lease has ended.
local function page(lease, key, cursor, count)
  if redis.call('EXISTS', lease) == 0 then
    return '0', {}
  end
  return unpack(redis.call('HSCAN', key, cursor, 'COUNT', count))
end
