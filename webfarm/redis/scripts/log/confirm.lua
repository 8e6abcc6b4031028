-- Moves inboxes' pointers on: up to there a client of theirs has received everything.
-- KEYS: pointers
-- ARGV: lifetime (ms), then each one's id
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or 0) < tonumber(ARGV[i + 1]) then
    redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1])
  end
end
