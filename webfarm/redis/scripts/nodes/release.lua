-- Removes a client from the rooms of a dead node, as the client is on another node by now.
-- KEYS: the node's rooms, the users who are leaving
-- ARGV: user; grace (microseconds); the start of the keys of the node's members, without the colon;
--       the start of the keys of present users; then the rooms

for i = 5, #ARGV do
  release(ARGV[3], KEYS[1], ARGV[4], KEYS[2], ARGV[i], ARGV[1], tonumber(ARGV[2]))
end
