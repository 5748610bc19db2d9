#!/bin/bash
# First start makes the cluster from POSTGRES_USER, POSTGRES_PASSWORD and
# POSTGRES_DB (each also as NAME_FILE), POSTGRES_HOST_AUTH_METHOD,
# POSTGRES_INITDB_ARGS and /docker-entrypoint-initdb.d, as in the official image.
set -eo pipefail

# setting NAME DEFAULT: prints the variable, or the contents of its _FILE.
setting() {
	local file="${1}_FILE"
	if [ -n "${!file:-}" ]; then cat "${!file}"; else printf '%s' "${!1:-$2}"; fi
}

[ "${1#-}" = "$1" ] || set -- postgres "$@"
[ "$1" = postgres ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
	install -d -o postgres -g postgres -m 700 "$PGDATA"
	install -d -o postgres -g postgres /var/run/postgresql
	exec gosu postgres "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
	user=$(setting POSTGRES_USER postgres)
	password=$(setting POSTGRES_PASSWORD "")
	db=$(setting POSTGRES_DB "$user")
	auth=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
	if [ -z "$password" ] && [ "$auth" != trust ]; then
		echo >&2 "error: the database is new and POSTGRES_PASSWORD is not set"
		exit 1
	fi
	# shellcheck disable=SC2086 # POSTGRES_INITDB_ARGS holds several words
	initdb --username="$user" ${password:+--pwfile=/dev/stdin} --pgdata="$PGDATA" \
		${POSTGRES_INITDB_ARGS:-} <<<"$password" >/dev/null
	echo "host all all all $auth" >>"$PGDATA/pg_hba.conf"

	export PGPASSWORD="$password"
	pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start >/dev/null
	sql() { psql -q -v ON_ERROR_STOP=1 --no-psqlrc -U "$user" "$@"; }
	[ "$db" = postgres ] || sql -d postgres -v db="$db" <<<'CREATE DATABASE :"db";'
	for f in /docker-entrypoint-initdb.d/*; do
		case $f in
		*.sh) "$f" ;;
		*.sql) sql -d "$db" -f "$f" ;;
		esac
	done
	pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
	unset PGPASSWORD
fi
exec "$@"
