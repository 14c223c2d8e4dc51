# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-run.a
%C%_libqb_run_a_SOURCES = \
	%D%/board.c %D%/board.h \
	%D%/cacherun.c %D%/cacherun.h \
	%D%/cachework.c %D%/cachework.h \
	%D%/callers.c %D%/callers.h \
	%D%/children.c %D%/children.h \
	%D%/describe.c \
	%D%/drain.c \
	%D%/driver.c %D%/driver.h \
	%D%/enqueuers.c %D%/enqueuers.h \
	%D%/faults.c %D%/faults.h \
	%D%/feeder.c %D%/feeder.h \
	%D%/floor.c %D%/floor.h \
	%D%/gate.c %D%/gate.h \
	%D%/keys.c %D%/keys.h \
	%D%/leftover.c \
	%D%/load.c \
	%D%/meeting.c %D%/meeting.h \
	%D%/parent.c %D%/parent.h \
	%D%/process.c %D%/process.h \
	%D%/producers.c %D%/producers.h \
	%D%/progress.c %D%/progress.h \
	%D%/recover.c %D%/recover-pg.c \
	%D%/recorder.c %D%/recorder.h \
	%D%/run.h \
	%D%/server.c %D%/server.h \
	%D%/storm.c %D%/storm.h \
	%D%/takeover.c %D%/takeover.h \
	%D%/tend.c \
	%D%/truth.c %D%/truth.h \
	%D%/verify.c \
	%D%/worker.c
%C%_libqb_run_a_CPPFLAGS = $(AM_CPPFLAGS) $(LIBPQ_CFLAGS)
