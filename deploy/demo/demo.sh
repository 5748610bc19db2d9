#!/bin/bash
# Backs up five real databases, destroys their data, brings it back, and proves
# by row counts and hashes that nothing is missing. Ends with status 0 only if
# that is so. Leaves databases and program running; down.sh removes them.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=databases.sh
. "$(dirname "$0")/databases.sh"

sources=()
for db in $databases; do sources+=("$prefix$db"); done

prepare() {
	[ -x "$program" ] || die "there is no $program yet: run make demo"
	cd "$root"
	"$here/down.sh" --quiet
	deploy/setup/docker.sh
	# shellcheck disable=SC2086 # a list of words
	deploy/setup/images.sh $databases
	# Settings of whoever runs this are not meant for the demo.
	# shellcheck disable=SC2086 # two lists of words
	unset ${!BAKTAINER_@} ${!BT_@}
	make_run
}

# measure WHEN: reads every database out and keeps the number of its rows and
# the hash of its content under that name.
measure() {
	moment=$1
	mkdir "$run/$moment"
	each measure_db
}
measure_db() {
	content "$1" >"$run/$moment/$1.rows"
	wc -l <"$run/$moment/$1.rows" | tr -d ' ' >"$run/$moment/$1.count"
	sha256 <"$run/$moment/$1.rows" >"$run/$moment/$1.hash"
	rm "$run/$moment/$1.rows"
}
count() { cat "$run/$1/$2.count"; }
hash() { cat "$run/$1/$2.hash"; }

list_ours() { grep -E "^(SOURCE|SNAPSHOT) |$prefix"; }

# sums SOURCE: name and SHA-256 of every stream in its newest snapshot, as the ledger has them.
sums() { "$program" snapshot show "$1" | awk '/^$/ { rows = 0 } rows { print $1, $NF } $1 == "STREAM" { rows = 1 }'; }

back_up() {
	show backup "${sources[@]}"
	say "Once more: what has not changed is not stored again (see NEW)."
	show backup "${prefix}postgres" "${prefix}mariadb"
	printf '%s$ ./baktainer snapshot ls%s\n' "$bold" "$plain"
	"$program" snapshot ls | list_ours
	for db in $databases; do
		sums "$prefix$db" >"$run/$db.sums"
		[ -s "$run/$db.sums" ] || die "$prefix$db: its snapshot has no stream"
	done
	"$program" snapshot ls --quiet | sort >"$run/snapshots"
}

# crash kills the program and reads every dump without it.
crash() {
	local stream sum got
	say "kill -9 $(up_pid)"
	stop_up 9
	show rescue ls
	for db in $databases; do
		while read -r stream sum; do
			got=$("$program" rescue dump "$prefix$db" "$stream" | sha256)
			[ "$got" = "$sum" ] || die "rescue dump $prefix$db $stream: SHA-256 $got, and the ledger had $sum"
			good "rescue dump $prefix$db $stream | sha256sum   ${sum:0:16}…   as the ledger says"
		done <"$run/$db.sums"
	done
	say "starting again"
	start_up
	"$program" snapshot ls --quiet | sort | cmp -s - "$run/snapshots" || die "the list of snapshots is another after the crash"
	good "all $(wc -l <"$run/snapshots" | tr -d ' ') snapshots are there after the crash"
}

spoil() {
	each destroy_db
	measure destroyed
	printf '   %-9s  %11s  %11s\n' database "rows before" "rows now"
	for db in $databases; do
		printf '   %-9s  %11s  %11s  %s\n' "$db" "$(count before "$db")" "$(count destroyed "$db")" "$(what_happened "$db")"
		[ "$(hash before "$db")" != "$(hash destroyed "$db")" ] || die "$db was to be destroyed and is as before"
	done
}

bring_back() {
	show restore "${prefix}sqlite" --dry-run --overwrite
	for db in $databases; do
		show restore "$prefix$db" --overwrite --yes
	done
}

# verdict prints the table that all of this is for; false if anything differs.
verdict() {
	local status=0 equal
	printf '\n   %s%-24s  %11s  %17s  %13s  %s%s\n' "$bold" source "rows before" "after destruction" "after restore" "content hash" "$plain"
	for db in $databases; do
		equal="${green}equal${plain}  $(hash after "$db" | cut -c1-16)…"
		if [ "$(hash before "$db")" != "$(hash after "$db")" ] || [ "$(count before "$db")" != "$(count after "$db")" ]; then
			equal="${red}DIFFERS${plain}  $(hash before "$db" | cut -c1-16)… became $(hash after "$db" | cut -c1-16)…"
			status=1
		fi
		printf '   %-24s  %11s  %17s  %13s  %s\n' "$prefix$db" "$(count before "$db")" "$(count destroyed "$db")" "$(count after "$db")" "$equal"
	done
	return $status
}

look_next() {
	cat <<END

${bold}Where to look next${plain}
   Everything is still up. In this folder:

      export BAKTAINER_DATA_DIR=$BAKTAINER_DATA_DIR
      ./baktainer status
      ./baktainer source ls
      ./baktainer backup ${prefix}postgres          # again: see how little is new
      ./baktainer run ls
      ./baktainer dump ${prefix}postgres shop | less
      ./baktainer restore ${prefix}sqlite --to file:notes.db

   Status page   http://127.0.0.1:$(cat "$run/port")/   (also /metrics)
   Log           $run/up.log
   Reading       README.md, docs/labels.md, docs/troubleshooting.md, SECURITY.md
   Label a container of your own with baktainer.backup=true: it shows up in source ls at once.

   make demo-down removes containers, program state and snapshots of the demo;
   deploy/setup/clean.sh also the sample images.
END
}

echo "Baktainer demo: five databases, backed up, destroyed and restored."
step "Preparing" "A Docker engine, and the sample images if they are not there yet."
prepare
step "Starting five databases and filling them" \
	"Each has one label, baktainer.backup=true (SQLite one more, for the path of its file)." \
	"Engine, user, password and database are found by Baktainer."
each start_db
each fill_db
measure before
for db in $databases; do say "$(printf '%-9s %7d rows  SHA-256 of all rows %.16s…' "$db" "$(count before "$db")" "$(hash before "$db")")"; done
step "Starting baktainer up" "Nothing is configured: it finds the containers by their label."
start_up
printf '%s$ ./baktainer source ls%s\n' "$bold" "$plain"
"$program" source ls | list_ours
step "Backing up" \
	"The engines' own dump tools run inside the containers; what they write is checked to its" \
	"end mark, deduplicated, compressed, encrypted and stored, with no temporary file."
back_up
step "Verifying" "Every stored byte is read again, decrypted and compared with the ledger."
show snapshot verify --all
step "Destroying the data" "In each database in another way."
spoil
step "Crashing, and reading without the program" \
	"kill -9 loses nothing. What is stored can be read with the key alone: rescue needs no" \
	"controller, and gives the very bytes whose SHA-256 the ledger has."
crash
step "Restoring" "A dry run says what would happen; --overwrite is needed where data would be replaced."
bring_back
step "Proof" "All rows are read out once more, as before the backup."
measure after
if ! verdict; then
	step_done
	die "what came back is not what was backed up"
fi
step_done
printf '\n%sAll data is back.%s The demo took %d min %02d s.\n' "$green" "$plain" $((SECONDS / 60)) $((SECONDS % 60))
look_next
