package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

var etcd = database{
	engine: "etcd",
	fresh: func() *container {
		return &container{
			image: samplePrefix + "etcd", labels: labelsOf(),
			env: map[string]string{"ETCD_ROOT_PASSWORD": password()},
		}
	},
	ready: func(t testing.TB, c *container) result { return etcdctl(t, c, nil, "get", "a") },
	seed: func(t testing.TB, c *container, bulk int) {
		var lines []string
		add := func(key, value string) { lines = append(lines, fmt.Sprintf("put -- %q %q\n", key, value)) }
		for i := range 1000 {
			add(fmt.Sprintf("/registry/%c/%04d", 'a'+i%5, i), fmt.Sprintf("Zoë 東京 \x00\xff\r\n\"'\\ %d", i))
		}
		add("-\x00\n", "")
		add("numbers", "1 2 3")
		etcdPut(t, c, 128, lines)
		lines = nil
		for i := range bulk * 10 {
			add(fmt.Sprint("bulk/", i), bulkText(i, 100_000))
		}
		etcdPut(t, c, 10, lines)
		lease := strings.Fields(must(t, etcdctl(t, c, nil, "lease", "grant", "90000"), "etcdctl"))[1]
		must(t, etcdctl(t, c, []byte("\nput --lease="+lease+" short lived\n\n\n"), "txn"), "etcdctl")
	},
	fingerprint: func(t testing.TB, c *container) string {
		var all struct {
			Kvs []struct {
				Key, Value []byte
				Lease      int64
			}
		}
		if err := json.Unmarshal([]byte(must(t, etcdctl(t, c, nil, "get", "--prefix", "-w", "json", ""), "etcdctl")), &all); err != nil {
			t.Fatal(err)
		}
		var parts []string
		for _, kv := range all.Kvs {
			parts = append(parts, string(kv.Key), string(kv.Value), fmt.Sprint(kv.Lease != 0))
		}
		return fmt.Sprint(len(all.Kvs), " keys ", hash(parts...))
	},
	wreck: func(t testing.TB, c *container) {
		must(t, etcdctl(t, c, nil, "del", "--prefix", "/registry/b"), "etcdctl")
		must(t, etcdctl(t, c, []byte("\nput numbers none\nput stray x\n\n\n"), "txn"), "etcdctl")
	},
	dumpers:  []string{"etcdctl"},
	dumpFlag: "txn",
	atOnce:   true,
}

func etcdPut(t testing.TB, c *container, atOnce int, lines []string) {
	t.Helper()
	for len(lines) > 0 {
		n := min(atOnce, len(lines))
		must(t, etcdctl(t, c, []byte("\n"+strings.Join(lines[:n], "")+"\n\n"), "txn"), "etcdctl")
		lines = lines[n:]
	}
}

func etcdctl(t testing.TB, c *container, stdin []byte, args ...string) result {
	t.Helper()
	return c.execute(t, stdin, []string{"ETCDCTL_API=3", "ETCDCTL_USER=root", "ETCDCTL_PASSWORD=" + c.env["ETCD_ROOT_PASSWORD"]}, append([]string{"etcdctl", "--command-timeout=1m", "--dial-timeout=1m"}, args...)...)
}
