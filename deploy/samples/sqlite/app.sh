#!/bin/bash
# Inserts a row into SQLITE_PATH every SQLITE_WRITE_EVERY seconds (0: never,
# only holds the database open). One connection stays open all the time, so
# that the newest rows are in the WAL and not in the main file: a plain copy of
# the file would be wrong.
set -euo pipefail

trap 'kill "$writer" 2>/dev/null || true; exit 0' TERM INT
{
	echo '.timeout 5000'
	echo '.output /dev/null'
	echo 'PRAGMA journal_mode=WAL;'
	echo '.output'
	echo 'CREATE TABLE IF NOT EXISTS events(id INTEGER PRIMARY KEY, at TEXT NOT NULL, body BLOB NOT NULL);'
	if [ "$SQLITE_WRITE_EVERY" = 0 ]; then exec sleep infinity; fi
	while echo "INSERT INTO events(at, body) VALUES(datetime('now'), randomblob(1000));"; do
		sleep "$SQLITE_WRITE_EVERY"
	done
} | sqlite3 "$SQLITE_PATH" &
writer=$!
wait "$writer"
