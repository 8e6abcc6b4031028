-- Lists the rooms with clients on a node, a page at a time.
-- KEYS: the node's lease and rooms
-- ARGV: cursor; about how many; the start of streams' keys; the start of rooms' keys
-- Returns: the next cursor (0: there is no more); for each room {room, clients on this node, messages, bytes}.

local cursor, found = page(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
local answer = {}
for i = 1, #found, 2 do
  local messages = redis.call('XLEN', ARGV[3] .. found[i])
  local state = redis.call('HMGET', ARGV[4] .. found[i], 'bytes', 'gone')
  local bytes = messages > 0 and tonumber(state[1] or 0) - tonumber(state[2] or 0) or 0
  if found[i + 1] ~= '00' then -- else they are just leaving it
    answer[#answer + 1] = {found[i], tonumber(found[i + 1]), messages, bytes}
  end
end
return {cursor, answer}
