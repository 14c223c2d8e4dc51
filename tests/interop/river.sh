# SPDX-License-Identifier: Apache-2.0
# Sourced by river.tap: the two sides, "go" and "c", under the same words; and the cases.
#
#	put SIDE COUNT FIRST WORK_MS [ERROR [MAX_ATTEMPTS]]     inserts jobs FIRST, FIRST + 1 ...
#	worker NAME SIDE COUNT LANES [SETTING=VALUE]...         begins to work; NAME.out is what it says
#	stop NAME, end_of NAME          tells it to go; waits until it has gone by itself
#	q SQL                           one line: rows separated by blanks
# The schema is $schema, the database $url.

c_peer=${builddir-.}/tests/interop/river-peer
why='no version of River could be had'

need_go() {
	command -v go >/dev/null 2>&1 || { why='there is no Go here (1.25 or newer: https://go.dev/dl/)'; return 1; }
	GOTOOLCHAIN=local GOWORK=off
	export GOTOOLCHAIN GOWORK
	# Caches are where the user's Go has them, or, where there is no home for them, with the rest of this test.
	[ -n "${HOME-}" ] || export GOCACHE="${GOCACHE-$work/go-cache}" GOMODCACHE="${GOMODCACHE-$work/go-modules}"
}

# A version that cannot be had, or wants a newer Go, is left out; one that does not compile is a failure.
build() {	# v0.35.0 or newest
	need_go || return
	go=$work/river-go-$1 tags= mod=go.mod
	[ "$1" = v0.35.0 ] || tags='-tags newest' mod=newest.mod
	if ! (cd "$srcdir/tests/interop/river" && go mod download -modfile=$mod) >download.log 2>&1; then
		why="River $1: $(tail -n 1 download.log | cut -c 1-200)"
		echo "# $why"
		return 1
	fi
	if ! (cd "$srcdir/tests/interop/river" && go build -buildvcs=false -modfile=$mod $tags -o "$go" .) >build.log 2>&1; then
		sed 's/^/# /' build.log
		ok "River $1: the program that uses it compiles" 1
		return 1
	fi
}

other() {
	[ "$1" = go ] && echo c || echo go
}

# River's own name for "the first schema of the connection" is none.
in_go() {
	case $schema in
	public) (unset QB_RIVER_SCHEMA; exec "$go" "$url" "$@") ;;
	*) QB_RIVER_SCHEMA=$schema "$go" "$url" "$@" ;;
	esac
}

in_c() {
	QB_RIVER_SCHEMA=$schema "$c_peer" "$url" "$@"
}

q() {
	"$c_peer" "$url" sql "$*" | tr '\n' ' ' | sed 's/ $//'
}

states() {	# [condition]
	q "select state::text, count(*) from $schema.river_job where ${1-true} group by 1 order by 1"
}

id_of() {	# the row of a job
	q "select max(id) from $schema.river_job where args->>'job_id' = '$1'"
}

is_now() {	# job, state
	[ "$(q "select state::text from $schema.river_job where id = $(id_of "$1")")" = "$2" ]
}

# "what it works on: <&> \xff"
bytes=d2hhdCBpdCB3b3JrcyBvbjogPCY+IP8=

args_of() {	# work ms, error
	printf '{"tenant_id":"tenant-4","kind":"kind-2","payload":{"work_millis":%s,"bytes":"%s"%s},"job_id":@,"work_us":%s}' \
		"$1" $bytes "${2:+,\"fail_with_error\":\"$2\"}" "$(($1 * 1000))"
}

put() {
	case $1 in
	go) in_go insert -n "$2" -first "$3" -max-attempts "${6-3}" -args "$(args_of "$4" "${5-}")" >put.out ;;
	c) in_c enqueue "$2" "$3" "$4" "${5-none}" "${6-3}" >put.out ;;
	esac
}

says() {	# name, event, how often at least
	[ "$(grep -c "\"event\":\"$2\"" $1.out)" -ge "${3-1}" ]
}

worker() {
	name=$1 side=$2 count=$3 lanes=$4
	shift 4
	: >$name.out
	set_go= set_c=
	for pair; do
		value=${pair#*=}
		case $pair in
		poll=*) set_go="$set_go -poll $value" set_c="$set_c:fetch-poll-interval=$value" ;;
		cooldown=*) set_go="$set_go -cooldown $value" set_c="$set_c:fetch-cooldown=$value" ;;
		lease=*) set_go="$set_go -timeout $value -rescue-after $value" set_c="$set_c:lease=$value" ;;
		queue=*_go) [ "$side" = c ] || set_go="$set_go -queue $value" ;;
		esac
	done
	case $side in
	go) in_go work -n "$count" -workers "$lanes" -limit 90s -id "$name" $set_go >$name.out 2>$name.err ;;
	c) in_c work "$count" 90 "$lanes" "${set_c#:}" >$name.out 2>$name.err ;;
	esac </dev/null 8>&- 9<&- &
	eval "pid_$name=\$!"
	await 20 says $name ready || sed "s/^/# $name: /" $name.err
}

# A shell may stand between us and the program.
pid_of() {
	eval "below=\$pid_$1"
	children=$(cat /proc/$below/task/$below/children 2>/dev/null)
	echo ${children:-$below}
}

end_of() {
	eval "this=\$pid_$1"
	await 60 gone "$this" || kill -9 $(pid_of $1)
	wait "$this" 2>/dev/null
}

stop() {
	kill -TERM $(pid_of $1) 2>/dev/null
	end_of $1
}

# Which side a case puts on, and who works: as River's own names say it.
way() {	# inserter, worker
	[ "$1" = go ] && echo "$river_version to C, $schema" || echo "C to $river_version, $schema"
}

# ---- the cases

# What the catalogs say of a schema, without its name; "1 to 127" can be said in two ways.
catalog() {
	"$c_peer" "$url" sql "
		select 'column', c.relname, c.relpersistence::text, attname::text, format_type(atttypid, atttypmod), attnotnull,
			coalesce(pg_get_expr(adbin, adrelid), '')
		from pg_class c join pg_attribute a on attrelid = c.oid and attnum > 0 and not attisdropped
		left join pg_attrdef on adrelid = c.oid and adnum = attnum
		where relnamespace = '$1'::regnamespace and relkind = 'r'
		union all select 'index', relname, '', '', pg_get_indexdef(c.oid), false, '' from pg_class c
		where relnamespace = '$1'::regnamespace and relkind = 'i'
		union all select 'constraint', c.relname, contype::text, conname::text, case conname
			when 'finalized_or_finalized_at_null' then '' else pg_get_constraintdef(k.oid) end, false, ''
		from pg_constraint k join pg_class c on c.oid = conrelid where relnamespace = '$1'::regnamespace
		union all select 'label', typname, '', enumlabel::text,
			row_number() over (partition by enumtypid order by enumsortorder)::text, false, ''
		from pg_enum join pg_type t on t.oid = enumtypid where typnamespace = '$1'::regnamespace
		union all select 'function', proname, provolatile::text, pg_get_function_arguments(oid), '', false, ''
		from pg_proc where pronamespace = '$1'::regnamespace
		order by 1, 2, 4, 5" | sed "s/\\<$1\\.//g; s/>= 1) AND (\(.*\) <= 127)/> 0) AND (\1 < 128)/"
}

# The same of the one constraint that is written in another way: its value for each state, with and without a time.
finalized_rule() {
	rule=$(q "select substr(pg_get_constraintdef(oid), 7) from pg_constraint
		where conname = 'finalized_or_finalized_at_null' and connamespace = '$1'::regnamespace")
	q "select string_agg(state::text || ' ' || ($rule)::text, ',' order by state, finalized_at)
		from unnest(enum_range(null::$1.river_job_state)) s (state), (values (null::timestamptz), (now())) f (finalized_at)"
}

# What a function of a state and its mask says, for every mask and state.
bitmask_rule() {
	q "select md5(string_agg($1.river_job_state_in_bitmask(m::bit(8), s)::text, ',' order by m, s))
		from generate_series(0, 255) m, unnest(enum_range(null::$1.river_job_state)) s"
}

migrations() {
	schema=public
	in_go migrate >migrate.out
	before=$(q "select version from public.river_migration order by 1")
	in_c setup >setup.out 2>&1
	is "reference_migrator_candidate_runtime: C accepts what $river_version made ($before)" $? 0
	is "reference_migrator_candidate_runtime: and leaves it as it is" \
		"$(q "select version from public.river_migration order by 1")" "$before"

	schema=qbench_river
	in_c setup >setup.out 2>&1
	is 'candidate_migrator_reference_runtime: C makes its tables' $? 0
	ours=$(q "select max(version) from qbench_river.river_migration")
	in_go validate >validate.out 2>&1
	if [ "$v" = v0.35.0 ]; then
		grep -q 'migration 7 not found' validate.out
		ok "candidate_migrator_reference_runtime: $river_version, which ends at 6, says that it does not know 7" $?
		return
	fi
	# 8 does nothing on Postgres.
	if [ "$ours" = 7 ]; then
		grep -q 'Unapplied migrations: \[8\]' validate.out
		ok "candidate_migrator_reference_runtime: $river_version misses 8, and nothing else" $?
		in_go migrate >migrate.out
	fi
	in_go validate >validate.out 2>&1
	grep -q '"ok":true' validate.out
	ok "candidate_migrator_reference_runtime: $river_version has nothing left to do" $?
	catalog public >catalog.public
	catalog qbench_river >catalog.ours
	diff catalog.public catalog.ours >catalog.diff
	ok "the tables, columns, indexes, constraints, labels and functions are the same ($(wc -l <catalog.ours))" $?
	sed 's/^/# /' catalog.diff
	rule=$(finalized_rule public)
	is 'the rule of finalized_at is the same' "$(finalized_rule qbench_river)" "${rule:-nothing}"
	rule=$(bitmask_rule public)
	is 'and river_job_state_in_bitmask()' "$(bitmask_rule qbench_river)" "${rule:-nothing}"
}

insert_and_work() {
	id=reference_insert_candidate_work
	[ "$1" = go ] || id=candidate_insert_reference_work
	q "delete from $schema.river_job" >/dev/null
	put $1 20 1 2
	worker w $2 20 4
	end_of w
	is "$id: all of them ($(way $1 $2))" "$(states)" 'completed|20'
	is "$id: each in its first attempt, by one client" \
		"$(q "select min(attempt), max(attempt), count(distinct attempted_by) from $schema.river_job")" '1|1|1'
	is "$id: the payload arrived" "$(grep '"started"' w.out | grep -c '"payload_bytes":23[,}]')" 20
	is "$id: $1 reads the rows" "$(in_go states | grep -c '"finalized":true.*"state":"completed"')" 20
}

# ends that are no success
outcomes() {
	schema=public
	q "delete from $schema.river_job" >/dev/null
	put $1 3 1 0 rate_limit 1
	put $1 2 4 0 permanent 3
	put $1 1 6 0 transient 3
	worker w $2 6 4
	end_of w
	is "single_implementation_worker_outcomes: out of attempts, cancelled, again ($(way $1 $2))" \
		"$(states "args->>'job_id' <= '5'")" 'cancelled|2 discarded|3'
	is "single_implementation_worker_outcomes: each has its error" \
		"$(q "select count(*) from $schema.river_job where cardinality(errors) = 1 and (errors[1]->>'attempt')::int = 1
		and (errors[1]->>'at')::timestamptz <= now() and errors[1] ? 'trace' and errors[1]->>'error' <> ''")" 6
	# The first retry is due within the scheduler's period: back to available, and not retryable.
	is 'default_retry_policy_schedule: a second later, a tenth more or less' \
		"$(q "select state::text, scheduled_at - attempted_at between interval '0.89 s' and interval '1.6 s'
		from $schema.river_job where args->>'job_id' = '6'")" 'available|t'
	is 'and the other side reads it' "$(in_go states | grep -c '"last_error":".*transient')" 1
}

# All columns but the id and the times: of a row that was inserted, and of one that was done.
same_rows() {
	q "delete from $schema.river_job" >/dev/null
	put go 1 1 0
	put c 1 1 0
	is 'job_row_round_trip_all_fields: both insert the same row' "$(q "select count(*), count(distinct (state, attempt,
		max_attempts, attempted_at, finalized_at, priority, args, attempted_by, errors, kind, metadata, queue, tags,
		unique_key, unique_states, scheduled_at = created_at)) from $schema.river_job")" '2|1'
	worker w go 1 1
	end_of w
	worker w c 1 1
	end_of w
	is 'job_row_round_trip_all_fields: and leave the same when it is done' "$(q "select count(*), count(distinct (state, attempt,
		max_attempts, priority, args, cardinality(attempted_by), errors, kind, metadata, queue, tags, unique_key, unique_states,
		attempted_at <= finalized_at)) from $schema.river_job where finalized_at is not null")" '2|1'
}

# What each side tells of an insert, a pause, a resumption, a cancellation and a leader's end, byte by byte but for
# numbers and names of clients.  The leader that is asked to go is the other side's.
payloads() {
	q "delete from $schema.river_job" >/dev/null
	for teller in go c; do
		put $teller 1 1 60000
		q "update $schema.river_job set state = 'running'" >/dev/null
		in_c listen >told.$teller 2>told.err </dev/null 8>&- 9<&- &
		pid_told=$!
		await 20 grep -q ready told.$teller || cat told.err
		put $teller 1 2 0
		set_queue $teller pause
		set_queue $teller resume
		cancel $teller "$(id_of 1)"
		await 20 grep -q cancel told.$teller
		q "delete from $schema.river_job" >/dev/null
		q "delete from $schema.river_leader" >/dev/null
		worker lead $(other $teller) 0 1
		await 20 leads $schema
		case $teller in
		go) in_go resign ;;
		c) in_c resign somebody >resign.out ;;
		esac
		await 20 grep -q resigned told.$teller
		ok "mixed_request_resign_terms: a leader resigns when the other side asks for it ($teller asks)" $?
		stop told
		stop lead
		sed -i 's/job_id" : [0-9]*/job_id" : N/; s/\(leader_id" *: *\)"[^"]*"/\1NAME/' told.$teller
	done
	cmp -s told.go told.c && [ "$(wc -l <told.go)" -eq 7 ]
	ok 'notification_payload_bytes: insert, pause, resume, cancel, request_resign, resigned' $?
	diff told.go told.c | sed 's/^/# /'
}

unknown_kind() {
	q "delete from $schema.river_job" >/dev/null
	case $1 in
	go) in_go insert -kind interop.struct -args '{"zulu":"z","alpha":1}' >put.out ;;
	c) in_c insert '{}' kind=interop.nobody_knows >put.out ;;
	esac
	worker w $2 1 1
	end_of w
	is "mixed_unknown_kind_error: an attempt that failed, and another to come ($(way $1 $2))" \
		"$(q "select state::text, attempt, cardinality(errors), scheduled_at > attempted_at from $schema.river_job")" \
		'available|1|1|t'
}

# kind, args, options of Go, settings of C
key_pairs() {
	cat <<-'END'
	benchmark.job	{"b":1,"a":{"z":1,"y":2}}	-by-args	by-args=1
	benchmark.job	{"text":"<b>&\u2028é\\u0041","n":1.50e3,"list":[3,1,{"k":null}]}	-by-args	by-args=1
	benchmark.job	{}	-by-args	by-args=1
	benchmark.job	{"q":1}	-by-args -by-queue -queue priority_emails	by-args=1 by-queue=1 queue=priority_emails
	benchmark.job	{"q":1}	-by-queue -queue priority_emails	by-queue=1 queue=priority_emails
	interop.other	{"q":2}	-by-args -exclude-kind	by-args=1 exclude-kind=1
	benchmark.job	{"q":3}	-by-args -by-period 24h	by-args=1 by-period=86400
	benchmark.job	{"q":4}	-by-period 168h	by-period=604800
	interop.other	{"q":5}	-by-args -not-completed	by-args=1 states=241
	interop.struct	{"zulu":"z<","alpha":7,"deep":{"b":[1,2],"a":"\\u003e"}}	-by-args	by-args=1
	interop.selected	{"account":{"id":"acct-123"},"label":"selected"}	-by-args	by-args=1 fields=account.id,label
	interop.selected	{"account":{},"label":"l"}	-by-args	by-args=1 fields=account.id,label
	END
}

# The period must not end between one side's insert and the other's: a failure is tried once more.
unique_keys() {
	q "delete from $schema.river_job" >/dev/null
	key_pairs >pairs
	n=0
	while IFS='	' read -r kind args options settings; do
		n=$((n + 1))
		# What Go's encoder makes of the arguments is what is hashed.
		in_go insert -kind "$kind" -args "$args" $options >go.out
		"$lib/json-get" go.out unique_key >go.key
		encoded=$("$lib/json-get" go.out encoded)
		in_c insert "$encoded" kind="$kind" $settings >c.out
		"$lib/json-get" c.out unique_key >c.key
		[ -s go.key ] && cmp -s go.key c.key
		ok "unique_hash_goldens: $kind $options: $(cut -c 1-16 go.key)" $?
		grep -q '"duplicate":true' c.out
		ok 'cross_language_unique_conflict: C is refused after Go' $?
		q "delete from $schema.river_job" >/dev/null
		in_c insert "$encoded" kind="$kind" $settings >c.out
		mask=$(q "select unique_states::text from $schema.river_job")
		in_go insert -kind "$kind" -args "$args" $options >go.out
		grep -q '"duplicate":true' go.out && grep -q "\"unique_states\":\"$mask\"" go.out
		ok "cross_language_unique_conflict: and Go after C ($mask)" $?
		q "delete from $schema.river_job" >/dev/null
	done <pairs
}

# enqueue_unique() is a job that is unique by its key.
once() {
	q "delete from $schema.river_job" >/dev/null
	in_c once the-key 1 >c.out 2>c.err || {
		skip 'enqueue_unique' "$(cut -c 1-100 c.err)"
		return
	}
	in_go insert -kind once -by-args -args '{"payload":null,"job_id":2,"key":"the-key"}' >go.out
	grep -q '"duplicate":true' go.out
	ok 'cross_language_unique_conflict: a key of the benchmark, Go after C' $?
	in_go insert -kind once -by-args -args '{"payload":null,"job_id":3,"key":"other-key"}' >go.out
	in_c once other-key 4 >c.out
	grep -q '"duplicate":false' go.out && grep -q '"duplicate":true' c.out
	ok 'cross_language_unique_conflict: C after Go' $?
	is 'two rows' "$(states)" 'available|2'
}

cancel() {	# side, row
	case $1 in
	go) in_go cancel "$2" ;;
	c) in_c cancel "$2" ;;
	esac >cancel.out
}

cancel_queued() {
	q "delete from $schema.river_job" >/dev/null
	put $1 1 1 5
	cancel $2 "$(id_of 1)"
	is "a job that waits is cancelled from the other side ($(way $1 $2))" "$(states 'finalized_at is not null')" 'cancelled|1'
}

cancel_running() {
	q "delete from $schema.river_job" >/dev/null
	# Our worker does not interrupt what runs, River's does.
	ms=60000
	[ "$2" = go ] || ms=1500
	put $1 1 1 $ms
	worker w $2 1 2
	await 10 says w started
	cancel $1 "$(id_of 1)"
	end_of w
	is "remote_cancel_notification: a running job is cancelled ($(way $1 $2))" "$(states)" 'cancelled|1'
	is 'remote_cancel_notification: with its error' "$(q "select errors[1]->>'error' from $schema.river_job")" \
		'JobCancelError: job cancelled remotely'
}

set_queue() {	# side, pause or resume
	case $1 in
	go) in_go queue "$2" default ;;
	c) in_c "$2" default ;;
	esac >queue.out
}

# When a job stays where it is for longer than the worker's poll, the worker has stopped fetching.
one_stays() {
	for job in 1 2 3 4 5; do
		set_queue $1 pause
		put $1 1 $job 0
		sleep 0.7
		! is_now $job available || return 0
	done
	return 1
}

pause_and_resume() {	# who pauses and inserts, who works
	q "delete from $schema.river_job" >/dev/null
	worker w $2 0 2 poll=200ms
	one_stays $1
	ok "pause_resume_notification: nothing is fetched ($(way $1 $2))" $?
	set_queue $1 resume
	await 10 is_now $job completed
	ok 'pause_resume_notification: and again it is' $?
	stop w
}

wake_by_notification() {
	q "delete from $schema.river_job" >/dev/null
	worker w $2 1 2 poll=60s
	put $1 1 1 0
	await 20 says w ended
	ok "notification_only_wakeups: long before the poll ($(way $1 $2))" $?
	stop w
}

commit_and_rollback() {
	q "delete from $schema.river_job" >/dev/null
	worker w c 0 2 poll=60s
	in_go insert -rollback -first 1 -args "$(args_of 0)" >go.out
	in_go insert -commit-after 300ms -first 2 -args "$(args_of 0)" >go.out
	await 20 says w ended
	ok 'transaction_commit_visibility: a commit wakes a worker' $?
	stop w
	is 'transaction_rollback_visibility: of the other there is nothing' "$(grep -c '"job":1,' w.out) $(states)" \
		'0 completed|1'
}

lost_notification() {	# the job is from nobody who would tell
	q "delete from $schema.river_job" >/dev/null
	worker w $2 1 2 poll=300ms
	q "insert into $schema.river_job (args, kind, max_attempts) values
		('{\"job_id\": 1, \"payload\": {}}', 'benchmark.job', 3)" >/dev/null
	end_of w
	is "lost_notification_poll_recovery: found by the poll ($2)" "$(states)" 'completed|1'
}

# $1 leads and has no part in the queue, the other one works: a job of a later time is scheduled by the one for the other.
scheduled() {
	q "delete from $schema.river_job" >/dev/null
	q "delete from $schema.river_leader" >/dev/null
	worker lead $1 0 1 queue=interop_$1
	await 20 leads $schema
	worker w "$(other $1)" 1 1 queue=interop_$2
	case $1 in
	go) in_c insert '{"job_id":1,"payload":{}}' after=200 >put.out ;;
	c) in_go insert -args '{"job_id":1,"payload":{}}' -after 200ms -queue interop_go >put.out ;;
	esac
	await 30 is_now 1 completed
	ok "clock_boundary_scheduling: $1 schedules what the other inserted and works" $?
	stop w
	stop lead
}

leads() {	# schema
	[ -n "$(q "select leader_id from $1.river_leader")" ]
}

compete() {
	q "delete from $schema.river_job" >/dev/null
	worker g go 0 4 cooldown=5ms poll=50ms
	worker h c 0 4 cooldown=5ms poll=50ms
	put go 150 1 5 &
	putting=$!
	put c 150 151 5
	wait $putting
	await 30 all_are 300
	stop g
	stop h
	is "mixed_skip_locked_competition: all of them ($river_version and C, $schema)" "$(states)" 'completed|300'
	is 'mixed_skip_locked_competition: none was run twice' \
		"$(q "select max(attempt), max(cardinality(attempted_by)) from $schema.river_job")" '1|1'
	by_go=$(grep -c '"event":"started"' g.out) by_c=$(grep -c '"event":"started"' h.out)
	is 'mixed_skip_locked_competition: each started once' $((by_go + by_c)) 300
	[ "$by_go" -gt 0 ] && [ "$by_c" -gt 0 ]
	ok "mixed_skip_locked_competition: both had some ($by_go by Go, $by_c by C)" $?
}

all_are() {
	[ "$(q "select count(*) from $schema.river_job where state = 'completed'")" = "$1" ]
}

# ---- cases that take long, in a directory and a schema of their own, without the TAP of the others

apart() {	# name, function, arguments
	(
		case=$1
		shift
		exec 8>&- 9<&-
		mkdir "$work/$db.$case" && cd "$work/$db.$case" || exit
		schema=$case
		q "create schema $schema" >/dev/null
		in_go migrate >migrate.out && in_c setup >setup.out
		"$@" >verdict 2>&1
		echo done >>verdict
	) &
	eval "apart_$db$1=\$!"
}

# A verdict is lines "ok NAME", "not ok NAME" or of comments.
gather() {
	eval "wait \$apart_$db$1"
	while read -r first rest; do
		case $first in
		ok) ok "$rest" 0 ;;
		no) ok "$rest" 1 ;;
		done) ;;
		*) echo "# $first $rest" ;;
		esac
	done <"$work/$db.$1/verdict"
	[ "$(tail -n 1 "$work/$db.$1/verdict")" = done ] || ok "$1: came to an end" 1
}

verdict() {	# name; status before
	[ $? -eq 0 ] && echo "ok $1" || echo "no $1"
}

# A process is killed while it runs a job; the other side's leader brings the job back, and it is done.
rescue() {	# victim, rescuer
	id=reference_process_kill_candidate_rescue
	[ "$1" = go ] || id=candidate_process_kill_reference_rescue
	put $1 1 1 800
	worker victim $1 1 1 lease=1s
	await 20 says victim started
	kill -9 $(pid_of victim)
	# As if its lease had run out: the next one need not wait for that.
	q "delete from $schema.river_leader" >/dev/null
	worker rescuer $2 1 1 lease=1s
	await 60 is_now 1 completed
	verdict "$id: it came back, and was done"
	[ "$(q "select attempt, cardinality(errors), errors[1]->>'error', metadata->>'river:rescue_count'
		from $schema.river_job")" = '2|1|Stuck job rescued by JobRescuer|1' ]
	verdict "$id: rescued once, by its rules"
	stop rescuer
}

# A leader goes and says so.
fail_over() {	# leader, follower
	q "delete from $schema.river_leader" >/dev/null
	worker first $1 0 1
	await 20 leads $schema
	before=$(q "select leader_id from $schema.river_leader")
	worker second $2 0 1
	stop first
	await 20 leads_other "$before"
	verdict "mixed_leader_failover_both_directions: after a resignation ($1, then $2)"
	stop second
}

leads_other() {
	now=$(q "select leader_id from $schema.river_leader where expires_at > now()")
	[ -n "$now" ] && [ "$now" != "$1" ]
}

leader_dies() {	# leader, follower
	q "delete from $schema.river_leader" >/dev/null
	worker first $1 0 1
	await 20 leads $schema
	before=$(q "select leader_id from $schema.river_leader")
	worker second $2 0 1
	kill -9 $(pid_of first)
	# 15 s of the lease, and 6 s until somebody looks.
	await 60 leads_other "$before"
	verdict "mixed_leader_death_failover_both_directions: ($1, then $2)"
	stop second
}
