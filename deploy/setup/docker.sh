#!/bin/bash
# Makes sure that a Docker engine answers. Says nothing if one does. If none
# does, root on Debian or Ubuntu gets Docker installed and started; anybody
# else gets one message and exit status 1.
set -euo pipefail

answers() { docker version >/dev/null 2>&1; }
say() { echo "docker.sh: $*"; }
die() {
	say "$*" >&2
	exit 1
}

if answers; then exit 0; fi

if [ -n "${DOCKER_HOST:-}" ]; then
	die "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST: start it, or unset DOCKER_HOST"
fi
if [ -S /var/run/docker.sock ] && [ ! -w /var/run/docker.sock ]; then
	die "this user may not use /var/run/docker.sock: run as root, or join the group docker"
fi
family=
if [ -r /etc/os-release ]; then
	# shellcheck disable=SC1091 # a file of the system
	family=" $(. /etc/os-release && echo "${ID:-} ${ID_LIKE:-}") "
fi
case $family in
*" debian "* | *" ubuntu "*) ;;
*) die "no Docker engine answers: install and start Docker, see https://docs.docker.com/engine/install/" ;;
esac
[ "$(id -u)" = 0 ] || die "no Docker engine answers: start Docker, or run this as root to have docker.io installed and started"

if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
	# fuse-overlayfs serves where the kernel refuses overlay mounts.
	packages=(docker.io ca-certificates iptables fuse-overlayfs)
	say "no Docker engine answers: installing ${packages[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# Newer releases have the client in a package of its own.
	if apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
	apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

# wait_for_engine SECONDS
wait_for_engine() {
	local i
	for ((i = 0; i < $1 * 2; i++)); do
		if answers; then return 0; fi
		sleep 0.5
	done
	return 1
}

if answers; then exit 0; fi
if [ -d /run/systemd/system ]; then
	say "starting Docker: systemctl start docker"
	systemctl start docker
	if wait_for_engine 60; then exit 0; fi
	die "Docker was started but does not answer: see journalctl -u docker"
fi
if service docker start >/dev/null 2>&1; then
	say "started Docker: service docker start"
	if wait_for_engine 20; then exit 0; fi
fi
# Also where the service could not start, for instance in a container whose
# limits the service may not raise.
log=/var/log/dockerd.log
if ! kill -0 "$(cat /var/run/docker.pid 2>/dev/null)" 2>/dev/null; then
	say "starting dockerd in the background, log in $log"
	setsid dockerd >"$log" 2>&1 </dev/null &
fi
if wait_for_engine 60; then exit 0; fi
die "Docker was started but does not answer: see /var/log/docker.log and $log"
