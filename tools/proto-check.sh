#!/usr/bin/env bash
# proto-check.sh checks the protos without any network: buf's lint and format,
# no breaking change, and that the committed Go is what they generate.
#
# Breaking changes are those against the newest release (tag v*), and before
# the first release against main. BUF_AGAINST names another commit.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo '== buf lint, buf format'
.tools/buf lint
.tools/buf format --diff --exit-code

echo '== buf breaking'
against=${BUF_AGAINST:-$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true)}
for branch in origin/main main; do
	[[ -n $against ]] || against=$(git rev-parse --verify --quiet "$branch" || true)
done
if [[ -n $against ]] && git cat-file -e "$against:proto" 2>/dev/null; then
	echo "against $against"
	mkdir "$work/before"
	git archive "$against" proto buf.yaml | tar -x -C "$work/before"
	.tools/buf breaking --against "$work/before"
else
	echo 'nothing to compare with yet'
fi

echo '== generated Go'
.tools/buf generate --output "$work"
# Compare both ways, so that a file without its proto is found as well.
list() { (cd "$1" && find proto -name '*.pb.go' -exec sha256sum {} + | sort -k 2); }
if ! diff <(list .) <(list "$work"); then
	echo 'the Go files in proto/ are stale: run make proto' >&2
	exit 1
fi
echo 'proto: fine'
