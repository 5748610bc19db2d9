# shellcheck shell=bash
# What demo.sh and down.sh share: where the demo keeps things, how it speaks,
# and how it starts and stops the program.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/deploy/demo
program=$root/baktainer
run=$here/run # or, where its path is too long for a socket, a link to another folder
databases="postgres mariadb mongo sqlite redis"
prefix=baktainer-demo-

# Colours for people only.
bold='' green='' red='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi

steps=0 step_began=
# step TITLE TEXT...: begins a step, and says what it does and what it shows.
step() {
	step_done
	steps=$((steps + 1)) step_began=$SECONDS
	printf '\n%s%d. %s%s\n' "$bold" $steps "$1" "$plain"
	shift
	[ $# = 0 ] || printf '   %s\n' "$@"
}
step_done() { [ -z "$step_began" ] || printf '   (%d s)\n' $((SECONDS - step_began)); }

say() { printf '   %s\n' "$*"; }
good() { printf '   %s✓%s %s\n' "$green" "$plain" "$*"; }
die() {
	printf '%sdemo: %s%s\n' "$red" "$*" "$plain" >&2
	exit 1
}

# show ARGUMENT...: prints a command line of the program, and runs it.
show() {
	printf '%s$ ./baktainer %s%s\n' "$bold" "$*" "$plain"
	"$program" "$@"
}

# until_ok SECONDS WHAT COMMAND...: waits until a command succeeds.
until_ok() {
	local deadline=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || die "waited in vain until $what"
		sleep 0.2
	done
}

# each FUNCTION: calls FUNCTION DATABASE for every database at once. What they
# say on stderr is only shown when one fails.
each() {
	local db failed='' pids=''
	for db in $databases; do
		("$1" "$db" 2>"$run/$db.err") &
		pids="$pids $db:$!"
	done
	for db in $pids; do
		wait "${db#*:}" || failed="$failed ${db%:*}"
	done
	for db in $failed; do cat "$run/$db.err" >&2; done
	[ -z "$failed" ] || die "$1:$failed failed"
}

sha256() {
	local sum
	if command -v sha256sum >/dev/null; then sum=$(sha256sum); else sum=$(shasum -a 256); fi
	echo "${sum%% *}"
}

# make_run makes the folder of the demo. A socket's path has room for 100 bytes.
make_run() {
	if [ "$(printf %s "$run/baktainer.sock" | wc -c)" -le 100 ]; then
		mkdir -m 700 "$run"
	else
		ln -s "$(mktemp -d /tmp/baktainer-demo.XXXXXX)" "$run"
	fi
	export BAKTAINER_DATA_DIR
	BAKTAINER_DATA_DIR=$(cd "$run" && pwd -P)
}

# free_port prints the first port from 8080 on where nobody listens.
free_port() {
	local port=8080
	while (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
	echo $port
}

# start_up runs `baktainer up` in the background and waits until it sees Docker.
start_up() {
	# Its helper image is known by the hash of the program.
	sha256 <"$program" >>"$run/programs"
	[ -s "$run/port" ] || free_port >"$run/port"
	# Other labelled containers of this machine are seen, but never backed up: no schedule.
	nohup "$program" up --data-dir "$BAKTAINER_DATA_DIR" --schedule off --http-listen "127.0.0.1:$(cat "$run/port")" --log-format text \
		>>"$run/up.log" 2>&1 </dev/null &
	echo $! >"$run/up.pid"
	disown # its end is nothing to report
	(until_ok 120 "baktainer up is ready; see $run/up.log" ready) || {
		"$program" source ls | grep "$prefix"
		exit 1
	}
}

# ready says whether the program leads and has seen all our databases.
ready() {
	local db
	"$program" status --quiet || return 1
	for db in $databases; do
		"$program" source show "$prefix$db" | grep -Eq '^state +ready' || return 1
	done
}

# up_pid prints the id of our `baktainer up`, if it runs.
up_pid() {
	local pid
	pid=$(cat "$run/up.pid" 2>/dev/null) || return 1
	# The number may be another process's by now.
	case $(ps -ww -o args= -p "$pid" 2>/dev/null) in
	*"baktainer up --data-dir $(cd "$run" && pwd -P) "*) echo "$pid" ;;
	*) return 1 ;;
	esac
}

# stop_up SIGNAL ends it.
stop_up() {
	local pid deadline=$((SECONDS + 30))
	pid=$(up_pid) || return 0
	kill "-$1" "$pid"
	while up_pid >/dev/null; do
		[ $SECONDS -lt $deadline ] || die "baktainer up (process $pid) does not end"
		sleep 0.1
	done
	rm -f "$run/up.pid"
}
