package load

import (
	"fmt"
	"io"
)

// kind is a kind of database under load.
type kind struct {
	image string
	// args are the server's: what the load itself writes need not be durable.
	args []string
	// env names the server's variables; SECRET stands for the password.
	env []string
	// client runs SQL from its standard input; its password is in the variable.
	client   []string
	variable string
	schema   string
	bulk     func(w io.Writer, part int, seed uint64, n int) error
	// write is a transaction of the load.
	write func(n int) string
}

// The kinds by name.
var kinds = map[string]kind{
	"postgres": {
		image: "baktainer-sample/postgres",
		args:  []string{"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "max_wal_size=256MB"},
		env:   []string{"POSTGRES_PASSWORD=SECRET", "POSTGRES_DB=shop"},
		// Over TCP: the server that only sets up the database listens on its socket alone.
		client: []string{"psql", "-qXAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-d", "shop"}, variable: "PGPASSWORD",
		schema: schema("CREATE TABLE hot (id serial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), body text NOT NULL);\n", "text"),
		bulk:   copyScript,
		write: func(n int) string {
			return fmt.Sprintf("INSERT INTO hot (body) SELECT md5(i::text) FROM generate_series(%d, %d) i; UPDATE hot SET body = md5(body) WHERE id %% 97 = %d; DELETE FROM hot WHERE id < (SELECT max(id) - 5000 FROM hot);\n", n, n+9, n%97)
		},
	},
	"mariadb": {
		image:  "baktainer-sample/mariadb",
		args:   []string{"--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"},
		env:    []string{"MARIADB_ROOT_PASSWORD=SECRET", "MARIADB_DATABASE=shop"},
		client: []string{"mariadb", "-NB", "-h127.0.0.1", "-uroot", "shop"}, variable: "MYSQL_PWD",
		schema: schema("CREATE TABLE hot (id int AUTO_INCREMENT PRIMARY KEY, at timestamp NOT NULL DEFAULT now(), body text NOT NULL);\n", "mediumtext"),
		bulk:   insertScript,
		write: func(n int) string {
			return fmt.Sprintf("BEGIN; INSERT INTO hot (body) VALUES (md5(%d)); UPDATE hot SET body = md5(body) WHERE id %% 97 = %d; DELETE FROM hot WHERE id < last_insert_id() - 5000; COMMIT;\n", n, n%97)
		},
	},
}

func schema(hot, text string) string {
	for part := range parts {
		hot += fmt.Sprintf("CREATE TABLE bulk_%d (id int PRIMARY KEY, body %s NOT NULL);\n", part, text)
	}
	return hot
}
