#!/usr/bin/env bash
# lint.sh checks formatting, go vet, golangci-lint and, in CI or where there is a
# checker for them, the shell scripts. It runs all of them before it fails.
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
if [[ ${CI:-} != true ]] && ! command -v shellcheck >/dev/null; then
	echo 'not installed: skipped'
else
	deploy/setup/shellcheck.sh && shellcheck -x -S warning "${scripts[@]}" || failed+=(shellcheck)
fi

if ((${#failed[@]})); then
	echo "lint failed: ${failed[*]}" >&2
	exit 1
fi
echo 'lint: fine'
