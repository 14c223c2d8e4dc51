# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts in this folder: runs qbench, looks at what it said, speaks TAP.
#
#	run ARGS...          qbench in the work directory; then $status, the files out and err
#	ok "name" STATUS     a case; what was run and printed is shown when STATUS is not 0
#	skip "name" "why"
#	finish               prints the plan; last line of every script
#
# The work directory is made anew under TMPDIR and removed at the end.

: "${QBENCH:?is to be the path of qbench}"
srcdir=${srcdir-$(cd "$(dirname "$0")/../.." && pwd)}
tap_count=0 tap_failed=0 ran=
unset QBENCH_POSTGRES_URL QB_POSTGRES_URL QBENCH_FAULT
LC_ALL=C export LC_ALL

tap_dir=$(mktemp -d "${TMPDIR:-/tmp}/qbench-cli.XXXXXX") || exit 99
readonly tap_dir
trap 'cd / && rm -rf "$tap_dir"' EXIT
trap 'exit 99' HUP INT TERM
cd "$tap_dir" || exit 99

run() {
	ran="qbench $*"
	"$QBENCH" "$@" >out 2>err </dev/null
	status=$?
}

ok() {
	tap_count=$((tap_count + 1))
	if [ "$2" -eq 0 ]; then
		echo "ok $tap_count - $1"
		return
	fi
	tap_failed=$((tap_failed + 1))
	echo "# $ran -> ${status-}"
	sed 's/^/# stderr: /' err | head -n 20
	sed 's/^/# stdout: /' out | head -n 20
	echo "not ok $tap_count - $1"
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

# True when the file has a line that the extended regular expression matches as a whole.
has() {
	grep -qxE -e "$2" "$1"
}

# True when that one line and the hint are all of it.
only_error() {	# regular expression of the line behind "qbench: error: ", the command that the hint names
	[ "$(($(wc -l <err)))" -eq 2 ] || return
	head -n 1 err | grep -qxE -e "qbench: error: $1" || return
	[ "$(tail -n 1 err)" = "Try 'qbench ${2:+$2 }--help' for more information." ]
}

# Refused as wrong use: exit 1, nothing on stdout, one line and the hint on stderr.
rejects() {	# name, regular expression, command or "", its arguments...
	title=$1 regex=$2 command=$3
	shift 3
	if [ -n "$command" ]; then
		run "$command" "$@"
	else
		run "$@"
	fi
	[ "$status" -eq 1 ] && [ ! -s out ] && only_error "$regex" "$command"
	ok "$title" $?
}

# Taken, and read as that: --show-settings tells.
accepts() {	# name, the setting "name=value" and where it is from, command or "", its arguments...
	title=$1 setting=$2
	shift 2
	[ -n "$1" ] || shift
	run "$@" --show-settings
	[ "$status" -eq 0 ] && [ ! -s err ] && grep -qxF -e "$setting" out
	ok "$title" $?
}
