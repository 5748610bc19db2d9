#!/bin/bash
# Usage: down.sh [--quiet]
#
# Removes what the demo made: program, containers with their volumes, helper
# images, snapshots. The sample images stay; deploy/setup/clean.sh removes them.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

stop_up TERM

if docker version >/dev/null 2>&1; then
	for db in $databases; do
		# Also one that was made and never started.
		[ -z "$(docker ps -aq --filter "name=^/$prefix$db\$")" ] || docker rm -fv "$prefix$db" >/dev/null
	done
	if [ -e "$run/programs" ]; then
		sort -u "$run/programs" | while read -r sum; do
			for image in $(docker image ls -q --filter "label=baktainer.helper.content=$sum"); do
				docker image rm "$image" >/dev/null 2>&1 || true # a container of somebody else's uses it
			done
		done
	fi
elif [ -e "$run" ]; then
	echo "demo: no Docker engine answers, so containers named $prefix* may be left" >&2
fi

if [ -L "$run" ]; then rm -rf "$(readlink "$run")"; fi
rm -rf "$run"
[ "${1:-}" = --quiet ] || echo "Nothing of the demo is left. The sample images are: deploy/setup/clean.sh removes them."
