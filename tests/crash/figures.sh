#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Sums what the proving programs have counted: each prints lines of the form "# figures: key=number ...", which the
# harness keeps in its logs.
#
#	figures.sh DIRECTORY [KEY...]
#
# prints each sum and fails when one of KEY (default: of all that have one) is below its floor, when fewer than one
# kill in ten hit a parent, or when anything was lost, silently doubled or wrong.
set -u
dir=${1-.}
if [ $# -gt 0 ]; then shift; fi

# ---- the floors of a short run
floors='
kill_points 150000
double_crashes 200000
schedules 200000
real_kills 20000
wire_cuts 700
postgres_faults 20
hostile_inputs 10000000
'
find "$dir" -name '*.log' ! -name test-suite.log -exec sed -n 's/^# figures: //p' {} + |
awk -v floors="$floors" -v wanted="$*" '
	BEGIN {
		n = split(floors, f)
		for (i = 1; i < n; i += 2)
			floor[f[i]] = f[i + 1]
		n = split(wanted, w)
		for (i = 1; i <= n; i++)
			demanded[w[i]] = 1
		if (n == 0)
			for (k in floor)
				demanded[k] = 1
	}
	{
		for (i = 1; i <= NF; i++)
			if (split($i, kv, "=") == 2 && kv[2] ~ /^[0-9]+$/) {
				if (!(kv[1] in sum))
					order[++keys] = kv[1]
				sum[kv[1]] += kv[2]
			}
	}
	function bad(why) {
		print "FAILED: " why
		failed = 1
	}
	END {
		if (keys == 0)
			bad("no program has printed figures")
		for (i = 1; i <= keys; i++) {
			k = order[i]
			printf "%-24s %12d%s\n", k, sum[k], k in floor ? sprintf("   (floor %d)", floor[k]) : ""
		}
		for (k in demanded)
			if (sum[k] + 0 < floor[k] + 0)
				bad(k " is " sum[k] + 0 ", the floor is " floor[k])
		if (sum["real_kills"] > 0 && sum["parent_kills"] * 10 < sum["real_kills"])
			bad("fewer than one kill in ten hit a parent")
		if (sum["lost"] + sum["silent"] + sum["wrong"] > 0)
			bad("lost, silent duplicates or wrong verdicts")
		exit failed
	}'
