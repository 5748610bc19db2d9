#!/bin/bash
# Makes sure that restic is there, which a test of the retention rules asks for
# its opinion. Root on Debian or Ubuntu gets it installed; anybody else gets one
# message and exit status 1.
set -euo pipefail

command -v restic >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "restic.sh: the tests need restic: install it, or run this as root on Debian or Ubuntu" >&2
	exit 1
fi
echo "restic.sh: installing restic"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends restic >/dev/null
