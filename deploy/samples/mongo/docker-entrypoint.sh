#!/bin/bash
# MONGO_INITDB_ROOT_USERNAME and MONGO_INITDB_ROOT_PASSWORD (each also as
# NAME_FILE) turn authentication on, as in the official image.
set -eo pipefail

# setting NAME: prints the variable, or the contents of its _FILE.
setting() {
	local file="${1}_FILE"
	if [ -n "${!file:-}" ]; then cat "${!file}"; else printf '%s' "${!1:-}"; fi
}

[ "$1" = mongod ] || exec "$@"
shift

export FERRETDB_HANDLER=sqlite FERRETDB_SQLITE_URL=file:/data/db/ FERRETDB_STATE_DIR=/data/db
export FERRETDB_LISTEN_ADDR=:27017 FERRETDB_DEBUG_ADDR=-
export FERRETDB_TELEMETRY=disable FERRETDB_LOG_LEVEL="${FERRETDB_LOG_LEVEL:-error}"
user=$(setting MONGO_INITDB_ROOT_USERNAME)
if [ -n "$user" ]; then
	FERRETDB_SETUP_PASSWORD=$(setting MONGO_INITDB_ROOT_PASSWORD)
	export FERRETDB_SETUP_PASSWORD FERRETDB_SETUP_USERNAME="$user" FERRETDB_SETUP_DATABASE=admin
	export FERRETDB_TEST_ENABLE_NEW_AUTH=true
fi
exec ferretdb "$@"
