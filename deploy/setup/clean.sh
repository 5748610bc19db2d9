#!/bin/bash
# Removes the sample images that images.sh made, with their base, and the
# programs compiled for them. Official images that it pulled stay, and so does
# everything else. Fails on an image that a container still uses.
set -euo pipefail

samples=$(cd "$(dirname "$0")/../samples" && pwd)
label=io.github.baktainer.sample
status=0

# Names first, children before their base; then what lost its name to a newer build.
names=$(docker image ls --filter "label=$label" --format '{{.Repository}}:{{.Tag}}' | grep -E '^baktainer-sample/[a-z-]+:latest$' || true)
for name in $(grep -vE '/(base|mariadb):' <<<"$names") $(grep '/mariadb:' <<<"$names") $(grep '/base:' <<<"$names"); do
	docker image rm "$name" >/dev/null || status=1
done
# Removing one may bring its parent to light.
while ids=$(docker image ls -q --filter "label=$label" --filter dangling=true) && [ -n "$ids" ]; do
	# shellcheck disable=SC2086 # a list of words
	if ! docker image rm $ids >/dev/null; then
		status=1
		break
	fi
done
rm -rf "${samples:?}/bin" "${samples:?}"/*/bin
exit $status
