-- Stores a batch of messages and publishes each on its room's channel, atomically.
-- KEYS: clock; the node's last batch; then for each message: stream, room, what was stored once, recipient's session
-- ARGV: 4 for the clock; the batch's number; a room's length, bytes and lifetime (ms); what the keys
--       begin with of the sids to which something was sent, by their users;
--       then for each message: for how long it is known to be stored (ms, 0: it isn't looked for),
--       1 if its recipient must exist, and the body in two halves, with its id in between (none if the second is empty)
-- Returns: epoch; then for each message {id, nodes reached}, or {'', why not}. A batch that was stored already is
-- answered as it was then.

local function trim(stream, total, newest, max_bytes)
  while true do
    local entries = redis.call('XRANGE', stream, '-', '+', 'COUNT', 16)
    for _, entry in ipairs(entries) do
      local gone = tonumber(entry[2][4]) - #entry[2][6]
      if total - gone <= max_bytes or entry[1] == newest then
        redis.call('XTRIM', stream, 'MINID', entry[1])
        return gone
      end
    end
    redis.call('XTRIM', stream, 'MINID', (entries[#entries][1]:gsub('-0$', '-1')))
  end
end

local epoch, newest = open_clock(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local number, length, max_bytes, lifetime = ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local users_sids = ARGV[9]
local done = redis.call('GET', KEYS[2])
local last = done and tonumber(done:match('^%d+'))
if last == tonumber(number) then
  redis.call('PEXPIRE', KEYS[2], 60000) -- a write, or WAIT on a new connection would have nothing to wait for
  return cjson.decode(done:match(' (.*)'))
elseif last and last > tonumber(number) then
  error('STALE') -- it was given up, or repeated, long ago
end
local time, source = now(), at_source(epoch)

local function store(stream, room, once, recipient, known_for, needs_recipient, head, tail)
  if known_for ~= '0' then
    local known = redis.call('GET', once)
    if known then
      local id, nodes = known:match('(%d+) (%d+)')
      return {id, tonumber(nodes)}
    end
  end
  local session = {}
  if needs_recipient == '1' then
    session = redis.call('HMGET', recipient, 'pid', 'namespace', 'user')
    if not session[1] then
      return {'', 'recipient'}
    end
  end
  local id = math.max(time, newest + 1)
  local body = head
  if tail ~= '' then
    body = head .. text(id) .. tail
  end
  local state = redis.call('HMGET', room, 'id', 'bytes', 'gone', 'due', 'own')
  local prev, total, gone = state[1] or '0', tonumber(state[2] or 0) + #body, tonumber(state[3] or 0)
  local added = redis.pcall('XADD', stream, 'MAXLEN', '=', length, text(id) .. '-0', 'p', prev, 'n', text(total), 'b', body)
  if type(added) == 'table' and added.err then
    return {'', added.err}
  end
  newest = id
  if total - gone > max_bytes then
    gone = trim(stream, total, added, max_bytes)
  end
  redis.call('HSET', room, 'id', text(id), 'bytes', text(total), 'gone', text(gone))
  local is_new_own = needs_recipient == '1' and not state[5]
  if is_new_own then
    redis.call('HSET', room, 'own', '1') -- it is a socket's, and is nobody's once that has gone
  end
  if is_new_own or time >= tonumber(state[4] or 0) then -- not each time: what expires later by a tenth costs less
    redis.call('HSET', room, 'due', text(time + lifetime * 100))
    redis.call('PEXPIRE', stream, text(lifetime * 1.1))
    redis.call('PEXPIRE', room, text(lifetime * 1.1))
    if (session[3] or '') ~= '' then
      local sids = users_sids .. session[2] .. ',' .. session[3]
      redis.call('ZREMRANGEBYSCORE', sids, '-inf', text(time / 1000))
      redis.call('ZADD', sids, text(time / 1000 + lifetime * 1.1), recipient:match('[^:]*$'))
      redis.call('PEXPIRE', sids, text(lifetime * 1.1))
    end
  end
  local nodes = redis.call(publish, stream, text(id) .. ' ' .. prev .. ' ' .. source .. ' ' .. body)
  if known_for ~= '0' then
    redis.call('SET', once, text(id) .. ' ' .. nodes, 'PX', known_for)
  end
  return {text(id), nodes}
end

local answer = {epoch}
for i = 0, (#KEYS - 2) / 4 - 1 do
  local k, a = 3 + 4 * i, 10 + 4 * i
  local is_stored, one = pcall(
    store, KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3])
  answer[i + 2] = is_stored and one or {'', type(one) == 'table' and one.err or tostring(one)}
end
redis.call('HSET', KEYS[1], 'id', text(newest))
redis.call('SET', KEYS[2], number .. ' ' .. cjson.encode(answer), 'PX', 60000)
return answer
