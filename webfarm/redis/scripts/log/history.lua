-- Reads a room backwards, as many messages as fit.
-- KEYS: stream
-- ARGV: the id before which; most entries; most bytes
-- Returns: a list of id, body, newest first.

local answer, left, bytes_left, before = {}, tonumber(ARGV[2]), tonumber(ARGV[3]), '(' .. ARGV[1] .. '-0'
while left > 0 do
  local entries = redis.call('XREVRANGE', KEYS[1], before, '-', 'COUNT', math.min(left, 8))
  for _, entry in ipairs(entries) do
    local body = entry[2][6]
    if #body <= tonumber(ARGV[3]) then -- a message that is larger than any answer is left out
      bytes_left = bytes_left - #body
      if bytes_left < 0 then
        return answer
      end
      answer[#answer + 1] = entry[1]:match('%d+')
      answer[#answer + 1] = body
      left = left - 1
    end
    before = '(' .. entry[1]
  end
  if #entries == 0 then
    break
  end
end
return answer
