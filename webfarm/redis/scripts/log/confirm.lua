-- Moves inboxes' pointers on: a client of each has received everything up to there.
-- KEYS: pointers
-- ARGV: lifetime (ms); then the id of each
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or 0) < tonumber(ARGV[i + 1]) then
    redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1])
  end
end
