#!/bin/bash
# Options alone are the server's. At the first start the administrator (if
# INFLUXDB_HTTP_AUTH_ENABLED) and the database that the variables name are made by
# a server at another address.
set -e

if [ "${1#-}" != "$1" ]; then
	set -- influxd "$@"
fi
user=$INFLUXDB_ADMIN_USER password=$INFLUXDB_ADMIN_PASSWORD database=$INFLUXDB_DB
if [ -n "$INFLUXDB_ADMIN_PASSWORD_FILE" ]; then
	password=$(cat "$INFLUXDB_ADMIN_PASSWORD_FILE")
fi
if [ "$INFLUXDB_HTTP_AUTH_ENABLED" != true ]; then
	user=
fi
unset INFLUXDB_ADMIN_USER INFLUXDB_ADMIN_PASSWORD INFLUXDB_ADMIN_PASSWORD_FILE INFLUXDB_DB
if [ "$1" = influxd ] && [ -n "$user$database" ] && [ ! -e /var/lib/influxdb/meta/meta.db ]; then
	INFLUXDB_HTTP_BIND_ADDRESS=127.0.0.1:18086 INFLUXDB_HTTP_HTTPS_ENABLED=false influxd >/dev/null 2>&1 &
	until influx -port 18086 -execute settings >/dev/null 2>&1; do
		kill -0 $!
		sleep 0.1
	done
	if [ -n "$user" ]; then
		quoted=${password//\\/\\\\}
		influx -port 18086 <<<"CREATE USER \"$user\" WITH PASSWORD '${quoted//\'/\\\'}' WITH ALL PRIVILEGES"
		export INFLUX_USERNAME=$user INFLUX_PASSWORD=$password
	fi
	if [ -n "$database" ]; then
		influx -port 18086 <<<"CREATE DATABASE \"$database\""
	fi
	unset INFLUX_USERNAME INFLUX_PASSWORD
	kill $!
	wait $! || true
fi
exec "$@"
