#!/bin/bash
# Makes sure that the tools which the benchmark compares are there. Root on
# Debian or Ubuntu gets them installed; anybody else gets one message and exit
# status 1.
set -euo pipefail

missing=()
for tool in restic borg:borgbackup gzip zstd; do
	command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
[ ${#missing[@]} != 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "peers.sh: the benchmark needs ${missing[*]}: install them, or run this as root on Debian or Ubuntu" >&2
	exit 1
fi
echo "peers.sh: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
