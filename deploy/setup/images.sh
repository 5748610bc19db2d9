#!/bin/bash
# Usage: images.sh [NAME...]
#
# Makes the sample images baktainer-sample/NAME:latest, all or those named, from
# the recipes in deploy/samples. One that is up to date is left alone: every
# image carries a hash of its recipe as a label.
#
# BAKTAINER_SAMPLES says where they come from:
#   pull   the official images (what has no official image is still built)
#   build  Debian packages and Go modules
#   auto   pull if a registry answers, else build (default)
set -euo pipefail

samples=$(cd "$(dirname "$0")/../samples" && pwd)
root=$(cd "$samples/../.." && pwd)
prefix=baktainer-sample
# Not "baktainer.": a container inherits it, and it is no setting of a source.
label=io.github.baktainer.sample
all="postgres mariadb mariadb-new mysql redis sqlite sqlite-bare mongo openldap etcd influxdb victoriametrics"
debian=debian:bookworm-slim

# official NAME: the image to pull for it; nothing if it is always built.
official() {
	case $1 in
	base) echo $debian ;;
	postgres) echo postgres:15 ;;
	mariadb) echo mariadb:10.11 ;;
	mariadb-new) echo mariadb:11.4 ;;
	mysql) echo mysql:8.4 ;;
	mongo) echo mongo:7 ;;
	redis) echo redis:7 ;;
	influxdb) echo influxdb:1.8 ;;
	esac
}

# parent NAME: the image that its recipe starts from.
parent() {
	case $1 in
	base | sqlite-bare) ;;
	mariadb-new | mysql) echo mariadb ;;
	*) echo base ;;
	esac
}

die() {
	echo "images.sh: $*" >&2
	exit 1
}

limit() { # limit SECONDS COMMAND...
	if command -v timeout >/dev/null; then timeout "$@"; else "${@:2}"; fi
}

sha() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }

# recipe NAME: everything that decides what the image holds.
recipe() {
	local up file
	up=$(parent "$1")
	[ -z "$up" ] || recipe "$up"
	official "$1"
	cd "$samples/$1"
	find . -type f ! -path '*/bin/*' | LC_ALL=C sort | while read -r file; do
		echo "$file"
		cat "$file"
	done
	[ "$1" != sqlite-bare ] || grep modernc.org/ "$root/go.mod"
}

recipe_hash() { (recipe "$1") | sha | cut -c1-16; }

# current NAME: whether the image is there, of this recipe, and made in the way asked for.
current() {
	local have want
	want=$(recipe_hash "$1")
	have=$(docker image inspect -f "{{index .Config.Labels \"$label\"}}" "$prefix/$1" 2>/dev/null) || return 1
	case $mode:$have in
	auto:*" $want" | build:"built $want") return 0 ;;
	pull:"pulled $want") return 0 ;;
	pull:"built $want") [ -z "$(official "$1")" ] ;;
	*) return 1 ;;
	esac
}

docker_build() { # docker_build NAME HOW [ARGUMENT...]: the classic builder knows local images
	DOCKER_BUILDKIT=0 docker build -q --label "$label=$2 $(recipe_hash "$1")" -t "$prefix/$1" "${@:3}"
}

pull() {
	docker pull -q "$(official "$1")" >/dev/null && echo "FROM $(official "$1")" | docker_build "$1" pulled - >/dev/null
}

build_base() {
	if ! command -v mmdebstrap >/dev/null; then
		if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
			die "no registry answers and there is no mmdebstrap to build from Debian packages: install it, or run again with BAKTAINER_SAMPLES=pull and a network"
		fi
		echo "installing mmdebstrap" >&3
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends mmdebstrap debian-archive-keyring >/dev/null
	fi
	"$samples/base/rootfs.sh" |
		docker import -c 'CMD ["bash"]' -c "LABEL $label=\"built $(recipe_hash base)\"" - "$prefix/base" >/dev/null
}

# compile FOLDER OUTPUT PACKAGE [FLAG...]: a static program for the engine's machine.
compile() {
	(cd "$1" && CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOFLAGS=-buildvcs=false GOWORK=off \
		go build -trimpath -o "$2" "${@:4}" "$3")
}

compile_tools() {
	local bin=$samples/mongo/bin tool
	for tool in mongodump mongorestore mongoimport mongoexport; do
		compile "$samples/mongo/mongotools" "$bin/$tool" "github.com/mongodb/mongo-tools/$tool/main" \
			-ldflags="-s -w -X main.VersionStr=100.9.5"
	done
}

compile_ferretdb() {
	local bin=$samples/mongo/bin
	# It does not start without version files, which its module lacks: they are
	# added to a vendored copy.
	rm -rf "$bin/src"
	mkdir -p "$bin/src"
	cp "$samples"/mongo/ferretdb/go.* "$bin/src/"
	(
		cd "$bin/src"
		GOWORK=off go mod vendor
		cd vendor/github.com/FerretDB/FerretDB/build/version
		echo v1.24.0 >version.txt
		echo unknown >commit.txt
	)
	compile "$bin/src" "$bin/ferretdb" github.com/FerretDB/FerretDB/cmd/ferretdb \
		-mod=vendor -tags=ferretdb_no_postgresql -ldflags="-s -w"
	rm -rf "$bin/src"
}

# build NAME: the image from its recipe.
build() {
	case $1 in
	mongo)
		compile_tools
		compile_ferretdb
		;;
	sqlite-bare) compile "$root" "$samples/sqlite-bare/bin/app" ./deploy/samples/sqlite-bare -ldflags="-s -w" ;;
	esac
	if [ "$1" = base ]; then
		build_base
	else
		# The mirrors that packages come from fail now and then.
		docker_build "$1" built "$samples/$1" || docker_build "$1" built "$samples/$1"
	fi
}

# make_image NAME: prints one line, or fails.
make_image() {
	local up start=$SECONDS how="up to date" status
	# Whoever else makes this image at the same time is waited for.
	exec 9>"$samples/bin/$1.lock"
	if command -v flock >/dev/null; then flock 9; fi
	if ! current "$1"; then
		how=built
		if [ "$registry" = yes ] && [ -n "$(official "$1")" ]; then
			if pull "$1" 2>"$samples/bin/$1.log"; then
				how=pulled
			elif [ "$mode" = pull ]; then
				cat "$samples/bin/$1.log" >&2
				die "cannot pull $(official "$1")"
			fi
		fi
	fi
	if [ "$how" = built ]; then
		up=$(parent "$1")
		if [ -n "$up" ] && ! current "$up"; then (make_image "$up"); fi
		set +e
		(
			set -e
			build "$1"
		) >"$samples/bin/$1.log" 2>&1
		status=$?
		set -e
		if [ $status != 0 ]; then
			tail -n 20 "$samples/bin/$1.log" >&2
			die "cannot build the $1 image; the whole log: deploy/samples/bin/$1.log"
		fi
	fi
	if [ "$1 $how" != "base up to date" ]; then
		printf '%-12s %-10s %4d s\n' "$1" "$how" $((SECONDS - start))
	fi
}

mode=${BAKTAINER_SAMPLES:-auto}
case $mode in
auto | build | pull) ;;
*) die "BAKTAINER_SAMPLES is '$mode': want auto, build or pull" ;;
esac
# shellcheck disable=SC2086 # a list of words
[ $# != 0 ] || set -- $all
stale_apt=() stale_go=()
for name; do
	case " $all " in
	*" $name "*) ;;
	*) die "no sample is called '$name': there are $all" ;;
	esac
	if current "$name"; then
		printf '%-12s %-10s %4d s\n' "$name" "up to date" 0
	else
		case $name in
		mongo | sqlite-bare) stale_go+=("$name") ;;
		*) stale_apt+=("$name") ;;
		esac
	fi
done
if [ $((${#stale_apt[@]} + ${#stale_go[@]})) = 0 ]; then exit 0; fi

arch=$(docker version -f '{{.Server.Arch}}')
registry=no
case $mode in
pull) registry=yes ;;
auto) if limit 15 docker pull -q $debian >/dev/null 2>&1; then registry=yes; fi ;;
esac
mkdir -p "$samples/bin"

# Compiling and installing packages share a machine well: one lane for each.
exec 3>&1
(for name in ${stale_go[@]+"${stale_go[@]}"}; do make_image "$name"; done) &
lane_go=$!
(for name in ${stale_apt[@]+"${stale_apt[@]}"}; do make_image "$name"; done) &
lane_apt=$!
status=0
wait $lane_apt || status=1
wait $lane_go || status=1
exit $status
