-- Writes a new session, and reads its inboxes from their pointers.
-- KEYS: clock, session, the sessions of its user; then for each inbox: stream, room, pointer
-- ARGV: 4 for the clock; lifetime (ms); most entries of an inbox; the session's sid;
--       how many connections its user may have (0: any number); the start of sessions' keys; the start of leases' keys;
--       then for each inbox the session's field of its floor;
--       then fields and values of the session
-- Returns: epoch; newest id; a list of index, id, prev, body for each entry; '' or the reason of a refusal: 'full'.
-- If the epoch is another one than the caller's, nothing was written.

local epoch, newest = open_clock(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
if epoch ~= ARGV[3] then
  return {epoch, text(newest), {}, ''}
end
if is_full(KEYS[3], ARGV[7], tonumber(ARGV[8]), ARGV[9], ARGV[10]) then
  return {epoch, text(newest), {}, 'full'}
end
local inboxes = (#KEYS - 3) / 3
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'epoch', epoch, unpack(ARGV, 11 + inboxes))
if (redis.call('HGET', KEYS[2], 'user') or '') ~= '' then
  keep_for_user(KEYS[3], ARGV[7], ARGV[5])
end
local answer = {}
for i = 0, inboxes - 1 do
  local k = 4 + 3 * i
  redis.call('HSET', KEYS[2], ARGV[11 + i], read_inbox(answer, i, KEYS[k], KEYS[k + 1], KEYS[k + 2], ARGV[6]))
end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return {epoch, text(newest), answer, ''}
