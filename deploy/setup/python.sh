#!/bin/bash
# Makes sure that there is a python3 that can run docs/format/baktainer_reader.py,
# and writes its path to .test/python for the test that does. Says nothing else
# if there is one. If there is none, root on Debian or Ubuntu gets the modules
# installed; anybody else gets one message and exit status 1.
#
# BAKTAINER_PYTHON names one of your own, for instance of a virtual environment.
set -euo pipefail

out=$(cd "$(dirname "$0")/../.." && pwd)/.test/python
# The script can do without argon2 where nobody uses a passphrase; its test cannot.
modules="zstandard, cryptography, argon2"
packages=(python3 python3-zstandard python3-cryptography python3-argon2)

say() { echo "python.sh: $*"; }
die() {
	say "$*" >&2
	exit 1
}

# found: the first python3 with the modules. The one on the PATH need not be the
# one that the system's packages belong to.
found() {
	local python
	for python in ${BAKTAINER_PYTHON:+"$BAKTAINER_PYTHON"} python3 /usr/bin/python3; do
		if python=$("$python" -c "import sys, $modules; assert sys.version_info >= (3, 9); print(sys.executable)" 2>/dev/null); then
			mkdir -p "$(dirname "$out")"
			echo "$python" >"$out"
			return 0
		fi
	done
	return 1
}

if found; then exit 0; fi

rm -f "$out"
family=
if [ -r /etc/os-release ]; then
	# shellcheck disable=SC1091 # a file of the system
	family=" $(. /etc/os-release && echo "${ID:-} ${ID_LIKE:-}") "
fi
missing="no python3 (3.9 or newer) has the modules $modules"
case $family in
*" debian "* | *" ubuntu "*) ;;
*) die "$missing: python3 -m pip install zstandard cryptography argon2-cffi, in a virtual environment if you like, and name its python in BAKTAINER_PYTHON" ;;
esac
[ "$(id -u)" = 0 ] || die "$missing: apt-get install ${packages[*]}, or run this as root to have that done"

say "$missing: installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
found || die "installed ${packages[*]}, but still $missing"
