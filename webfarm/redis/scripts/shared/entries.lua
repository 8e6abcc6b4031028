-- Reading a room. A room is a stream and a hash. An entry of the stream has prev, bytes and body; its id is the stream's
-- own. The hash has id (the newest entry's), bytes (of all bodies ever) and gone (the bytes of trimmed bodies). Its due
-- is the time at which both keys next need a later expiry.

-- Returns the entries after the id start, at most count of them, and whether none after it is missing.
local function read(stream, room, start, count)
  local newest = tonumber(redis.call('HGET', room, 'id') or 0)
  if newest <= tonumber(start) then
    return {}, true
  end
  local entries = redis.call('XRANGE', stream, '(' .. start .. '-0', '+', 'COUNT', count)
  return entries, #entries > 0 and tonumber(entries[1][2][2]) <= tonumber(start)
end

-- Appends index, id, prev and body of each entry to answer; returns how many bytes that is.
local function append(answer, index, entries)
  local bytes = 0
  for _, entry in ipairs(entries) do
    local n = #answer
    answer[n + 1] = index
    answer[n + 2] = entry[1]:match('%d+')
    answer[n + 3] = entry[2][2]
    answer[n + 4] = entry[2][6]
    bytes = bytes + #entry[2][6]
  end
  return bytes
end

-- Appends an inbox's entries behind its pointer to answer; returns the pointer.
local function read_inbox(answer, index, stream, room, pointer, count)
  local id = redis.call('GET', pointer) or '0'
  local entries = read(stream, room, id, count)
  append(answer, index, entries)
  return id
end
