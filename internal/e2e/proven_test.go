package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// proof is what proves one kind of database restorable, and that the proof can fail.
type proof struct {
	// question and answer are an assertion that holds after the seed.
	question, answer string
	// clients are the programs that restore it, and forget what wraps them in a
	// shell script, so that an object is lost on the way; "$real" is the program.
	// Empty: our own program restores it, or there is nothing to count.
	clients []string
	forget  string
	// real loads data that nobody here wrote from a folder, over and above the seed.
	real func(t testing.TB, c *container, folder string)
	// changing are the lines of a dump that are another each time; nil: the dump is
	// no text, or of an order of its own.
	changing *regexp.Regexp
	// file says that files are restored, not into a server: any image does.
	file bool
}

// proofs are those of every kind of database.
var proofs = map[string]proof{
	"postgres": {
		question: "SELECT count(*), min(many) FROM orders", answer: "50000 1",
		clients: []string{"psql"},
		forget: `real=/usr/lib/postgresql/15/bin/psql
"$real" "$@"
status=$?
"$real" "$@" -c 'DROP TABLE IF EXISTS attachments' </dev/null >/dev/null 2>&1
exit $status`,
		real: func(t testing.TB, c *container, folder string) {
			query(t, c, "shop", inPlace(t, filepath.Join(folder, "chinook", "Chinook_PostgreSql.sql")))
		},
		changing: regexp.MustCompile(`(?m)^\\(un)?restrict .*$`),
	},
	"mariadb": mysqlProof("mariadb", "mysql"), "mariadb-new": mysqlProof("mariadb"), "mysql": mysqlProof("mysql"),
	"mongo": mongoProof, "mongo-auth": mongoProof,
	"redis": {
		question: "3: GET elsewhere", answer: "in database 3",
		clients: []string{"redis-cli"},
		forget: `real=/usr/bin/redis-cli
"$real" "$@"
status=$?
case " $* " in *" --pipe "*) "$real" DEL queue >/dev/null 2>&1 ;; esac
exit $status`,
	},
	"openldap": {
		question: "(objectClass=inetOrgPerson)", answer: "301",
		clients: []string{"ldapadd"},
		forget: `real=/usr/bin/ldapadd
awk 'BEGIN { RS = ""; ORS = "\n\n" } !/uid: customer250\n/' | "$real" "$@"`,
	},
	"etcd": {
		question: "get --print-value-only numbers", answer: "1 2 3",
		clients: []string{"etcdctl"},
		forget: `real=/usr/bin/etcdctl
"$real" "$@"
status=$?
case " $* " in *" txn "*) "$real" del numbers >/dev/null 2>&1 ;; esac
exit $status`,
	},
	"influxdb": {
		question: "SELECT count(n), max(n) FROM sold WHERE paid = true", answer: "1500 2998",
		clients: []string{"influx"},
		forget: `real=/usr/bin/influx
case " $* " in *" -import "*) grep -v "^lost " | "$real" "$@" ;; *) exec "$real" "$@" ;; esac`,
	},
	"sqlite": {
		question: "SELECT count(*), min(id) FROM customers", answer: "20000 1", file: true,
		real: func(t testing.TB, c *container, folder string) {
			file, err := os.ReadFile(filepath.Join(folder, "chinook", "Chinook_Sqlite.sqlite"))
			if err != nil {
				t.Fatal(err)
			}
			c.do(t, file, nil, "sh", "-c", "cat >/tmp/chinook.sqlite && sqlite3 /tmp/chinook.sqlite .dump | sqlite3 /data/app.db")
		},
	},
	"sqlite-bare":     {question: "SELECT count(*), min(id) FROM customers", answer: "20000 1", file: true},
	"victoriametrics": {question: `count(last_over_time({__name__="orders"}[50y]))`, answer: "40"},
	"custom":          {question: "wc -l /srv/numbers", answer: "200000 /srv/numbers", file: true},
}

func mysqlProof(clients ...string) proof {
	return proof{
		question: "shop: SELECT count(*) FROM orders", answer: "40000",
		clients: clients,
		forget: `real=/usr/bin/${0##*/}
"$real" "$@"
status=$?
"$real" "$@" -e 'DROP TABLE IF EXISTS shop.orders' </dev/null >/dev/null 2>&1
exit $status`,
		real: func(t testing.TB, c *container, folder string) {
			mysqlQuery(t, c, clients[0], "shop", inPlace(t, filepath.Join(folder, "chinook", "Chinook_MySql.sql")))
		},
		changing: regexp.MustCompile(`(?m)^-- Dump completed on .*$`),
	}
}

var mongoProof = proof{
	question: `shop: count items {"_id": {"$gte": 1}}`, answer: "4999",
	clients: []string{"mongorestore"},
	forget: `real=/usr/local/bin/mongorestore.real
exec "$real" --nsExclude=second.items "$@"`,
	real: func(t testing.TB, c *container, folder string) {
		for _, name := range []string{"accounts", "customers"} {
			docs, err := os.ReadFile(filepath.Join(folder, "mongo-analytics", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			mongoImportDocs(t, c, "shop", name, string(docs))
		}
	},
}

// inPlace reads SQL that makes a database of its own, and gives what goes into it.
func inPlace(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^(DROP DATABASE|CREATE DATABASE|USE|\\c) .*$`).ReplaceAllString(string(text), "")
}

// dataOfOthers is a folder with data that nobody here wrote, laid out as the
// proofs read it; empty: the seeds alone are proven.
func dataOfOthers() string { return os.Getenv("BAKTAINER_E2E_DATA") }

// TestEveryEngineIsProven has each kind of database come back, and a drill say
// so; and then makes drills fail that must: by an answer, a wrong image, a client
// that loses an object, a pack that is cut.
func TestEveryEngineIsProven(t *testing.T) {
	needContainers(t)
	t.Parallel()
	u := startUp(t, upOptions{flags: []string{"--schedule", "off", "--drill-schedule", "off"}})
	for name, d := range everyDatabase() {
		if twin(name) && dataOfOthers() == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, ok := proofs[name]
			if !ok {
				t.Fatal("there is no proof of it")
			}
			(&proving{up: u, database: d, proof: p, kind: name}).all(t)
		})
	}
}

// proving is the proof of one database at work.
type proving struct {
	up *up
	database
	proof
	kind      string
	container *container
}

func (p *proving) all(t *testing.T) {
	c := p.fresh()
	c.labels["baktainer.name"] = uniqueName(p.kind)
	if p.question != "" {
		c.labels["baktainer.drill.assert.right"] = p.question + " => " + p.answer
	}
	p.container = c
	p.startWith(t, c)
	p.seed(t, c, 0)
	if folder := dataOfOthers(); folder != "" && p.real != nil {
		p.real(t, c, folder)
	}
	before := p.fingerprint(t, c)
	s := p.up.backup(t, c)
	pack := p.firstPack(t) // before another backup makes more of them
	p.up.verify(t, s)
	p.passes(t, s)
	if folder := dataOfOthers(); folder != "" {
		p.comesBack(t, s, before)
	}

	if p.question != "" {
		p.now(t, p.image(), "baktainer.drill.assert.wrong="+p.question+" => not "+p.answer)
		d := p.fails(t, s, "assertion-failed")
		if text := sprintJSON(d.Failure); d.Failure != nil && (!strings.Contains(text, "wrong") || !strings.Contains(text, "not "+p.answer)) {
			t.Errorf("it does not say which answer is wrong: %s", text)
		}
	}
	if !p.file {
		p.now(t, p.image(), "baktainer.drill.image="+samplePrefix+"base")
		p.fails(t, s, "drill-not-ready")
	}
	if p.forget != "" {
		p.now(t, p.image(), "baktainer.drill.image="+p.forgetful(t))
		if d := p.fails(t, s, ""); d.Result == nil {
			t.Errorf("it is no verdict: %s", sprintJSON(d))
		}
	}
	p.now(t, p.image())
	halve(t, pack)
	if d := p.fails(t, s, ""); d.Result == nil || p.up.marks(t, s.ID).DrillFailedAt == "" {
		t.Errorf("it is no verdict: %s", sprintJSON(d))
	}
}

func (p *proving) image() string { return p.container.image }

// comesBack drops what was backed up, restores it, and holds it against what was
// there: by fingerprint, by what a backup of it has, and by the dumps.
func (p *proving) comesBack(t *testing.T, s snapshot, before string) {
	p.wreck(t, p.container)
	p.up.ok(t, "restore", s.ID, "--overwrite")
	if after := p.fingerprint(t, p.container); after != before {
		t.Errorf("it is not what was backed up:\n%s\nit was:\n%s", after, before)
	}
	again := p.up.backup(t, p.container)
	if r := p.up.cli(t, "snapshot", "diff", s.ID, again.ID); r.status != fine {
		t.Errorf("a backup of what was restored differs:\n%s", r.text())
	}
	if p.changing == nil {
		return
	}
	for _, st := range s.Streams {
		one, other := p.up.ok(t, "dump", s.ID, st.Name), p.up.ok(t, "dump", again.ID, st.Name)
		if p.changing.ReplaceAllString(one, "") != p.changing.ReplaceAllString(other, "") {
			t.Errorf("the dump of %s after the restore is another", st.Name)
		}
	}
}

// now makes the source's container anew, without its data and without running
// it, with other labels.
func (p *proving) now(t *testing.T, image string, labels ...string) {
	t.Helper()
	if err := p.container.remove(); err != nil {
		t.Fatal(err)
	}
	all := maps.Clone(p.container.labels)
	delete(all, "baktainer.drill.assert.right")
	maps.Copy(all, labelled(labels...))
	all[testLabel] = scope(t)
	argv := []string{"docker", "create", "--name", p.container.name, "--env-file", lines(t, p.container.env), "--label-file", lines(t, all), image}
	p.container.id = strings.TrimSpace(must(t, command(t, nil, nil, append(argv, p.container.args...)...), "docker create"))
	eventually(t, "the new container is seen", func() (bool, string) {
		text := p.up.ok(t, "source", "show", p.container.source(), "-o", "json")
		var shown struct{ Container struct{ ID string } }
		if err := json.Unmarshal([]byte(text), &shown); err != nil {
			t.Fatal(err)
		}
		return shown.Container.ID == p.container.id, text
	})
}

// drill holds one of the snapshot, and says how it ended.
func (p *proving) drill(t *testing.T, s snapshot) (drilled, result) {
	t.Helper()
	r := p.up.cli(t, "drill", "run", s.ID)
	t.Log(r.text())
	d := p.up.drills(t, s.Source)[0]
	none(t, d.ID)
	return d, r
}

func (p *proving) passes(t *testing.T, s snapshot) {
	t.Helper()
	d, r := p.drill(t, s)
	if r.status != fine || d.Result == nil || !d.Result.Passed {
		t.Fatalf("the drill did not pass: %s", sprintJSON(d))
	}
	if p.question != "" && d.Result.Assertions != 1 {
		t.Errorf("it was not asked: %s", sprintJSON(d))
	}
	m := p.up.marks(t, s.ID)
	if m.Recovery == nil {
		t.Fatal("no recovery time is known")
	}
	t.Logf("PROVEN\t%s\t%d\t%d\t%d\t%.1f", p.kind, s.RawBytes, d.Result.Objects, d.Result.Rows, *m.Recovery)
}

// fails holds a drill that must not pass. An empty reason stands for any.
func (p *proving) fails(t *testing.T, s snapshot, reason string) drilled {
	t.Helper()
	d, r := p.drill(t, s)
	if r.status != failedStatus || d.State != "failed" || d.Failure == nil || d.Failure.Reason != cmp.Or(reason, d.Failure.Reason) || d.Result != nil && d.Result.Passed {
		t.Errorf("the drill ended with status %d as: %s", r.status, sprintJSON(d))
	}
	return d
}

// forgetful makes an image like the source's whose client loses something.
func (p *proving) forgetful(t *testing.T) string {
	t.Helper()
	name := "bt-e2e-forgetful-" + strings.TrimPrefix(uniqueName(p.kind), "bt-e2e-")
	build := t.TempDir()
	write(t, filepath.Join(build, "client"), "#!/bin/sh\n"+p.forget+"\n")
	file := "FROM " + p.image() + "\nUSER root\n"
	for _, c := range p.clients {
		file += fmt.Sprintf("RUN if [ -e /usr/local/bin/%[1]s ]; then mv /usr/local/bin/%[1]s /usr/local/bin/%[1]s.real; fi\nCOPY client /usr/local/bin/%[1]s\nRUN chmod 755 /usr/local/bin/%[1]s\n", c)
	}
	write(t, filepath.Join(build, "Dockerfile"), file)
	must(t, command(t, nil, append(os.Environ(), "DOCKER_BUILDKIT=0"), "docker", "build", "-q", "-t", name, build), "docker build")
	t.Cleanup(func() { _ = dockerQuietly("rmi", name) })
	return name
}

// firstPack is the path of one of the source's packs.
func (p *proving) firstPack(t *testing.T) string {
	t.Helper()
	var packs []string
	err := filepath.WalkDir(p.up.store(), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(path, p.container.source()) && strings.Contains(path, "pack") {
			packs = append(packs, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(packs) == 0 {
		t.Fatal("no packs of it")
	}
	return slices.Min(packs)
}

// halve cuts a file in half.
func halve(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}
