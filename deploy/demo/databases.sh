# shellcheck shell=bash
# The five sample databases: how each is started, filled, read out and spoilt.
# Content is read out as lines of text, one for each row, in a fixed order: their
# number is the number of rows, their hash that of the content.
#
# The script that reads this file has read lib.sh before.
# shellcheck disable=SC2154

data=$here/data

# One password, under every name by which an image or a tool asks for it. It is
# handed over by name alone, so that it is on no command line.
PGPASSWORD=demo-$RANDOM$RANDOM
POSTGRES_PASSWORD=$PGPASSWORD MARIADB_ROOT_PASSWORD=$PGPASSWORD MONGO_INITDB_ROOT_PASSWORD=$PGPASSWORD
MYSQL_PWD=$PGPASSWORD REDISCLI_AUTH=$PGPASSWORD
export PGPASSWORD POSTGRES_PASSWORD MARIADB_ROOT_PASSWORD MONGO_INITDB_ROOT_PASSWORD MYSQL_PWD REDISCLI_AUTH

# container NAME OPTION...: what a backup takes is one label.
container() { docker run -d --name "$prefix$1" --label baktainer.backup=true "${@:2}" >/dev/null; }

start_db() {
	local image=baktainer-sample/$1
	case $1 in
	postgres) container "$1" -e POSTGRES_PASSWORD -e POSTGRES_DB=shop "$image" ;;
	mariadb) container "$1" -e MARIADB_ROOT_PASSWORD -e MARIADB_DATABASE=library "$image" ;;
	mongo) container "$1" -e MONGO_INITDB_ROOT_USERNAME=root -e MONGO_INITDB_ROOT_PASSWORD "$image" ;;
	# The file could be anywhere, so SQLite needs one label more.
	sqlite) container "$1" --label baktainer.db.name=/data/app.db -e SQLITE_WRITE_EVERY=0 "$image" ;;
	redis) container "$1" "$image" --requirepass "$REDISCLI_AUTH" ;;
	esac
	until_ok 120 "$prefix$1 answers" db_ready "$1"
}

sql_postgres() { docker exec -i -e PGPASSWORD -e PGTZ=UTC "${prefix}postgres" psql -qXAt -v ON_ERROR_STOP=1 -h 127.0.0.1 -U postgres -d shop "$@"; }
sql_mariadb() { docker exec -i -e MYSQL_PWD "${prefix}mariadb" mariadb -NB -h127.0.0.1 -uroot --default-character-set=utf8mb4 "$@"; }
sql_sqlite() { docker exec -i "${prefix}sqlite" sqlite3 -bail -cmd '.timeout 5000' "$@"; }
redis() { docker exec -i -e REDISCLI_AUTH "${prefix}redis" redis-cli "$@"; }
# mongo TOOL ARGUMENT...: reads the password from its stdin first.
mongo() { { echo "$PGPASSWORD" && cat; } | docker exec -i "${prefix}mongo" "$1" --quiet --username root --authenticationDatabase admin -d reviews "${@:2}"; }

db_ready() {
	case $1 in
	postgres) sql_postgres -c 'SELECT 1' ;;
	mariadb) sql_mariadb -e 'SELECT 1' ;;
	mongo) mongo mongoexport -c none </dev/null ;;
	sqlite) sql_sqlite /data/app.db 'SELECT 1 FROM events LIMIT 1' ;;
	redis) redis PING | grep PONG ;;
	esac
}

documents() { awk -v first="$1" -v last="$2" -f "$data/mongo.awk"; }

fill_db() {
	case $1 in
	postgres) sql_postgres <"$data/postgres.sql" ;;
	mariadb) sql_mariadb library <"$data/mariadb.sql" ;;
	mongo)
		documents 1 12000 | mongo mongoimport --drop -c products
		documents 12001 20000 | mongo mongoimport --drop -c stars
		;;
	sqlite) sql_sqlite /data/app.db <"$data/sqlite.sql" ;;
	redis) redis EVAL "$(cat "$data/redis-fill.lua")" 0 | grep -q filled ;;
	esac
}

# content DATABASE prints all rows. That a table is gone is no error.
content() {
	local name
	case $1 in
	postgres)
		sql_postgres <<-'END'
			SELECT format('COPY (SELECT %L, t.* FROM %I t ORDER BY 2) TO STDOUT', tablename, tablename)
				FROM pg_tables WHERE schemaname = 'public' ORDER BY 1 \gexec
		END
		;;
	mariadb)
		for name in $(sql_mariadb -e "SELECT table_name FROM information_schema.tables WHERE table_schema = 'library' AND table_type = 'BASE TABLE' ORDER BY 1"); do
			sql_mariadb -e "SELECT '$name', t.* FROM library.$name t ORDER BY 2"
		done
		;;
	mongo)
		for name in products stars; do
			mongo mongoexport --jsonFormat=canonical --sort '{"_id":1}' -c $name </dev/null
		done
		;;
	sqlite)
		for name in $(sql_sqlite /data/app.db "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1"); do
			sql_sqlite -json /data/app.db "SELECT '$name' AS of, * FROM $name ORDER BY 2, 3"
		done
		;;
	redis)
		for name in 0 3; do
			redis EVAL "$(cat "$data/redis-content.lua")" 0 $name | sed '/^$/d'
		done
		;;
	esac
}

destroy_db() {
	case $1 in
	postgres) sql_postgres -c 'SET client_min_messages = error; DROP TABLE customers, orders, events CASCADE; DROP TYPE status' ;;
	mariadb) sql_mariadb -e 'DROP DATABASE library' ;;
	mongo)
		echo '{"_id": "READ ME", "note": "Your data is gone. Send money."}' | mongo mongoimport --drop -c products
		mongo mongoimport --drop -c stars </dev/null
		;;
	sqlite) sql_sqlite /data/app.db "DELETE FROM tags; DELETE FROM notes WHERE id % 100 > 0; UPDATE notes SET title = 'gone'" ;;
	redis) redis FLUSHALL | grep -q OK ;;
	esac
}

# what_happened DATABASE tells what destroy_db does.
what_happened() {
	case $1 in
	postgres) echo "dropped all tables" ;;
	mariadb) echo "dropped the database" ;;
	mongo) echo "replaced all documents with a ransom note" ;;
	sqlite) echo "deleted most rows, spoilt the others" ;;
	redis) echo "FLUSHALL" ;;
	esac
}
