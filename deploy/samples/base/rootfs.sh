#!/bin/bash
# Writes a small Debian 12 root file system to stdout, as a tar archive, made
# from Debian packages alone: the base of the sample images where no registry
# answers. Needs mmdebstrap.
set -euo pipefail

# Manuals and translations are of no use in a sample; a policy of 101 keeps
# packages from starting their services while an image is built.
# shellcheck disable=SC2016 # the hooks' $1 is the new root, known to mmdebstrap
exec mmdebstrap --variant=minbase --quiet \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/lintian/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='force-unsafe-io' \
	--aptopt='Acquire::Languages "none"' \
	--aptopt='Acquire::Retries "5"' \
	--aptopt='APT::Install-Recommends "false"' \
	--customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
	--customize-hook='printf "#!/bin/sh\nexit 101\n" >"$1"/usr/sbin/policy-rc.d' \
	--customize-hook='chmod 755 "$1"/usr/sbin/policy-rc.d' \
	bookworm -
