-- Stores batches of messages, each of one shard, and publishes every message on its room's channel, atomically.
-- KEYS: none, as a primary's shards are in several slots; for one batch any key of its shard, which tells a cluster where
--       to send it
-- ARGV: how many batches;
--       then of each: how many messages; a key of its slot that never exists; clock; its node's last batch;
--       4 for the clock; the batch's number; a room's length, bytes and lifetime (ms);
--       the start of the keys of sids to which something was sent, by their users;
--       then of each message: stream; room; the key of a message that is stored once; the recipient's session;
--       for how long it is known to be stored (ms, 0: it isn't looked for);
--       1 if its recipient must exist; the body in two halves, with its id in between (none if the second is empty)
-- Returns: of each batch its epoch, then of each message {id, nodes reached}, or {'', why not}.
-- A batch that was stored before gets its former answer. One of several batches may be an error: the others are stored
-- nevertheless.

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

local function explain(fault)
  return type(fault) == 'table' and fault.err or tostring(fault)
end

local function store_batch(first)
  local count, absent, clock, last_batch = unpack(ARGV, first, first + 3)
  local number, length, max_bytes, lifetime, users_sids = unpack(ARGV, first + 8, first + 12)
  local done = get_if_whole(last_batch, absent)
  local epoch, newest = open_clock(clock, unpack(ARGV, first + 4, first + 7))
  max_bytes = tonumber(max_bytes)
  local last = done and tonumber(done:match('^%d+'))
  if last == tonumber(number) then
    redis.call('PEXPIRE', last_batch, 60000) -- a write: else WAIT on a new connection would wait for nothing
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
      redis.call('HSET', room, 'own', '1') -- a socket's own room, which nobody needs after that
    end
    if is_new_own or time >= tonumber(state[4] or 0) then -- not each time: to expire later by a tenth costs less
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
  for i = 1, tonumber(count) do
    local is_stored, one = pcall(store, unpack(ARGV, first + 5 + 8 * i, first + 12 + 8 * i))
    answer[i + 1] = is_stored and one or {'', explain(one)}
  end
  redis.call('HSET', clock, 'id', text(newest))
  redis.call('SET', last_batch, number .. ' ' .. cjson.encode(answer), 'PX', 60000)
  return answer
end

if ARGV[1] == '1' then
  return {store_batch(2)}
end
local answers, first = {}, 2
for i = 1, tonumber(ARGV[1]) do
  local is_stored, answer = pcall(store_batch, first)
  answers[i] = is_stored and answer or {err = explain(answer)}
  first = first + 13 + 8 * ARGV[first]
end
return answers
