#!/bin/bash
# Makes sure that there is a shellcheck. Says nothing if there is one. If there is
# none, root on Debian or Ubuntu gets it installed; anybody else gets one message
# and exit status 1.
set -euo pipefail

if command -v shellcheck >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "shellcheck.sh: there is no shellcheck: https://www.shellcheck.net has it for your system" >&2
	exit 1
fi
echo "shellcheck.sh: installing shellcheck"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends shellcheck >/dev/null
