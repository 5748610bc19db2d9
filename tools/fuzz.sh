#!/usr/bin/env bash
# fuzz.sh TIME runs every fuzz target of the module for TIME each, one after
# the other, and goes on after a failure so that one run shows all of them. It
# begins with the inputs that earlier runs found worth keeping, in
# tools/fuzz-corpus.tar.gz; with KEEP=1 it writes what there is then back to it.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
time=${1:?usage: fuzz.sh TIME, such as 30s}
corpus=$PWD/tools/fuzz-corpus.tar.gz
cache=$(go env GOCACHE)/fuzz/$(go list -m)
count=0
failed=()

mkdir -p "$cache" && tar -xzf "$corpus" -C "$cache" --skip-old-files

while read -r dir pkg; do
	for target in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$dir"/*_test.go 2>/dev/null); do
		echo "== $pkg $target"
		count=$((count + 1))
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$pkg" </dev/null || failed+=("$pkg.$target")
	done
done < <(go list -f '{{.Dir}} {{.ImportPath}}' ./...)

if [[ ${KEEP:-} == 1 ]]; then
	(cd "$cache" && find . -type f | LC_ALL=C sort | tar --owner=0 --group=0 --numeric-owner --mtime=@0 -T - -cf - | gzip -9n) >"$corpus.new" && mv "$corpus.new" "$corpus"
fi
echo "fuzz: $count targets, ${#failed[@]} failed ${failed[*]}"
((count > 0 && ${#failed[@]} == 0))
