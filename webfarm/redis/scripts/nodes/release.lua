-- Takes a client out of what its node has written of rooms, as that is dead and the client is on another by now.
-- KEYS: the node's rooms, who is leaving
-- ARGV: user, grace (microseconds), what the keys of the node's members (without the colon) and of who is present begin
--       with; then the rooms

for i = 5, #ARGV do
  release(ARGV[3], KEYS[1], ARGV[4], KEYS[2], ARGV[i], ARGV[1], tonumber(ARGV[2]))
end
