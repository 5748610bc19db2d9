#!/usr/bin/env bash
# test.sh PASS... runs the tests in one or both passes and ends with one line
# that counts them:
#
#   unit  every package but the end-to-end suite, with the fuzz seeds and, but for
#         pure ones, the race detector; a test that needs containers skips itself here
#   e2e   with BAKTAINER_E2E=1: the end-to-end suite, and again each package in
#         which the unit pass skipped a test (without one before: all packages)
#
# Asked for both, it makes the sample images while the unit pass runs.
#
# A test that no pass ran is listed with its reason. With CI=true it fails the
# run unless tools/allowed-skips.txt says why it may.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
suite=./internal/e2e/...
# The words are pure: no goroutine, disk or network. What goes through years of
# them takes five times as long under the race detector, which has nothing to find.
words=(./internal/schedule/... ./internal/retention ./internal/label ./internal/ledger ./internal/source ./internal/run ./internal/contents)
# The same holds for tests that go through a year, or die two hundred times, one
# step after the other. Their packages' other tests are with the race detector.
steps='^(TestAVirtualYearOfFailovers|TestKilledAnywhere)$'
events=.test/events
status=0
rm -rf $events
mkdir -p $events

# run NAME ARG... runs go test through gotestsum and keeps its events.
run() {
	local name=$1
	shift
	echo "== $name: go test $*"
	.tools/gotestsum --format pkgname --hide-summary skipped --jsonfile "$events/$name.json" -- "$@" || status=1
}

unit() {
	# The longest come first, so that none of them runs alone in the end.
	# -e: a package that does not even parse is listed too, and fails.
	mapfile -t packages < <(
		{ go list ./internal/repo ./controller/... && go list -e ./...; } |
			grep -vxFf <(go list -e "$suite" "${words[@]}") | awk '!seen[$0]++'
	)
	BAKTAINER_E2E='' run words -timeout 25m "${words[@]}"
	BAKTAINER_E2E='' run steps -run "$steps" -timeout 25m ./controller/scheduler ./controller/retain
	BAKTAINER_E2E='' run unit -race -skip "$steps" -timeout 25m "${packages[@]}"
}

# images makes the sample images in the background, which is mostly waiting.
images() {
	deploy/setup/images.sh >.test/images.log 2>&1 &
	making=$!
}

e2e() {
	if [[ -n ${making:-} ]]; then
		echo "== images"
		wait "$making" || status=1
		cat .test/images.log
	fi
	# They wait for containers more than they compute, so three go at a time, and
	# eight tests of the suite.
	if [[ -e $events/unit.json ]]; then
		mapfile -t packages < <(sed -nE 's/.*"Action":"skip","Package":"([^"]*)","Test".*/\1/p' $events/unit.json | sort -u)
	else
		mapfile -t packages < <(comm -23 <(go list ./... | sort) <(go list "$suite" | sort))
	fi
	BAKTAINER_E2E=1 run containers -count=1 -p 3 -timeout 40m "${packages[@]}"
	BAKTAINER_E2E=1 run e2e -count=1 -parallel 8 -timeout 40m "$suite"
}

[[ "$*" != "unit e2e" ]] || images
for pass in "$@"; do
	case $pass in
	unit | e2e) $pass ;;
	*) echo "usage: test.sh unit|e2e..." >&2 && exit 2 ;;
	esac
done

for file in $events/*.json; do cat "$file"; done |
	awk -v ci="${CI:-}" -f tools/testsummary.awk tools/allowed-skips.txt - || status=1
exit $status
