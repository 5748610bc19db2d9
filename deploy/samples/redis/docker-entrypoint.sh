#!/bin/sh
# Options alone (such as --requirepass) are the server's, as in the official image.
set -e

if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
	set -- redis-server "$@"
fi
[ "$1" = redis-server ] || exec "$@"

# The official image is compiled with protected mode off.
set -- "$@" --protected-mode no
if [ "$(id -u)" = 0 ]; then
	chown redis:redis .
	exec gosu redis "$@"
fi
exec "$@"
