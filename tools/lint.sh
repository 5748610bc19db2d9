#!/usr/bin/env bash
# lint.sh checks formatting, go vet, golangci-lint and, where shellcheck is
# installed, the shell scripts. It runs all of them before it fails.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
failed=()

echo '== gofmt'
unformatted=$(gofmt -l .)
[[ -z $unformatted ]] || { echo "$unformatted"; failed+=(gofmt); }

echo '== go vet'
go vet ./... || failed+=('go vet')

echo '== golangci-lint'
.tools/golangci-lint run ./... || failed+=(golangci-lint)

echo '== shellcheck'
mapfile -t scripts < <(git ls-files --cached --others --exclude-standard '*.sh' 'deploy/plugins/*' .ci/run)
if command -v shellcheck >/dev/null; then
	shellcheck -x -S warning "${scripts[@]}" || failed+=(shellcheck)
else
	echo 'not installed: skipped'
fi

if ((${#failed[@]})); then
	echo "lint failed: ${failed[*]}" >&2
	exit 1
fi
echo 'lint: fine'
