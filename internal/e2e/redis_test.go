package e2e

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
)

var redis = database{
	engine: "redis",
	fresh: func() *container {
		pw := password()
		return &container{
			image: samplePrefix + "redis", labels: labelsOf(),
			// Not a variable of the image: the engine finds the password on the command line.
			// By itself the server would wait for five seconds before each dump.
			args: []string{"--repl-diskless-sync-delay", "0", "--requirepass", pw},
			env:  map[string]string{},
		}
	},
	ready: func(t testing.TB, c *container) result {
		r := redisCLI(t, c, nil, "PING")
		if !strings.Contains(r.stdout, "PONG") {
			r.status = 1
		}
		return r
	},
	seed: func(t testing.TB, c *container, bulk int) {
		var b strings.Builder
		add := func(args ...string) {
			fmt.Fprintf(&b, "*%d\r\n", len(args))
			for _, a := range args {
				fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
			}
		}
		for i := range 20000 {
			add("SET", fmt.Sprintf("customer:%d", i), fmt.Sprintf("Zoë 東京 \x00\xff\r\n %d", i))
		}
		for i := range 3000 {
			add("HSET", fmt.Sprintf("order:%d", i%50), fmt.Sprint("field ", i), fmt.Sprint("ü", i))
			add("RPUSH", "queue", fmt.Sprint("job ", i))
			add("SADD", "set", fmt.Sprint("member ", i))
			add("ZADD", "board", fmt.Sprint(float64(i)/3), fmt.Sprint("player ", i))
			add("XADD", "log", fmt.Sprintf("%d-1", i+1), "k", fmt.Sprint(i))
		}
		add("XGROUP", "CREATE", "log", "readers", "100-1")
		add("SET", "short", "lived")
		add("PEXPIREAT", "short", "4102444800000")
		add("SADD", "numbers", "1", "2", "3")
		for i := range bulk * 10 {
			add("SET", fmt.Sprint("bulk:", i), bulkText(i, 100_000))
		}
		add("SELECT", "3")
		add("SET", "elsewhere", "in database 3")
		r := redisCLI(t, c, []byte(b.String()), "--pipe")
		if !strings.Contains(r.stdout, "errors: 0") {
			t.Fatalf("fill redis: %s", r.text())
		}
	},
	fingerprint: func(t testing.TB, c *container) string {
		var b strings.Builder
		for db := range 4 {
			text := must(t, redisCLI(t, c, nil, "-n", fmt.Sprint(db), "EVAL", redisContents, "0"), "redis-cli")
			fmt.Fprintf(&b, "database %d: %s\n", db, text)
		}
		return b.String()
	},
	wreck: func(t testing.TB, c *container) {
		redisCLI(t, c, nil, "DEL", "queue", "set", "short")
		redisCLI(t, c, nil, "SET", "board", "is a string now")
		redisCLI(t, c, nil, "SET", "stray", "x")
		redisCLI(t, c, nil, "-n", "3", "FLUSHDB")
	},
	dumpers:  []string{"redis-cli"},
	dumpFlag: "--rdb",
}

func redisCLI(t testing.TB, c *container, stdin []byte, args ...string) result {
	t.Helper()
	pw := cmp.Or(c.env["REDIS_PASSWORD"], c.args[len(c.args)-1])
	return c.execute(t, stdin, []string{"REDISCLI_AUTH=" + pw}, append([]string{"redis-cli"}, args...)...)
}

// bulkText is text that hardly compresses, the same for the same number.
func bulkText(n, size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		b.WriteString(hash(fmt.Sprint(n, i)))
	}
	return b.String()
}

// redisContents hashes keys, types, values and times of death in an order of its own.
const redisContents = `
local keys = redis.call('KEYS', '*')
table.sort(keys)
local parts, counts = {}, {}
for _, k in ipairs(keys) do
  local kind = redis.call('TYPE', k).ok
  counts[kind] = (counts[kind] or 0) + 1
  local v
  if kind == 'string' then v = {redis.call('GET', k)}
  elseif kind == 'list' then v = redis.call('LRANGE', k, 0, -1)
  elseif kind == 'set' then v = redis.call('SMEMBERS', k) table.sort(v)
  elseif kind == 'zset' then v = redis.call('ZRANGE', k, 0, -1, 'WITHSCORES')
  elseif kind == 'hash' then
    local all = redis.call('HGETALL', k)
    v = {}
    for i = 1, #all, 2 do v[#v + 1] = all[i] .. '=' .. all[i + 1] end
    table.sort(v)
  elseif kind == 'stream' then
    v = {}
    for _, e in ipairs(redis.call('XRANGE', k, '-', '+')) do v[#v + 1] = e[1] .. table.concat(e[2], '=') end
    for _, g in ipairs(redis.call('XINFO', 'GROUPS', k)) do v[#v + 1] = g[2] .. g[8] end
  end
  parts[#parts + 1] = redis.sha1hex(k .. kind .. redis.call('PEXPIRETIME', k) .. table.concat(v, '|'))
end
local report = #keys .. ' keys ' .. redis.sha1hex(table.concat(parts))
for _, kind in ipairs({'string', 'list', 'set', 'zset', 'hash', 'stream'}) do report = report .. ' ' .. kind .. ':' .. (counts[kind] or 0) end
return report
`
