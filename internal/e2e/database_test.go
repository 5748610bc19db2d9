package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
)

const samplePrefix = "baktainer-sample/"

// database is one kind of database, as these tests fill, compare and spoil it.
type database struct {
	engine string // canonical
	// fresh describes a container of its own with a password of its own.
	fresh func() *container
	// ready says whether the server answers.
	ready func(testing.TB, *container) result
	// seed fills it; bulk is about how many further megabytes a dump shall have.
	seed func(t testing.TB, c *container, bulk int)
	// fingerprint says what is in it: counts, hashes, definitions; equal for equal content.
	fingerprint func(testing.TB, *container) string
	// wreck drops, changes and adds data, and leaves some of it.
	wreck func(testing.TB, *container)
	// dumpers are the programs that dump it; nil: it is dumped by our own binary.
	dumpers []string
	// dumpFlag tells a dump from the other uses of these programs; empty: there are none.
	dumpFlag string
	// atOnce says that a dumper writes all that it has with one call, so that what it
	// has written is known too late.
	atOnce bool
}

// start runs a fresh container with the labels added and waits for its server.
func (d database) start(t testing.TB, labels ...string) *container {
	t.Helper()
	return d.startWith(t, d.fresh(), labels...)
}

func (d database) startWith(t testing.TB, c *container, labels ...string) *container {
	t.Helper()
	c.name = uniqueName(d.engine)
	for key, value := range labelled(labels...) {
		c.labels[key] = value
	}
	c.start(t)
	d.wait(t, c)
	return c
}

func (d database) wait(t testing.TB, c *container) {
	t.Helper()
	eventually(t, c.image+" answers", func() (bool, string) {
		r := d.ready(t, c)
		return r.status == 0, r.text() + "\n" + command(t, nil, nil, "docker", "logs", "--tail", "5", c.id).text()
	})
}

// password makes a password that is unlike anything else, and awkward to quote.
func password() string {
	b := make([]byte, 9)
	_, _ = rand.Read(b) // never fails
	return `p$w'"\% ` + hex.EncodeToString(b)
}

// labelsOf is where a fresh container's labels go.
func labelsOf() map[string]string { return map[string]string{} }

func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func mega(n int) string { return fmt.Sprint(n * 1_000_000) }

// twin says that a variety is dumped and restored by the same program as another:
// tests of what is around that need not do with both.
func twin(name string) bool { return name == "mariadb-new" || name == "mysql" || name == "mongo" }

// everyDatabase is every kind, and every variety of it that there is a sample of.
func everyDatabase() map[string]database {
	return map[string]database{
		"postgres": postgres, "mariadb": mariadb, "mariadb-new": mariadbNew, "mysql": mysql,
		"mongo": mongo, "mongo-auth": mongoAuth, "redis": redis, "openldap": openldap, "etcd": etcd, "influxdb": influxdb,
		"sqlite": sqlite, "sqlite-bare": sqliteBare, "custom": custom,
		"victoriametrics": victoriametrics,
	}
}
