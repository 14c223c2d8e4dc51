# SPDX-License-Identifier: Apache-2.0
# Tests by kind.  A kind is a list of programs and a list of scripts; TESTS is the sum of all;
# check-KIND runs one kind in the same harness.
#
# A program is its name in KIND_programs (inside "if HAVE_CHECK" when it links Check) and a line
# for what it links; its source is its name with .c unless a _SOURCES line says more.  A script
# (*.tap, executable, prints TAP) is its name in KIND_scripts.

TEST_EXTENSIONS = .tap
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
TAP_LOG_DRIVER = $(LOG_DRIVER)

# Where the programs under test are; "make installcheck" says the installed ones.
QB_TEST_BINDIR = $(abs_top_builddir)

# What every test finds in its environment.  Those written ${NAME-default} may be set by whoever
# calls make.  (The tests' own: QB_CRASH_FACTOR, QB_MODEL_SEEDS, QB_TEST_SCALE and QB_WIRE_CUTS make them
# longer; 720 wire cuts are what a proof needs.)
AM_TESTS_ENVIRONMENT = \
	srcdir='$(abs_top_srcdir)'; export srcdir; \
	builddir='$(abs_top_builddir)'; export builddir; \
	QBENCH='$(QB_TEST_BINDIR)/qbench$(EXEEXT)'; export QBENCH; \
	DECODE_EVENTS='$(QB_TEST_BINDIR)/decode-events$(EXEEXT)'; export DECODE_EVENTS; \
	QB_TEST_CC='$(CC)'; export QB_TEST_CC; \
	CK_TAP_LOG_FILE_NAME=-; export CK_TAP_LOG_FILE_NAME; \
	CK_VERBOSITY=silent; export CK_VERBOSITY; \
	CK_DEFAULT_TIMEOUT=$${CK_DEFAULT_TIMEOUT-20}; export CK_DEFAULT_TIMEOUT; \
	ASAN_OPTIONS=$${ASAN_OPTIONS-detect_stack_use_after_return=1}; export ASAN_OPTIONS; \
	UBSAN_OPTIONS=$${UBSAN_OPTIONS-print_stacktrace=1}; export UBSAN_OPTIONS; \
	TSAN_OPTIONS=$${TSAN_OPTIONS-halt_on_error=1:die_after_fork=0}; export TSAN_OPTIONS;

unit_programs =
model_programs =
stress_programs =
stress_thread_programs =
crash_programs =
pg_programs =
bench_programs =
stress_scripts =
crash_scripts =
pg_scripts =

# A made-up run, written as a record or a segment.
run_maker = %D%/lib/run-maker.c %D%/lib/run-maker.h
# A segment as the dead leave it.
segment_maker = %D%/lib/segment-maker.c %D%/lib/segment-maker.h

if HAVE_CHECK

# ---- unit: constructed bytes, every branch; no server
unit_programs += \
	%D%/unit/test-account \
	%D%/unit/test-again \
	%D%/unit/test-arena \
	%D%/unit/test-attach \
	%D%/unit/test-base \
	%D%/unit/test-backlog \
	%D%/unit/test-block \
	%D%/unit/test-cache \
	%D%/unit/test-cache-memory \
	%D%/unit/test-check \
	%D%/unit/test-death \
	%D%/unit/test-ends \
	%D%/unit/test-event \
	%D%/unit/test-fdio \
	%D%/unit/test-gate \
	%D%/unit/test-host \
	%D%/unit/test-job \
	%D%/unit/test-leased \
	%D%/unit/test-join \
	%D%/unit/test-keytable \
	%D%/unit/test-cachetable \
	%D%/unit/test-key \
	%D%/unit/test-meta \
	%D%/unit/test-offer \
	%D%/unit/test-options \
	%D%/unit/test-pcg \
	%D%/unit/test-percentiles \
	%D%/unit/test-plan \
	%D%/unit/test-proc \
	%D%/unit/test-record \
	%D%/unit/test-recovery \
	%D%/unit/test-report \
	%D%/unit/test-report-shapes \
	%D%/unit/test-resolve \
	%D%/unit/test-restore \
	%D%/unit/test-resume \
	%D%/unit/test-retry \
	%D%/unit/test-ring \
	%D%/unit/test-river \
	%D%/unit/test-river-unique \
	%D%/unit/test-scenario \
	%D%/unit/test-segment \
	%D%/unit/test-share \
	%D%/unit/test-sparse \
	%D%/unit/test-storage \
	%D%/unit/test-storage-grow \
	%D%/unit/test-summary \
	%D%/unit/test-summary-json \
	%D%/unit/test-takeover \
	%D%/unit/test-trace \
	%D%/unit/test-unique \
	%D%/unit/test-wait
%C%_unit_test_account_LDADD = $(qb_stats_libs) $(CHECK_LIBS)
%C%_unit_test_again_SOURCES = %D%/unit/test-again.c $(run_maker)
%C%_unit_test_again_LDADD = $(qb_report_libs) $(CHECK_LIBS)
%C%_unit_test_arena_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_attach_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_base_LDADD = $(qb_base_libs) $(CHECK_LIBS)
%C%_unit_test_backlog_LDADD = $(qb_stats_libs) $(CHECK_LIBS)
%C%_unit_test_block_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_cache_LDADD = $(qb_cache_libs) $(CHECK_LIBS)
%C%_unit_test_cache_memory_LDADD = src/cache/libqb-cache.a $(qb_base_libs) $(CHECK_LIBS)
%C%_unit_test_check_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_death_LDADD = $(qb_stats_libs) $(CHECK_LIBS)
%C%_unit_test_ends_LDADD = $(qb_record_libs) $(CHECK_LIBS)
%C%_unit_test_event_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_fdio_LDADD = $(qb_base_libs) $(CHECK_LIBS)
%C%_unit_test_gate_LDADD = $(qb_run_libs) $(CHECK_LIBS)
%C%_unit_test_host_LDADD = $(qb_base_libs) $(CHECK_LIBS)
%C%_unit_test_job_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_leased_LDADD = $(qb_stats_libs) $(CHECK_LIBS)
%C%_unit_test_cachetable_LDADD = $(qb_report_libs) $(JANSSON_LIBS) $(CHECK_LIBS)
%C%_unit_test_keytable_LDADD = $(qb_report_libs) $(JANSSON_LIBS) $(CHECK_LIBS)
%C%_unit_test_join_LDADD = $(qb_shm_libs) $(CHECK_LIBS) -lpthread
%C%_unit_test_key_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_meta_LDADD = $(qb_record_libs) $(CHECK_LIBS)
%C%_unit_test_offer_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_options_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_unit_test_pcg_LDADD = $(qb_workload_libs) $(CHECK_LIBS)
%C%_unit_test_percentiles_LDADD = $(qb_stats_libs) $(CHECK_LIBS)
%C%_unit_test_plan_LDADD = $(qb_workload_libs) $(CHECK_LIBS)
%C%_unit_test_proc_LDADD = $(qb_base_libs) $(CHECK_LIBS)
%C%_unit_test_record_LDADD = $(qb_record_libs) $(CHECK_LIBS)
%C%_unit_test_recovery_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_report_LDADD = $(qb_report_libs) $(CHECK_LIBS)
%C%_unit_test_report_shapes_LDADD = $(qb_report_libs) $(CHECK_LIBS)
%C%_unit_test_resolve_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_restore_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_resume_LDADD = $(qb_stats_libs) $(CHECK_LIBS)
%C%_unit_test_retry_LDADD = $(qb_stats_libs) $(CHECK_LIBS)
%C%_unit_test_ring_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_river_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_unit_test_river_unique_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_unit_test_scenario_LDADD = $(qb_workload_libs) $(CHECK_LIBS)
%C%_unit_test_segment_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_share_LDADD = $(qb_stats_libs) $(CHECK_LIBS)
%C%_unit_test_sparse_LDADD = $(qb_shm_libs) $(CHECK_LIBS)
%C%_unit_test_storage_SOURCES = %D%/unit/test-storage.c %D%/lib/store-item.h
%C%_unit_test_storage_LDADD = src/cache/libqb-cache.a $(qb_base_libs) $(CHECK_LIBS)
%C%_unit_test_storage_grow_SOURCES = %D%/unit/test-storage-grow.c %D%/lib/store-item.h
%C%_unit_test_storage_grow_LDADD = src/cache/libqb-cache.a $(qb_base_libs) $(CHECK_LIBS)
%C%_unit_test_summary_LDADD = $(qb_stats_libs) $(CHECK_LIBS)
%C%_unit_test_summary_json_LDADD = $(qb_report_libs) $(JANSSON_LIBS) $(CHECK_LIBS)
%C%_unit_test_takeover_LDADD = $(qb_run_libs) $(CHECK_LIBS)
%C%_unit_test_trace_SOURCES = %D%/unit/test-trace.c $(run_maker)
%C%_unit_test_trace_LDADD = $(qb_record_libs) $(CHECK_LIBS)
%C%_unit_test_unique_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_unit_test_wait_LDADD = $(qb_shm_libs) $(CHECK_LIBS)

# ---- model: random operations against a small reference
model_programs += \
	%D%/model/test-job-model
%C%_model_test_job_model_LDADD = $(qb_shm_libs) $(CHECK_LIBS)

# ---- pg: against a real server; skipped without one
pg_programs += \
	%D%/pg/faults \
	%D%/pg/faults-content \
	%D%/pg/faults-full \
	%D%/pg/test-array \
	%D%/pg/test-cluster \
	%D%/pg/test-conn \
	%D%/pg/test-doubt \
	%D%/pg/test-effects \
	%D%/pg/test-failover \
	%D%/pg/test-hostile \
	%D%/pg/test-platlib \
	%D%/pg/test-platlib-address \
	%D%/pg/test-platlib-cache \
	%D%/pg/test-platlib-run \
	%D%/pg/test-queue \
	%D%/pg/test-queue-cut \
	%D%/pg/test-restore \
	%D%/pg/test-restore-cut \
	%D%/pg/test-river \
	%D%/pg/test-river-cache \
	%D%/pg/test-river-control \
	%D%/pg/test-river-ends \
	%D%/pg/test-river-leader \
	%D%/pg/test-river-maintenance \
	%D%/pg/test-schema \
	%D%/pg/test-stats \
	%D%/pg/test-sweep \
	%D%/pg/test-sync \
	%D%/pg/test-sync-cut \
	%D%/pg/wire \
	%D%/pg/wire-effect \
	%D%/pg/wire-queue
%C%_pg_faults_LDADD = $(qb_sync_libs) $(CHECK_LIBS)
%C%_pg_faults_content_LDADD = $(qb_sync_libs) $(CHECK_LIBS)
%C%_pg_faults_full_LDADD = $(qb_sync_libs) $(CHECK_LIBS)
%C%_pg_test_array_LDADD = $(qb_pg_libs) $(CHECK_LIBS)
%C%_pg_test_cluster_LDADD = $(qb_pg_libs) $(CHECK_LIBS)
%C%_pg_test_conn_LDADD = $(qb_pg_libs) $(CHECK_LIBS)
%C%_pg_test_doubt_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_effects_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_failover_LDADD = $(qb_sync_libs) $(CHECK_LIBS)
%C%_pg_test_hostile_LDADD = $(qb_sync_libs) $(CHECK_LIBS)
%C%_pg_test_platlib_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_platlib_address_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_platlib_run_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_platlib_cache_LDADD = $(qb_cache_libs) $(CHECK_LIBS)
%C%_pg_test_queue_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_queue_cut_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_restore_LDADD = $(qb_sync_libs) $(CHECK_LIBS)
%C%_pg_test_restore_cut_LDADD = $(qb_sync_libs) $(CHECK_LIBS)
%C%_pg_test_river_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_river_cache_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_river_control_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_river_ends_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_river_leader_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_river_maintenance_LDADD = $(qb_queue_libs) $(CHECK_LIBS)
%C%_pg_test_schema_LDADD = $(qb_sync_libs) $(CHECK_LIBS)
%C%_pg_test_stats_LDADD = $(qb_pg_libs) $(CHECK_LIBS)
%C%_pg_test_sweep_LDADD = $(qb_pg_libs) $(CHECK_LIBS)
%C%_pg_test_sync_LDADD = $(qb_sync_libs) $(CHECK_LIBS)
%C%_pg_test_sync_cut_LDADD = $(qb_sync_libs) $(CHECK_LIBS)
%C%_pg_wire_SOURCES = %D%/pg/wire.c %D%/lib/proxy.c %D%/lib/proxy.h
%C%_pg_wire_LDADD = $(qb_sync_libs) $(CHECK_LIBS)
%C%_pg_wire_effect_SOURCES = %D%/pg/wire-effect.c %D%/lib/proxy.c %D%/lib/proxy.h
%C%_pg_wire_effect_LDADD = $(qb_sync_libs) $(CHECK_LIBS)
%C%_pg_wire_queue_SOURCES = %D%/pg/wire-queue.c %D%/lib/proxy.c %D%/lib/proxy.h
%C%_pg_wire_queue_LDADD = $(qb_queue_libs) $(CHECK_LIBS)

endif

# ---- crash: a kill everywhere, then recovery, then the verdict.  Programs of their own: at every
# ---- fault point, at every instruction, and between any two accesses of several processes.
crash_world = \
	%D%/crash/database.c \
	%D%/crash/ledger.h \
	%D%/crash/oracle.c %D%/crash/oracle.h \
	%D%/crash/tap.h \
	%D%/crash/world.c %D%/crash/world.h
crash_programs += \
	%D%/crash/fault-points \
	%D%/crash/join-stress \
	%D%/crash/joins \
	%D%/crash/keys \
	%D%/crash/schedules \
	%D%/crash/seat-names \
	%D%/crash/steps \
	%D%/crash/storage-kills
crash_scripts += %D%/crash/steps-builds.tap
# The protocol as a model, searched whole; skipped without spin.
crash_scripts += %D%/promela/spin.tap
EXTRA_DIST += %D%/promela/claim.pml %D%/promela/resolve.pml
EXTRA_DIST += %D%/crash/README.md
dist_check_SCRIPTS += %D%/crash/figures.sh

# What they are worth: each known bug, put in on purpose, is found by one of them.  It compiles
# shm/ some fifty times, so it is not part of check but of check-bugs, and of CI.
bug_scripts = %D%/crash/seeded-bugs.tap
# What libFuzzer and ten million inputs find; clang compiles all of it once more, so it is not part of
# check but of check-fuzz, and of CI.
fuzz_scripts = %D%/fuzz/check-fuzz.tap
crash_bugs = \
	%D%/crash/bugs/01-one-arena-for-all.patch \
	%D%/crash/bugs/02-dropped-before-claimed.patch \
	%D%/crash/bugs/03-ready-before-payload.patch \
	%D%/crash/bugs/04-pushed-before-ready.patch \
	%D%/crash/bugs/05-user-code-before-start.patch \
	%D%/crash/bugs/06-started-after-the-effect.patch \
	%D%/crash/bugs/07-done-before-the-result.patch \
	%D%/crash/bugs/08-ring-reserves-then-fills.patch \
	%D%/crash/bugs/09-event-before-its-record.patch \
	%D%/crash/bugs/10-started-taken-for-never-started.patch \
	%D%/crash/bugs/11-no-ring-repair.patch \
	%D%/crash/bugs/12-recovery-believes-its-scan.patch \
	%D%/crash/bugs/13-relaxed-memory-order.patch \
	%D%/crash/bugs/14-ring-slot-without-lap.patch \
	%D%/crash/bugs/15-seat-refilled-before-recovery.patch \
	%D%/crash/bugs/20-free-bit-before-the-word.patch \
	%D%/crash/bugs/21-free-bit-without-second-look.patch \
	%D%/crash/bugs/22-block-bit-without-second-look.patch \
	%D%/crash/bugs/23-syncer-looks-before-it-clears.patch \
	%D%/crash/bugs/24-blocks-freed-by-slot-only.patch \
	%D%/crash/bugs/25-sweep-frees-one-block-of-a-chain.patch \
	%D%/crash/bugs/26-dropped-entry-not-offered-again.patch \
	%D%/crash/bugs/27-report-after-the-verdict.patch \
	%D%/crash/bugs/28-deadline-before-the-wait-bit.patch \
	%D%/crash/bugs/29-deadline-lost-with-the-promoter.patch \
	%D%/crash/bugs/30-mark-raised-after-the-slot-is-taken.patch \
	%D%/crash/bugs/31-nobody-helps-tail.patch \
	%D%/crash/bugs/32-nobody-helps-head.patch \
	%D%/crash/bugs/33-recovery-only-once.patch \
	%D%/crash/bugs/34-generation-kept-by-recovery.patch \
	%D%/crash/bugs/35-no-sweep.patch \
	%D%/crash/bugs/36-put-back-without-a-push.patch \
	%D%/crash/bugs/37-outcome-without-a-dirty-bit.patch \
	%D%/crash/bugs/38-result-reclaimed-too-early.patch \
	%D%/crash/bugs/39-late-completion-writes.patch \
	%D%/crash/bugs/40-sleep-without-announcement.patch \
	%D%/crash/bugs/41-wake-up-not-passed-on.patch \
	%D%/crash/bugs/42-private-futex.patch \
	%D%/crash/bugs/43-event-overwritten-by-the-next-owner.patch \
	%D%/crash/bugs/44-event-dropped-silently.patch \
	%D%/crash/bugs/45-old-outcomes-told-again.patch \
	%D%/crash/bugs/46-late-child-takes-the-name.patch \
	%D%/crash/bugs/47-published-before-filled.patch \
	%D%/crash/bugs/50-seat-read-before-it-is-closed.patch \
	%D%/crash/bugs/51-late-child-stores-its-start-time.patch \
	%D%/crash/bugs/52-driver-judged-and-not-closed.patch \
	%D%/crash/bugs/53-resolved-before-its-result.patch \
	%D%/crash/bugs/54-resolved-without-a-push.patch \
	%D%/crash/bugs/55-resolved-whatever-it-is-now.patch \
	%D%/crash/bugs/56-doubt-resolved-without-a-fence.patch \
	%D%/crash/bugs/57-transactional-taken-for-idempotent.patch \
	%D%/crash/bugs/58-resolved-and-nobody-told.patch \
	%D%/crash/bugs/59-noted-as-durable-before-the-commit.patch \
	%D%/crash/bugs/65-no-fence-just-a-look.patch \
	%D%/crash/bugs/66-mark-and-effect-in-two-transactions.patch \
	%D%/crash/bugs/67-answer-before-the-fence-has-committed.patch \
	%D%/crash/bugs/68-mark-passes-the-fence-of-its-attempt.patch \
	%D%/crash/bugs/69-retry-without-a-look-at-the-mark.patch \
	%D%/crash/bugs/70-attempts-begin-anew.patch \
	%D%/crash/bugs/71-lost-taken-for-never-started.patch \
	%D%/crash/bugs/72-rebuilt-in-the-same-life.patch \
	%D%/crash/bugs/73-acknowledged-though-not-replicated.patch \
	%D%/crash/bugs/74-freed-before-the-standby-has-it.patch \
	%D%/crash/bugs/75-rewind-not-noticed.patch \
	%D%/crash/bugs/76-loss-counted-from-memory.patch \
	%D%/crash/bugs/77-batch-without-compare-and-swap.patch \
	%D%/crash/bugs/78-epoch-claimed-without-a-look.patch \
	%D%/crash/bugs/79-no-answer-taken-for-yes.patch \
	%D%/crash/bugs/80-acknowledged-too-early.patch \
	%D%/crash/bugs/81-stopped-taken-for-dead-at-take-over.patch \
	%D%/crash/bugs/82-two-syncers.patch \
	%D%/crash/bugs/83-dead-parents-keep-their-seats.patch \
	%D%/crash/bugs/84-stopped-taken-for-dead.patch \
	%D%/crash/bugs/85-length-beyond-the-end.patch \
	%D%/crash/bugs/86-nesting-without-limit.patch \
	%D%/crash/bugs/87-seat-of-a-word-is-believed.patch \
	%D%/crash/bugs/88-count-of-events-is-believed.patch \
	%D%/crash/bugs/89-jobs-hidden-by-the-mark.patch \
	%D%/crash/bugs/90-refused-without-a-word.patch \
	%D%/crash/bugs/91-place-of-who-asks-is-taken.patch \
	%D%/crash/bugs/92-accepted-before-its-place.patch \
	%D%/crash/bugs/93-accepted-and-not-offered.patch \
	%D%/crash/bugs/94-withdrawn-before-decided.patch \
	%D%/crash/bugs/95-announced-without-a-look.patch \
	%D%/crash/bugs/96-old-announcement-believed.patch \
	%D%/crash/bugs/97-ambiguous-has-no-key.patch \
	%D%/crash/bugs/98-holder-by-its-slot.patch \
	%D%/crash/bugs/99-key-of-another-generation.patch \
	%D%/crash/bugs/100-look-before-the-bit.patch \
	%D%/crash/bugs/101-released-and-not-counted.patch \
	%D%/crash/bugs/102-recovery-wakes-nobody.patch \
	%D%/crash/bugs/103-only-one-is-woken.patch \
	%D%/crash/bugs/104-failed-and-nobody-woken.patch \
	%D%/crash/bugs/105-given-up-and-not-noted.patch \
	%D%/crash/bugs/106-resolved-and-not-noted.patch \
	%D%/crash/bugs/107-repair-clears-the-bit.patch \
	%D%/crash/bugs/108-woken-before-the-end.patch
EXTRA_DIST += $(crash_bugs)
# shm/ once more: with its fault points, and with a switch before each atomic access.
check_LIBRARIES += %D%/crash/libqb-shm-fault.a %D%/crash/libqb-shm-point.a
%C%_crash_libqb_shm_fault_a_SOURCES = $(shm_libqb_shm_a_SOURCES)
%C%_crash_libqb_shm_fault_a_CPPFLAGS = $(AM_CPPFLAGS) -DQB_FAULT_POINTS=1
%C%_crash_libqb_shm_point_a_SOURCES = $(shm_libqb_shm_a_SOURCES)
%C%_crash_libqb_shm_point_a_CPPFLAGS = $(AM_CPPFLAGS) -include tests/crash/point.h
%C%_crash_fault_points_SOURCES = %D%/crash/fault-points.c src/sync/batch.c $(crash_world)
%C%_crash_fault_points_CPPFLAGS = $(AM_CPPFLAGS) -DQB_FAULT_POINTS=1
%C%_crash_fault_points_LDADD = %D%/crash/libqb-shm-fault.a src/pg/libqb-pg.a src/base/libqb-base.a
%C%_crash_join_stress_SOURCES = %D%/crash/join-stress.c %D%/crash/tap.h
%C%_crash_join_stress_LDADD = $(qb_queue_libs) -lpthread
%C%_crash_joins_SOURCES = %D%/crash/joins.c %D%/crash/coroutine.h %D%/crash/point.h %D%/crash/tap.h
%C%_crash_joins_CFLAGS = $(AM_CFLAGS) $(QB_NOSAN_CFLAGS)
%C%_crash_joins_CPPFLAGS = $(AM_CPPFLAGS) -include tests/crash/point.h
%C%_crash_joins_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=syscall
%C%_crash_joins_LDADD = %D%/crash/libqb-shm-point.a
%C%_crash_keys_SOURCES = %D%/crash/keys.c %D%/crash/keys.h %D%/crash/keys-kills.c %D%/crash/coroutine.h %D%/crash/point.h \
	%D%/crash/tap.h
%C%_crash_keys_CFLAGS = $(AM_CFLAGS) $(QB_NOSAN_CFLAGS)
%C%_crash_keys_CPPFLAGS = $(AM_CPPFLAGS) -include tests/crash/point.h
%C%_crash_keys_LDADD = %D%/crash/libqb-shm-point.a
%C%_crash_schedules_SOURCES = %D%/crash/schedules.c %D%/crash/coroutine.h %D%/crash/point.h \
	src/sync/batch.c $(crash_world)
# Stacks are switched by hand in these, which AddressSanitizer and ThreadSanitizer cannot follow.
%C%_crash_libqb_shm_point_a_CFLAGS = $(AM_CFLAGS) $(QB_NOSAN_CFLAGS)
%C%_crash_schedules_CFLAGS = $(AM_CFLAGS) $(QB_NOSAN_CFLAGS)
%C%_crash_schedules_CPPFLAGS = $(AM_CPPFLAGS) -include tests/crash/point.h
%C%_crash_schedules_LDADD = %D%/crash/libqb-shm-point.a src/pg/libqb-pg.a src/base/libqb-base.a
%C%_crash_seat_names_SOURCES = %D%/crash/seat-names.c %D%/crash/coroutine.h %D%/crash/point.h %D%/crash/tap.h
%C%_crash_seat_names_CFLAGS = $(AM_CFLAGS) $(QB_NOSAN_CFLAGS)
%C%_crash_seat_names_CPPFLAGS = $(AM_CPPFLAGS) -include tests/crash/point.h
%C%_crash_seat_names_LDADD = %D%/crash/libqb-shm-point.a
# The store once more, with its fault points, and with the tests between it and the C library.
%C%_crash_storage_kills_SOURCES = %D%/crash/storage-kills.c %D%/crash/storage-calls.c %D%/crash/storage-stress.c \
	%D%/crash/storage.h %D%/crash/tap.h %D%/lib/store-item.h src/base/fdio.c src/base/remove.c \
	src/cache/storage.c src/cache/storage-get.c src/cache/storage-move.c src/cache/storage-place.c \
	src/cache/storage-put.c src/cache/storage-temp.c src/cache/storage-walk.c
%C%_crash_storage_kills_CPPFLAGS = $(AM_CPPFLAGS) -DQB_FAULT_POINTS=1
%C%_crash_storage_kills_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=openat,--wrap=fcntl,--wrap=mkdirat,--wrap=write,--wrap=fsync \
	-Wl,--wrap=renameat,--wrap=unlinkat,--wrap=linkat,--wrap=fchmod,--wrap=futimens,--wrap=close
%C%_crash_storage_kills_LDADD = src/base/libqb-base.a %D%/crash/libqb-shm-fault.a
%C%_crash_steps_SOURCES = %D%/crash/steps.c %D%/crash/scenarios.c %D%/crash/scenarios.h $(crash_world)
%C%_crash_steps_LDADD = $(qb_run_libs)

# ---- fuzz: bytes of somebody who means harm, see fuzz/README.md.  These are driven by fuzz/drive.c;
# ---- check-fuzz compiles the same targets once more for libFuzzer.
fuzz_common = %D%/fuzz/corpus.c %D%/fuzz/drive.c %D%/fuzz/fuzz.h %D%/crash/tap.h
fuzz_printed = $(fuzz_common) %D%/fuzz/output.c
fuzz_targets = \
	%D%/fuzz/fuzz-args \
	%D%/fuzz/fuzz-attach \
	%D%/fuzz/fuzz-msgpack \
	%D%/fuzz/fuzz-record \
	%D%/fuzz/fuzz-scenario \
	%D%/fuzz/fuzz-segment \
	%D%/fuzz/fuzz-text
fuzz_victim = %D%/fuzz/victim.c %D%/fuzz/victim.h $(run_maker) $(segment_maker)
fuzz_patch = %D%/fuzz/patch.c %D%/fuzz/patch.h
fuzz_decode = tools/decode-chrome.c tools/decode-jsonl.c tools/decode-names.c tools/decode-summary.c tools/decode.h \
	tools/emit.c tools/emit.h
fuzz_inspect = src/cli/inspect.c src/cli/inspect.h src/cli/inspect-json.c src/cli/inspect-text.c
%C%_fuzz_fuzz_args_SOURCES = %D%/fuzz/fuzz-args.c $(fuzz_common) src/cli/cmd.h src/cli/opts.c src/cli/opts.h src/cli/parse.c
%C%_fuzz_fuzz_args_LDADD = $(qb_run_libs)
%C%_fuzz_fuzz_text_SOURCES = %D%/fuzz/fuzz-text.c $(fuzz_printed) tools/emit.c tools/emit.h
%C%_fuzz_fuzz_text_LDADD = $(qb_base_libs) $(JANSSON_LIBS)
%C%_fuzz_fuzz_attach_SOURCES = %D%/fuzz/fuzz-attach.c $(fuzz_printed) $(fuzz_victim) $(fuzz_patch) $(fuzz_inspect) $(fuzz_decode)
%C%_fuzz_fuzz_attach_LDADD = $(qb_record_libs) $(qb_sync_libs) $(JANSSON_LIBS)
%C%_fuzz_fuzz_msgpack_SOURCES = %D%/fuzz/fuzz-msgpack.c $(fuzz_common)
%C%_fuzz_fuzz_msgpack_LDADD = $(qb_record_libs)
%C%_fuzz_fuzz_record_SOURCES = %D%/fuzz/fuzz-record.c $(fuzz_printed) $(fuzz_victim) $(fuzz_decode)
%C%_fuzz_fuzz_record_LDADD = $(qb_report_libs)
%C%_fuzz_fuzz_scenario_SOURCES = %D%/fuzz/fuzz-scenario.c $(fuzz_printed)
%C%_fuzz_fuzz_scenario_LDADD = $(qb_workload_libs) $(JANSSON_LIBS)
%C%_fuzz_fuzz_segment_SOURCES = %D%/fuzz/fuzz-segment.c $(fuzz_printed) $(fuzz_victim) $(fuzz_patch) $(fuzz_inspect)
%C%_fuzz_fuzz_segment_LDADD = $(qb_record_libs) $(qb_sync_libs) $(JANSSON_LIBS)
# Every bit of a segment and of a record, each cut at every byte; and files made by hand.
fuzz_by_hand = %D%/fuzz/damage %D%/fuzz/hostile
%C%_fuzz_damage_SOURCES = %D%/fuzz/damage.c %D%/fuzz/corpus.c %D%/fuzz/output.c %D%/fuzz/fuzz.h $(fuzz_victim) $(fuzz_inspect)
%C%_fuzz_damage_LDADD = $(qb_report_libs) $(qb_sync_libs)
%C%_fuzz_hostile_SOURCES = %D%/fuzz/hostile.c %D%/fuzz/corpus.c %D%/fuzz/fuzz.h $(fuzz_victim) src/cli/inspect.c src/cli/inspect.h
%C%_fuzz_hostile_LDADD = src/report/libqb-report.a $(qb_stats_libs) src/workload/libqb-workload.a src/base/libqb-base.a \
	$(qb_shm_libs) $(JANSSON_LIBS) $(INIH_LIBS) $(LIBCRYPTO_LIBS)
EXTRA_DIST += %D%/fuzz/README.md

# ---- stress: many processes for a few seconds, the identities after.  Those that run as threads
# ---- in a build for ThreadSanitizer are in stress_thread_programs too.
stress_programs += %D%/crash/stress
stress_thread_programs += %D%/crash/stress
%C%_crash_stress_SOURCES = %D%/crash/stress.c %D%/crash/stress.h %D%/crash/kills.c $(crash_world)
%C%_crash_stress_LDADD = $(qb_sync_libs)

# ---- pg, whole runs: the program on a private server
pg_scripts += \
	%D%/pg/ctrl-c.tap \
	%D%/pg/effects.tap \
	%D%/pg/failover.tap \
	%D%/pg/full-shm.tap \
	%D%/pg/host-loss.tap \
	%D%/pg/hostile-names.tap \
	%D%/pg/cache.tap \
	%D%/pg/idempotent.tap \
	%D%/pg/jsonl.tap \
	%D%/pg/kill-all.tap \
	%D%/pg/kill-roles.tap \
	%D%/pg/other-users.tap \
	%D%/pg/postgres-away.tap \
	%D%/pg/recover-libraries.tap \
	%D%/pg/scenarios.tap \
	%D%/pg/scenes.tap \
	%D%/pg/selftest.tap \
	%D%/pg/storm-rules.tap \
	%D%/pg/syscalls.tap \
	%D%/pg/transactional.tap

# ---- cli: the command line
cli_scripts = \
	%D%/cli/decode.tap \
	%D%/cli/help.tap \
	%D%/cli/hostile-names.tap \
	%D%/cli/inspect.tap \
	%D%/cli/options.tap \
	%D%/cli/plan.tap \
	%D%/cli/report.tap

# ---- build: a clone, and the tarball's list of files
build_scripts = %D%/build/clone.tap

# ---- lint: rules that a reader should not have to check.
lint_scripts = \
	%D%/lint/check-layout.tap \
	%D%/lint/check-model.tap \
	%D%/lint/check-rooms.tap \
	%D%/lint/check-signals.tap \
	%D%/lint/check-sql.tap \
	%D%/lint/check-tags.tap \
	%D%/lint/check-wrapper.tap \
	%D%/lint/check-version.tap \
	%D%/lint/check-man.tap \
	%D%/lint/check-files.tap \
	%D%/lint/check-words.tap
%C%_lint_print_layout_LDADD = $(qb_shm_libs)
EXTRA_DIST += \
	%D%/lib/shm-fixture.h \
	%D%/lib/testdir.h \
	%D%/pg/loadtest.h \
	%D%/pg/failover.h \
	%D%/pg/effecttest.h \
	%D%/pg/pgtest.h \
	%D%/pg/platlibaddress.h \
	%D%/pg/platlibtest.h \
	%D%/pg/queuetest.h \
	%D%/pg/riverbench.h \
	%D%/pg/rivertest.h \
	%D%/pg/restoretest.h \
	%D%/pg/synctest.h \
	%D%/unit/cachetest.h \
	%D%/unit/reporttest.h \
	%D%/unit/segmenttest.h \
	%D%/unit/trace-builder.h \
	%D%/cli/cli.sh \
	%D%/lint/layout.golden \
	%D%/pg/e2e.sh \
	%D%/lint/rooms \
	%D%/lint/lint.sh

# ---- bench: ns per operation, each beside a baseline of the same run
bench_common = %D%/bench/bench.c %D%/bench/bench.h %D%/bench/floor.h %D%/bench/jobs.h
bench_programs += \
	%D%/bench/bench-crowd \
	%D%/bench/bench-decode \
	%D%/bench/bench-event \
	%D%/bench/bench-kill \
	%D%/bench/bench-submit \
	%D%/bench/bench-sync \
	%D%/bench/bench-wake
%C%_bench_bench_crowd_SOURCES = %D%/bench/bench-crowd.c $(bench_common)
%C%_bench_bench_crowd_LDADD = $(qb_base_libs)
%C%_bench_bench_decode_SOURCES = %D%/bench/bench-decode.c $(run_maker) $(bench_common)
%C%_bench_bench_decode_LDADD = $(qb_record_libs)
%C%_bench_bench_event_SOURCES = %D%/bench/bench-event.c $(bench_common)
%C%_bench_bench_event_LDADD = $(qb_base_libs)
%C%_bench_bench_kill_SOURCES = %D%/bench/bench-kill.c $(bench_common)
%C%_bench_bench_kill_LDADD = $(qb_base_libs)
%C%_bench_bench_submit_SOURCES = %D%/bench/bench-submit.c $(bench_common)
%C%_bench_bench_submit_LDADD = $(qb_base_libs)
%C%_bench_bench_sync_SOURCES = %D%/bench/bench-sync.c %D%/bench/pgfloor.c %D%/bench/pgfloor.h $(bench_common)
%C%_bench_bench_sync_LDADD = $(qb_sync_libs)
%C%_bench_bench_wake_SOURCES = %D%/bench/bench-wake.c $(bench_common)
%C%_bench_bench_wake_LDADD = $(qb_base_libs)

# ---- helpers: programs that scripts call, in no kind of their own
helper_programs = \
	%D%/lib/check-chrome \
	%D%/lib/check-harmless \
	%D%/lib/check-jsonl \
	%D%/lib/compare-segment \
	%D%/lib/json-get \
	%D%/lib/make-record \
	%D%/lib/make-segment \
	%D%/lib/one-syncer \
	%D%/lib/private-server
%C%_lib_check_chrome_LDADD = $(JANSSON_LIBS)
%C%_lib_check_harmless_SOURCES = %D%/lib/check-harmless.c %D%/fuzz/output.c %D%/fuzz/fuzz.h
%C%_lib_check_harmless_LDADD = $(JANSSON_LIBS)
%C%_lib_check_jsonl_LDADD = $(JANSSON_LIBS)
%C%_lib_compare_segment_LDADD = $(qb_pg_libs)
%C%_lib_json_get_LDADD = $(JANSSON_LIBS)
%C%_lib_make_record_SOURCES = %D%/lib/make-record.c $(run_maker)
%C%_lib_make_record_LDADD = $(qb_record_libs)
%C%_lib_make_segment_SOURCES = %D%/lib/make-segment.c $(segment_maker)
%C%_lib_make_segment_LDADD = $(qb_record_libs)
%C%_lib_one_syncer_LDADD = $(qb_sync_libs)
%C%_lib_private_server_LDADD = $(qb_pg_libs)

# ---- interop: with the libraries themselves, in Go; its modules come over the network, so it is not part of check
# ---- but of check-interop.
interop_programs = %D%/interop/river-peer
interop_scripts = %D%/interop/river.tap
%C%_interop_river_peer_LDADD = $(qb_queue_libs)
EXTRA_DIST += \
	%D%/interop/river.sh \
	%D%/interop/river/go.mod \
	%D%/interop/river/go.sum \
	%D%/interop/river/jobs.go \
	%D%/interop/river/main.go \
	%D%/interop/river/newest.mod \
	%D%/interop/river/newest.sum \
	%D%/interop/river/validate-newest.go \
	%D%/interop/river/validate.go \
	%D%/interop/river/work.go

check_PROGRAMS += $(unit_programs) $(model_programs) $(stress_programs) $(crash_programs) $(interop_programs) \
	$(fuzz_targets) $(fuzz_by_hand) $(pg_programs) $(helper_programs) %D%/lint/print-layout
dist_check_SCRIPTS += $(stress_scripts) $(crash_scripts) $(pg_scripts) $(cli_scripts) \
	$(bug_scripts) $(fuzz_scripts) $(interop_scripts) $(build_scripts) $(lint_scripts)
EXTRA_PROGRAMS += $(bench_programs)
CLEANFILES += $(bench_programs)

stress_tests = $(stress_programs) $(stress_scripts)
crash_tests = $(crash_programs) $(crash_scripts)
pg_tests = $(pg_programs) $(pg_scripts)
fuzz_programs = $(fuzz_targets) $(fuzz_by_hand)
TESTS += $(lint_scripts) $(unit_programs) $(model_programs) $(fuzz_programs) $(crash_tests) $(stress_tests) \
	$(pg_tests) $(cli_scripts) $(build_scripts)

.PHONY: check-unit check-model check-stress check-stress-threads check-crash check-crash-long check-proof check-deep \
	check-pg check-cli check-lint check-build check-bugs check-fuzz check-interop \
	check-storm check-loop check-sanitized bench distcheck-short

# These build what their tests need and no more.
check-unit:
	rm -f $(unit_programs:=.log) $(unit_programs:=.trs)
	$(MAKE) $(AM_MAKEFLAGS) $(TEST_SUITE_LOG) TESTS='$(unit_programs)'
check-model:
	rm -f $(model_programs:=.log) $(model_programs:=.trs)
	$(MAKE) $(AM_MAKEFLAGS) $(TEST_SUITE_LOG) TESTS='$(model_programs)'
check-lint: %D%/lint/print-layout$(EXEEXT)
	rm -f $(lint_scripts:.tap=.log) $(lint_scripts:.tap=.trs)
	$(MAKE) $(AM_MAKEFLAGS) $(TEST_SUITE_LOG) TESTS='$(lint_scripts)'
check-build:
	rm -f $(build_scripts:.tap=.log) $(build_scripts:.tap=.trs)
	$(MAKE) $(AM_MAKEFLAGS) $(TEST_SUITE_LOG) TESTS='$(build_scripts)'
check-bugs: qbench$(EXEEXT) decode-events$(EXEEXT) $(helper_programs)
	rm -f $(bug_scripts:.tap=.log) $(bug_scripts:.tap=.trs)
	$(MAKE) $(AM_MAKEFLAGS) $(TEST_SUITE_LOG) TESTS='$(bug_scripts)'
check-fuzz: $(fuzz_targets)
	rm -f $(fuzz_scripts:.tap=.log) $(fuzz_scripts:.tap=.trs)
	$(MAKE) $(AM_MAKEFLAGS) $(TEST_SUITE_LOG) TESTS='$(fuzz_scripts)'
check-interop: $(interop_programs) $(helper_programs)
	rm -f $(interop_scripts:.tap=.log) $(interop_scripts:.tap=.trs)
	$(MAKE) $(AM_MAKEFLAGS) $(TEST_SUITE_LOG) TESTS='$(interop_scripts)'
# Long enough for the floors of tests/crash/figures.sh, in minutes.
check-stress:
	QB_CRASH_FACTOR=$${QB_CRASH_FACTOR-10} QB_MODEL_SEEDS=$${QB_MODEL_SEEDS-1500} \
	CK_TIMEOUT_MULTIPLIER=$${CK_TIMEOUT_MULTIPLIER-20} \
		$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(model_programs) $(stress_tests)'
check-stress-threads:
	rm -f $(stress_thread_programs:=.log) $(stress_thread_programs:=.trs)
	$(MAKE) $(AM_MAKEFLAGS) $(TEST_SUITE_LOG) TESTS='$(stress_thread_programs)'
check-crash:
	QB_CRASH_BUILDS=$${QB_CRASH_BUILDS-all} QB_MODEL_BUGS=1 $(MAKE) $(AM_MAKEFLAGS) check TESTS='$(crash_tests)'
# All that tries to prove the opposite of doc/crash-model.md, then what it has counted, against the floors of
# tests/crash/figures.sh.  Needs a server, clang with libFuzzer, spin and strace: what is skipped misses its floor.
# check-deep is the part of it that check does for a shorter time; what check has counted already it adds.
wire_tests = %D%/pg/wire %D%/pg/wire-queue %D%/pg/wire-effect
proof_tests = $(crash_programs) %D%/promela/spin.tap %D%/pg/faults %D%/pg/faults-full %D%/pg/faults-content \
	%D%/pg/test-failover %D%/pg/syscalls.tap %D%/pg/selftest.tap
check-proof:
	rm -f $(TEST_LOGS) $(fuzz_scripts:.tap=.log)
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(proof_tests)'
	$(MAKE) $(AM_MAKEFLAGS) check-deep
check-deep:
	QB_CRASH_BUILDS=$${QB_CRASH_BUILDS-all} QB_WIRE_CUTS=$${QB_WIRE_CUTS-720} \
		$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(fuzz_scripts) %D%/crash/steps-builds.tap $(wire_tests)'
	$(MAKE) $(AM_MAKEFLAGS) check-stress
	$(top_srcdir)/tests/crash/figures.sh tests
# For a night: each program for so many minutes, with samples as dense as they get.
check-crash-long:
	QB_CRASH_FACTOR=$${QB_CRASH_FACTOR-100} QB_CRASH_MINUTES=$${QB_CRASH_MINUTES-120} QB_MODEL_BUGS=1 \
		$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(crash_tests) $(stress_programs)'
	$(top_srcdir)/tests/crash/figures.sh tests/crash kill_points double_crashes schedules real_kills
# What is worth its time in a build with sanitizers: the programs, and the scripts that run the product under kills.
# (Servers that break, connections cut at each byte, single steps, long schedules and thousands of forks are tried in the
# ordinary build.)
sanitized_pg_programs = $(filter-out %D%/pg/faults% %D%/pg/test-failover %D%/pg/test-cluster %D%/pg/test-sweep \
	%D%/pg/test-queue-cut %D%/pg/test-restore-cut %D%/pg/test-sync-cut %D%/pg/wire%,$(pg_programs))
sanitized_crash_programs = $(filter-out %D%/crash/fault-points %D%/crash/schedules %D%/crash/steps \
	%D%/crash/storage-kills,$(crash_programs))
sanitized_tests = $(unit_programs) $(model_programs) $(fuzz_programs) $(sanitized_crash_programs) $(stress_tests) \
	$(sanitized_pg_programs) $(cli_scripts) %D%/pg/jsonl.tap %D%/pg/kill-all.tap
check-sanitized: qbench$(EXEEXT) decode-events$(EXEEXT) $(helper_programs)
	rm -f $(TEST_LOGS)
	$(MAKE) $(AM_MAKEFLAGS) $(TEST_SUITE_LOG) TESTS='$(sanitized_tests)'
check-pg:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(pg_tests)'
# Only the storms, for so many minutes.
check-storm: qbench$(EXEEXT)
	./qbench$(EXEEXT) selftest --minutes=$${QB_STORM_MINUTES-10} --seed=$${QB_STORM_SEED-1}
check-cli:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(cli_scripts)'

# Until something fails.
check-loop:
	n=0; while $(MAKE) $(AM_MAKEFLAGS) check; do n=`expr $$n + 1`; echo "check-loop: $$n passed"; done; \
	echo "check-loop: failed in round `expr $$n + 1`; see $(TEST_SUITE_LOG)" >&2; exit 1

# BENCH_FLAGS goes to each of them: --reps=N, --strict.
bench: $(bench_programs) decode-events$(EXEEXT)
	@for program in $(bench_programs); do ./$$program $(BENCH_FLAGS) || exit 1; done

# The release gate without the long tests.
distcheck-short:
	$(MAKE) $(AM_MAKEFLAGS) distcheck TESTS='$(cli_scripts)' check_PROGRAMS='$(helper_programs)'

installcheck-local:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(cli_scripts)' QB_TEST_BINDIR='$(DESTDIR)$(bindir)'
