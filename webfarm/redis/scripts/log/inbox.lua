-- Reads inboxes from their pointers.
-- KEYS: clock; then for each inbox: stream, room, pointer
-- ARGV: 4 for the clock; most entries of an inbox
-- Returns: epoch, newest id, the pointers, and a list of index, id, prev, body for each entry.

local epoch, newest = open_clock(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local pointers, answer = {}, {}
for i = 0, (#KEYS - 1) / 3 - 1 do
  local k = 2 + 3 * i
  pointers[i + 1] = read_inbox(answer, i, KEYS[k], KEYS[k + 1], KEYS[k + 2], ARGV[5])
end
return {epoch, text(newest), pointers, answer}
