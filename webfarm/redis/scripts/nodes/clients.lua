-- Lists the clients of a node, a page at a time.
-- KEYS: the node's lease and clients
-- ARGV: cursor; about how many; node; the start of sessions' keys
-- Returns: the next cursor (0: there is no more); for each client {sid, description, its session's rooms}.
-- A client whose session is another node's by now is not listed.

local cursor, found = page(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
local answer = {}
for i = 1, #found, 2 do
  local session, rooms = ARGV[4] .. found[i], {}
  local node = redis.call('HGET', session, 'node')
  if not node or node == ARGV[3] then -- without a session, it is about to be written again
    for _, field in ipairs(redis.call('HKEYS', session)) do
      if field:sub(1, 6) == 'floor:' then
        rooms[#rooms + 1] = field:sub(7)
      end
    end
    answer[#answer + 1] = {found[i], found[i + 1], rooms}
  end
end
return {cursor, answer}
