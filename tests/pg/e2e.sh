# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts of this folder: whole runs of the real program, on servers and in directories
# of their own.  Speaks TAP.
#
#	is "name" GOT WANT        ok "name" STATUS        skip "name" "why"        finish
#	scenario KEY=VALUE...     writes short.ini: the values, and usual ones for what is not given
#	run ARGS...               qbench in the foreground: $status, files out and err, $dir of the results
#	begin ARGS...             in the background: $pid
#	await SECONDS COMMAND...  until the command succeeds
#	end SECONDS               waits for it: $status; killed when it takes longer
#	summary KEY               a number of the last run's summary
#	server_start; server COMMAND...; sql TEXT     a server that outlives its runs: $url
#	owners ROLE               the live processes of that role in the one segment: "pid seat"
#	leaves_nothing            is a case: no process, no segment, no private server is left
#
# All is made anew under TMPDIR (and its segments under /dev/shm when that is there), and removed at the end.

: "${QBENCH:?is to be the path of qbench}" "${DECODE_EVENTS:?is to be the path of decode-events}"
srcdir=${srcdir-$(cd "$(dirname "$0")/../.." && pwd)}
lib=${builddir-$(dirname "$QBENCH")}/tests/lib
tap_count=0 tap_failed=0 ran= pid= server_pid= server_dir= url=
unset QBENCH_POSTGRES_URL QB_POSTGRES_URL QBENCH_FAULT QBENCH_FAULT_ROLE
LC_ALL=C export LC_ALL

for program in json-get private-server compare-segment check-jsonl; do
	[ -x "$lib/$program" ] || {
		echo "1..0 # SKIP tests/lib/$program is not built"
		exit 0
	}
done

work=$(mktemp -d "${TMPDIR:-/tmp}/qbench-e2e.XXXXXX") || exit 99
segments=$(mktemp -d /dev/shm/qbench-e2e.XXXXXX 2>/dev/null) || {
	segments=$work/segments
	mkdir "$segments"
}
# The server's user must get through; private servers of the runs are then in our folder, too.
chmod 755 "$work"
mkdir -m 1777 "$work/tmp"
TMPDIR=$work/tmp export TMPDIR
cd "$work" || exit 99

# The processes of our runs, known by their environment, and of their private servers, which overwrite
# theirs, by the place where they work.
our_processes() {
	for p in $(grep -lsF -e "TMPDIR=$TMPDIR" /proc/[0-9]*/environ | sed 's|/proc/\([0-9]*\)/.*|\1|'); do
		case $(readlink "/proc/$p/exe") in
		"$QBENCH"*) echo "$p" ;;
		esac
	done
	ls -l /proc/[0-9]*/cwd 2>/dev/null | sed -n "s|.*/proc/\([0-9]*\)/cwd -> $TMPDIR/|\1 |p" |
		grep -v " ${server_dir:-no server}" | cut -d ' ' -f 1
}

tidy() {
	for p in $(our_processes); do
		kill -9 "$p" 2>/dev/null
	done
	# The server goes when nobody holds the writing end of its input any more.
	exec 8>&- 9<&-
	[ -z "$server_pid" ] || wait "$server_pid"
	cd / && rm -rf "$work" "$segments"
}
trap tidy EXIT
trap 'exit 99' HUP INT TERM

ok() {
	tap_count=$((tap_count + 1))
	if [ "$2" -eq 0 ]; then
		echo "ok $tap_count - $1"
		return
	fi
	tap_failed=$((tap_failed + 1))
	echo "# $ran -> ${status-}"
	for f in err out; do
		[ ! -s $f ] || tail -n 25 $f | sed "s/^/# std$f: /"
	done
	echo "not ok $tap_count - $1"
}

is() {
	[ "$2" = "$3" ] || echo "# $1: \"$2\", and not \"$3\""
	[ "$2" = "$3" ]
	ok "$1" $?
}

skip() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $1 # SKIP $2"
}

finish() {
	echo "1..$tap_count"
	[ "$tap_failed" -eq 0 ]
	exit
}

await() {	# seconds, command...
	tries=$(($1 * 20))
	shift
	until "$@"; do
		[ $((tries -= 1)) -gt 0 ] || return 1
		sleep 0.05
	done
}

scenario() {
	duration=2s rate=120 workers=4 kills=0 victim=worker start=500ms end=1700ms work_ms=2..20 burst=2 errors=0.04 bytes=16..4096
	for pair; do
		eval "${pair%%=*}=\${pair#*=}"
	done
	cat >short.ini <<-EOF
		[scenario]
		name = short
		summary = steady load, then a burst
		duration = $duration
		rate = $rate
		tenants = 5
		seed = 7
		workers = $workers
		[burst]
		multiplier = $burst
		start = $start
		end = $end
		[errors]
		transient = $errors
		permanent = 0.01
		[faults]
		kills = $((kills > 0 ? kills : 1))
		victim = $victim
		start = $start
		end = $end
		[kind entity_update]
		weight = 1
		work_ms = $work_ms
		payload_bytes = $bytes
	EOF
	kills_given=$kills
}

run() {
	rm -rf results
	set -- run --scenario=./short.ini --kills="$kills_given" --results-dir=results --segment-dir="$segments" \
		${url:+"--postgres-url=$url"} "$@"
	ran="qbench $*"
	"$QBENCH" "$@" >out 2>err </dev/null
	status=$?
}

begin() {
	rm -rf results
	set -- run --scenario=./short.ini --kills="$kills_given" --results-dir=results --segment-dir="$segments" \
		${url:+"--postgres-url=$url"} "$@"
	ran="qbench $*"
	"$QBENCH" "$@" >out 2>err </dev/null &
	pid=$!
}

end() {
	if ! await "$1" gone "$pid"; then
		echo "# still there after $1 s"
		kill -9 "$pid"
	fi
	wait "$pid" 2>/dev/null
	status=$?
}

# Also true of one that is dead and not yet waited for.
gone() {
	case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in
	'' | [ZX]*) return 0 ;;
	esac
	return 1
}

summary() {	# key, and of which run when there are several
	"$lib/json-get" results/${2-*}/summary.json "libraries.0.runs.0.$1"
}

segment() {
	echo "$segments"/qbench-*/segment
}

has_segment() {
	[ -f "$(segment)" ]
}

inspect() {
	has_segment && "$QBENCH" inspect --format=json "$(segment)" >inspect.json 2>inspect.err
}

# What the segment says of itself.
told() {
	"$lib/json-get" inspect.json "$1"
}

owners() {	# role
	inspect || return
	for key in role life pid seat; do
		told "processes.*.$key" >"owners.$key"
	done
	paste -d ' ' owners.role owners.life owners.pid owners.seat |
		awk -v role="$1" '$1 == role && $2 == "alive" { print $3, $4 }'
}

has_owner() {
	[ -n "$(owners "$1")" ]
}

# At least so many jobs were submitted by now.
submitted() {
	inspect && [ "$(told counters.submitted)" -ge "$1" ]
}

leaves_nothing() {	# name
	await 10 no_processes
	left=$(our_processes)
	for p in $left; do
		echo "# process $p: $(tr '\0' ' ' <"/proc/$p/cmdline")"
	done
	files=$(ls -A "$segments" "$TMPDIR" | grep -v -e '^$' -e ':$' -e "^${server_dir:-no server}\$")
	[ -z "$files" ] || echo "# files:" $files
	[ -z "$left$files" ]
	ok "$1" $?
}

no_processes() {
	[ -z "$(our_processes)" ]
}

server_start() {
	mkfifo to_server from_server
	"$lib/private-server" "$TMPDIR" <to_server >from_server 2>server.err &
	server_pid=$!
	exec 8>to_server 9<from_server
	read -r url <&9 || {
		sed 's/^/# /' server.err
		echo "1..0 # SKIP no Postgres server"
		exit 0
	}
	server_dir=$(ls "$TMPDIR")
}

server() {	# command...; prints what it answers
	echo "$*" >&8
	while IFS= read -r line <&9; do
		case $line in
		.) return 0 ;;
		error:*) echo "# $*: $line"; return 1 ;;
		esac
		printf '%s\n' "$line"
	done
	return 1
}

sql() {
	server sql "$@"
}
