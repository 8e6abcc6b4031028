-- Reads the messages of some rooms after an id each.
-- KEYS: clock; then for each room: stream, room
-- ARGV: 4 for the clock; most entries; most bytes; then for each room the id
-- Returns: epoch; newest id; 1, or 0 if it is too much; the indexes of rooms that lack a message;
--       a list of index, id, prev, body for each entry. Indexes count from 0.

local epoch, newest = open_clock(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local left, bytes_left = tonumber(ARGV[5]), tonumber(ARGV[6])
local incomplete, answer = {}, {}
for i = 0, (#KEYS - 1) / 2 - 1 do
  local entries, is_complete = read(KEYS[2 + 2 * i], KEYS[3 + 2 * i], ARGV[7 + i], left + 1)
  if not is_complete then
    incomplete[#incomplete + 1] = i
  end
  left = left - #entries
  bytes_left = bytes_left - append(answer, i, entries)
  if left < 0 or bytes_left < 0 then
    return {epoch, text(newest), 0, {}, {}}
  end
end
return {epoch, text(newest), 1, incomplete, answer}
