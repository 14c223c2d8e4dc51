# SPDX-License-Identifier: Apache-2.0
# Sourced by the lint scripts: goes to the top of the sources, and speaks TAP.
#
#	verdict "name of the case" "complaints"    passes when there are none
#	skip "name of the case" "reason"
#	finish                                     prints the plan; last line of every script
#
# Files are named from the top, in a checkout and in a tarball.

srcdir=${srcdir-$(dirname "$0")/../..}
cd "$srcdir" || exit 99
tap_count=0
tap_failed=0

verdict() {
	tap_count=$((tap_count + 1))
	if [ -z "$2" ]; then
		echo "ok $tap_count - $1"
	else
		tap_failed=$((tap_failed + 1))
		printf '%s\n' "$2" | sed 's/^/# /'
		echo "not ok $tap_count - $1"
	fi
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

# True in a git checkout whose top this is.
in_git() {
	[ -e .git ] && git rev-parse --git-dir >/dev/null 2>&1
}

# The files that people write, one a line: as git sees them, or what a tarball holds without the
# files that the build system made and without a build inside it.
source_files() {
	if in_git; then
		git ls-files -co --exclude-standard | while IFS= read -r f; do
			[ ! -f "$f" ] || printf '%s\n' "$f"
		done
	else
		find . -path ./_build -prune -o -path ./_inst -prune -o -path ./build-aux -prune -o \
			-type f -print | sed 's|^\./||' |
			grep -vE '^(Makefile\.in|aclocal\.m4|config\.h\.in~?)$'
	fi | LC_ALL=C sort
}
