package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// With and without a login.
var (
	mongo     = mongoLike(false)
	mongoAuth = mongoLike(true)
)

func mongoLike(auth bool) database {
	return database{
		engine: "mongodb",
		fresh: func() *container {
			c := &container{image: samplePrefix + "mongo", labels: labelsOf(), env: map[string]string{}}
			if auth {
				c.env["MONGO_INITDB_ROOT_USERNAME"], c.env["MONGO_INITDB_ROOT_PASSWORD"] = "keeper", password()
			}
			return c
		},
		ready: func(t testing.TB, c *container) result {
			return mongoTool(t, c, nil, "mongoexport", "--quiet", "-d", "shop", "-c", "items")
		},
		seed: func(t testing.TB, c *container, bulk int) {
			mongoImport(t, c, "shop", "items", 5000, 20)
			mongoImport(t, c, "shop", "größe.東京", 500, 20)
			mongoImport(t, c, "second", "items", 700, 20)
			if bulk > 0 {
				mongoImport(t, c, "shop", "bulk", bulk*100, 10_000)
			}
		},
		fingerprint: func(t testing.TB, c *container) string {
			var b strings.Builder
			for _, at := range []string{"shop items", "shop größe.東京", "shop stray", "second items"} {
				db, collection, _ := strings.Cut(at, " ")
				docs := must(t, mongoTool(t, c, nil, "mongoexport", "--quiet", "--jsonFormat=canonical", "-d", db, "-c", collection, "--sort", `{"_id":1}`), "mongoexport")
				fmt.Fprintf(&b, "%s: %d documents, %s\n", at, strings.Count(docs, "\n"), hash(docs))
			}
			return b.String()
		},
		wreck: func(t testing.TB, c *container) {
			mongoImportDocs(t, c, "shop", "items", `{"_id": 1, "name": "nobody"}`+"\n")
			mongoImportDocs(t, c, "second", "items", `{"_id": 77, "name": "nobody"}`+"\n")
		},
		dumpers: []string{"mongodump"},
	}
}

// mongoTool runs one of MongoDB's tools. The password goes by a file: these
// tools know no variable for it.
func mongoTool(t testing.TB, c *container, stdin []byte, argv ...string) result {
	t.Helper()
	if user := c.env["MONGO_INITDB_ROOT_USERNAME"]; user != "" {
		quoted := "'" + strings.ReplaceAll(c.env["MONGO_INITDB_ROOT_PASSWORD"], "'", "''") + "'"
		c.do(t, []byte("password: "+quoted+"\n"), nil, "sh", "-c", "cat >/tmp/login")
		argv = append(argv, "--config", "/tmp/login", "-u", user, "--authenticationDatabase", "admin")
	}
	return c.execute(t, stdin, nil, argv...)
}

func mongoImport(t testing.TB, c *container, db, collection string, docs, filler int) {
	t.Helper()
	var b strings.Builder
	for i := range docs {
		noise := hash(fmt.Sprint(collection, i))
		fmt.Fprintf(&b, `{"_id": %d, "name": "Zoë 東京 %d", "v": {"$numberDouble": "%d.25"}, "none": null, "long": {"$numberLong": "%d"}, "raw": {"$binary": {"base64": "AP8KDQ==", "subType": "00"}}, "tags": ["a", "ü"], "sub": {"x": %d, "noise": %q}}`+"\n",
			i, i, i, int64(i)<<33, i%7, noise+strings.Repeat(noise[:10], filler/10))
	}
	mongoImportDocs(t, c, db, collection, b.String())
}

// mongoImportDocs replaces what the collection holds.
func mongoImportDocs(t testing.TB, c *container, db, collection, docs string) {
	t.Helper()
	must(t, mongoTool(t, c, []byte(docs), "mongoimport", "--quiet", "--drop", "-d", db, "-c", collection), "mongoimport")
}
