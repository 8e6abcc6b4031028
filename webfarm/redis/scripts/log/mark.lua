-- Publishes the clock on a worker's own channel: when it comes, all messages that were stored before have come.
-- KEYS: clock
-- ARGV: 4 for the clock; the channel; the time of the request, by the caller's clock
-- Returns: epoch; newest id; why Redis takes no writes, or ''.

local epoch, newest = open_clock(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local written = redis.pcall('HSET', KEYS[1], 'marked', text(now()))
local refusal = type(written) == 'table' and written.err or ''
redis.call(publish, ARGV[5], 'clock ' .. text(newest) .. ' ' .. at_source(epoch) .. ' ' .. ARGV[6])
return {epoch, text(newest), refusal}
