# testsummary.awk ALLOWED EVENTS counts the tests in the events of `go test
# -json` and lists those that were skipped. A test that several passes ran
# failed if one of them failed, passed if one of them passed, and else was
# skipped. A package that broke outside of its tests counts as one failure.
# With -v ci=true a skip that ALLOWED does not name is an error, as is a run
# without tests.

function field(name,    at) {
	if (!match($0, "\"" name "\":\"([^\"\\\\]|\\\\.)*\"")) return ""
	at = RSTART + length(name) + 4
	return substr($0, at, RSTART + RLENGTH - 1 - at)
}

FNR == NR && FILENAME != "-" { # the allow-list: PACKAGE TEST REASON...
	if ($0 !~ /^(#|$)/) allowed[$1 " " $2] = 1
	next
}

{ action = field("Action"); pkg = field("Package"); test = field("Test"); id = pkg " " test }

action == "output" && test != "" && /_test\.go:[0-9]+: / {
	reason[id] = $0
	sub(/.*"Output":" */, "", reason[id])
	sub(/\\n"}$/, "", reason[id])
}
action == "fail" && test == "" { broken[pkg] = 1 }
action ~ /^(pass|fail|skip)$/ && test != "" {
	if (action == "fail") failing[pkg] = 1
	if (action == "fail" || result[id] == "" || result[id] == "skip") result[id] = action
}

END {
	for (pkg in broken) if (!failing[pkg]) result[pkg " (package)"] = "fail"
	for (id in result) {
		count[result[id]]++
		if (result[id] == "fail") print "failed: " id | "sort"
		if (result[id] != "skip") continue
		bad = (ci == "true" && !(id in allowed))
		unexpected += bad
		print "skipped: " id "  " reason[id] (bad ? "  NOT ALLOWED IN CI" : "") | "sort"
	}
	close("sort")
	if (unexpected) print unexpected " skipped tests are not in tools/allowed-skips.txt"
	printf "%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"]
	exit (count["fail"] > 0 || unexpected > 0 || count["pass"] == 0)
}
