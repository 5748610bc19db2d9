package e2e

import (
	"fmt"
	"strings"
	"testing"
)

var influxdb = database{
	engine: "influxdb",
	fresh: func() *container {
		return &container{
			image: samplePrefix + "influxdb", labels: labelsOf(),
			env: map[string]string{
				"INFLUXDB_HTTP_AUTH_ENABLED": "true", "INFLUXDB_ADMIN_USER": "keeper", "INFLUXDB_ADMIN_PASSWORD": password(), "INFLUXDB_DB": "shop",
			},
		}
	},
	ready: func(t testing.TB, c *container) result { return influx(t, c, "SHOW RETENTION POLICIES ON shop") },
	seed: func(t testing.TB, c *container, bulk int) {
		must(t, influx(t, c, `CREATE RETENTION POLICY "for a while" ON shop DURATION 2w REPLICATION 1 SHARD DURATION 1d;
			CREATE CONTINUOUS QUERY "it's \"cq\"" ON shop BEGIN SELECT mean(n) INTO shop."for a while".means FROM shop.autogen.sold WHERE what =~ /a\/b/ GROUP BY time(1h), * END`), "influx")
		// One request for points of several new shards is one that InfluxDB may not find all of.
		const flush = "# CONTEXT-RETENTION-POLICY:autogen\n"
		var lines strings.Builder
		for i := range 3000 {
			fmt.Fprintf(&lines, `sold,what=größe\ %d,shop=東京 n=%di,price=%d.25,paid=%t,text="\"%d\" \\ 'x' # = ,"`+" %d\n", i%50, i, i, i%2 == 0, i, 1_700_000_000_000_000_000+int64(i/10)*1_000_000_000)
		}
		lines.WriteString(flush + "lost n=1i 1\n")
		for i := range bulk * 20 {
			fmt.Fprintf(&lines, "bulk text=\"%s\" %d\n", bulkText(i, 50_000), i)
		}
		lines.WriteString(flush + "lost n=2i 9223372036854775806\n")
		influxImport(t, c, lines.String())
	},
	fingerprint: func(t testing.TB, c *container) string {
		const internal = `{"name":"_internal","columns":["name","query"]}`
		return hash(must(t, influx(t, c, `SHOW RETENTION POLICIES ON shop; SHOW FIELD KEYS ON shop; SELECT * FROM shop.autogen./.*/ GROUP BY *`), "influx"),
			// The server's own database comes and goes.
			strings.NewReplacer(internal+",", "", ","+internal, "").Replace(must(t, influx(t, c, "SHOW CONTINUOUS QUERIES"), "influx")))
	},
	wreck: func(t testing.TB, c *container) {
		must(t, influx(t, c, `DROP RETENTION POLICY "for a while" ON shop; CREATE RETENTION POLICY stray ON shop DURATION 3h REPLICATION 1 DEFAULT`), "influx")
		must(t, c.execute(t, nil, influxLogin(c), "influx", "-database=shop", "-execute=DROP MEASUREMENT lost"), "influx")
		influxImport(t, c, "sold,what=größe\\ 1,shop=東京 n=-1i 1700000000000000000\nstray n=1 1\n")
	},
	dumpers:  []string{"influx"},
	dumpFlag: "-precision=ns",
	atOnce:   true,
}

func influxLogin(c *container) []string {
	return []string{"INFLUX_USERNAME=keeper", "INFLUX_PASSWORD=" + c.env["INFLUXDB_ADMIN_PASSWORD"]}
}

func influx(t testing.TB, c *container, statements string) result {
	t.Helper()
	return c.execute(t, []byte(statements), influxLogin(c), "influx", "-format=json", "-precision", "ns")
}

func influxImport(t testing.TB, c *container, lines string) {
	t.Helper()
	head := "# DML\n# CONTEXT-DATABASE:shop\n# CONTEXT-RETENTION-POLICY:autogen\n"
	must(t, c.execute(t, []byte(head+lines), influxLogin(c), "influx", "-import", "-path=/dev/stdin"), "influx -import")
}
