-- One line for every key of database ARGV[1]: name, type, time of death, and a
-- hash of its value, in an order of our own.
redis.call('SELECT', ARGV[1])
local read = {
  string = function(k) return {redis.call('GET', k)} end,
  list = function(k) return redis.call('LRANGE', k, 0, -1) end,
  zset = function(k) return redis.call('ZRANGE', k, 0, -1, 'WITHSCORES') end,
  set = function(k)
    local members = redis.call('SMEMBERS', k)
    table.sort(members)
    return members
  end,
  hash = function(k)
    local flat, pairs_ = redis.call('HGETALL', k), {}
    for i = 1, #flat, 2 do pairs_[#pairs_ + 1] = flat[i] .. '=' .. flat[i + 1] end
    table.sort(pairs_)
    return pairs_
  end,
  stream = function(k)
    local entries = {}
    for _, e in ipairs(redis.call('XRANGE', k, '-', '+')) do entries[#entries + 1] = e[1] .. table.concat(e[2], '=') end
    return entries
  end,
}
local keys, lines = redis.call('KEYS', '*'), {}
table.sort(keys)
for i, k in ipairs(keys) do
  local kind = redis.call('TYPE', k).ok
  lines[i] = ARGV[1] .. ' ' .. k .. ' ' .. kind .. ' ' .. redis.call('PEXPIRETIME', k) .. ' ' .. redis.sha1hex(table.concat(read[kind](k), '\0'))
end
return lines
