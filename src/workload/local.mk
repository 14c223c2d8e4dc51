# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-workload.a
%C%_libqb_workload_a_SOURCES = \
	%D%/builtin.h \
	%D%/ini.c %D%/ini.h \
	%D%/keys.c %D%/keys.h \
	%D%/pcg.c %D%/pcg.h \
	%D%/plan.c %D%/plan.h \
	%D%/scenario.c %D%/scenario.h
nodist_%C%_libqb_workload_a_SOURCES = %D%/builtin.c

# Built in and installed. "qbench list" shows them in this order.
scenariodir = $(pkgdatadir)/scenarios
dist_scenario_DATA = \
	%D%/scenarios/crash_recovery.ini \
	%D%/scenarios/storm.ini \
	%D%/scenarios/steady_under.ini \
	%D%/scenarios/steady_balanced.ini \
	%D%/scenarios/steady_over.ini \
	%D%/scenarios/burst.ini \
	%D%/scenarios/burst_tuned.ini \
	%D%/scenarios/multi_process.ini \
	%D%/scenarios/retry_jitter.ini \
	%D%/scenarios/noisy_neighbor.ini \
	%D%/scenarios/noisy_neighbor_saturated.ini \
	%D%/scenarios/rate_limit_pressure.ini \
	%D%/scenarios/notify_latency.ini \
	%D%/scenarios/high_scale.ini \
	%D%/scenarios/idempotent_enqueue.ini \
	%D%/scenarios/cache_dedup.ini \
	%D%/scenarios/cache_concurrent_miss.ini

EXTRA_DIST += %D%/embed.sh
BUILT_SOURCES += %D%/builtin.c
CLEANFILES += %D%/builtin.c

# By way of another file: an interrupted make must not leave half a source that looks new.
%D%/builtin.c: %D%/embed.sh %D%/local.mk $(dist_scenario_DATA)
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	$(SHELL) $(srcdir)/%D%/embed.sh $(srcdir) $(dist_scenario_DATA) >$@.tmp && mv $@.tmp $@
