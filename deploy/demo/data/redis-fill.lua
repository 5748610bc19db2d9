-- 50,000 keys: sessions, carts, sorted sets, lists, a stream; some in database 3.
for i = 1, 40000 do
  redis.call('SET', 'session:' .. i, 'Zoë 東京 "' .. i .. '" ' .. redis.sha1hex(i))
end
redis.call('PEXPIREAT', 'session:7', 4102444800000)
for i = 1, 6000 do
  redis.call('HSET', 'cart:' .. i, 'artikel', 'Ж' .. i, 'menge', i % 9, 'preis', i / 4)
end
for i = 1, 2000 do
  redis.call('SADD', 'tags:' .. i, 'ä' .. i, 'b', 'c')
  redis.call('ZADD', 'board:' .. i % 500, i / 3, 'player ' .. i)
  redis.call('RPUSH', 'queue:' .. i % 400, 'job ' .. i)
  redis.call('XADD', 'log', i .. '-1', 'line', 'entry ' .. i)
end
redis.call('SELECT', 3)
for i = 1, 1099 do redis.call('SET', 'elsewhere:' .. i, i) end
return 'filled'
