#!/bin/bash
# First start makes the database from ROOT_PASSWORD, RANDOM_ROOT_PASSWORD,
# ALLOW_EMPTY_ROOT_PASSWORD, DATABASE, USER and PASSWORD, each with the prefix
# MARIADB_ or MYSQL_ and also as NAME_FILE, and from
# /docker-entrypoint-initdb.d, as in the official images.
set -eo pipefail

# setting NAME: prints the variable of either prefix, or the contents of its _FILE.
setting() {
	local name file
	for name in "MARIADB_$1" "MYSQL_$1"; do
		file="${name}_FILE"
		if [ -n "${!file:-}" ]; then cat "${!file}"; return; fi
		if [ -n "${!name:-}" ]; then printf '%s' "${!name}"; return; fi
	done
}

# either A B: whichever of two programs this image has.
either() { if command -v "$1" >/dev/null; then echo "$1"; else echo "$2"; fi; }

# quoted VALUE: as an SQL string.
quoted() {
	local v=${1//\\/\\\\}
	v=${v//\'/\'\'}
	printf "'%s'" "$v"
}

server=$(either mariadbd mysqld)
[ "${1#-}" = "$1" ] || set -- "$server" "$@"
case $1 in
mariadbd | mysqld) ;;
*) exec "$@" ;;
esac

if [ "$(id -u)" = 0 ]; then
	install -d -o mysql -g mysql /var/lib/mysql /run/mysqld
	exec gosu mysql "$0" "$@"
fi

if [ ! -d /var/lib/mysql/mysql ]; then
	root=$(setting ROOT_PASSWORD) db=$(setting DATABASE) user=$(setting USER)
	if [ -z "$root" ] && [ -n "$(setting RANDOM_ROOT_PASSWORD)" ]; then
		root=$(head -c 24 /dev/urandom | base64)
		echo "GENERATED ROOT PASSWORD: $root"
	fi
	if [ -z "$root$(setting ALLOW_EMPTY_ROOT_PASSWORD)$(setting ALLOW_EMPTY_PASSWORD)" ]; then
		echo >&2 "error: the database is new and no root password is set"
		exit 1
	fi
	"$(either mariadb-install-db mysql_install_db)" --datadir=/var/lib/mysql \
		--auth-root-authentication-method=normal --skip-test-db >/dev/null

	# Nobody but this script can reach the server while it is set up.
	socket=/run/mysqld/setup.sock
	"$server" --skip-networking --socket="$socket" &
	pid=$!
	client() { "$(either mariadb mysql)" --socket="$socket" -uroot "$@"; }
	until client -e 'SELECT 1' >/dev/null 2>&1; do
		kill -0 "$pid" # ends the script, by set -e, once the server is gone
		sleep 0.1
	done
	for f in /docker-entrypoint-initdb.d/*; do
		case $f in
		*.sql)
			[ -z "$db" ] || client -e "CREATE DATABASE IF NOT EXISTS \`$db\`"
			client ${db:+-D "$db"} <"$f"
			;;
		esac
	done
	{
		# The set-up leaves accounts without a password for other names of this host.
		echo "DELETE FROM mysql.global_priv WHERE user = 'root' AND host <> 'localhost'; FLUSH PRIVILEGES;"
		[ -z "$db" ] || echo "CREATE DATABASE IF NOT EXISTS \`$db\`;"
		if [ -n "$user" ]; then
			echo "CREATE USER $(quoted "$user")@'%' IDENTIFIED BY $(quoted "$(setting PASSWORD)");"
			[ -z "$db" ] || echo "GRANT ALL ON \`${db//_/\\_}\`.* TO $(quoted "$user")@'%';"
		fi
		echo "CREATE USER root@'%' IDENTIFIED BY $(quoted "$root");"
		echo "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
		echo "ALTER USER root@localhost IDENTIFIED BY $(quoted "$root");"
	} | client
	kill "$pid"
	wait "$pid"
fi
exec "$@"
