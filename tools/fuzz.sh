#!/usr/bin/env bash
# fuzz.sh TIME runs every fuzz target of the module for TIME each, one after
# the other, and goes on after a failure so that one run shows all of them.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
time=${1:?usage: fuzz.sh TIME, such as 30s}
count=0
failed=()

while read -r dir pkg; do
	for target in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$dir"/*_test.go 2>/dev/null); do
		echo "== $pkg $target"
		count=$((count + 1))
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$pkg" </dev/null || failed+=("$pkg.$target")
	done
done < <(go list -f '{{.Dir}} {{.ImportPath}}' ./...)

echo "fuzz: $count targets, ${#failed[@]} failed ${failed[*]}"
((count > 0 && ${#failed[@]} == 0))
