# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-queue.a
%C%_libqb_queue_a_SOURCES = \
	%D%/address.h \
	%D%/args.h \
	%D%/options.c %D%/options.h \
	%D%/pgtx.c \
	%D%/platlib.c %D%/platlib.h \
	%D%/platlib-address.c \
	%D%/platlib-cache.c \
	%D%/platlib-group.c \
	%D%/platlib-inside.h \
	%D%/platlib-item.c \
	%D%/platlib-keeper.c \
	%D%/platlib-monitor.c \
	%D%/platlib-note.c \
	%D%/platlib-state.c \
	%D%/platlib-store.c \
	%D%/platlib-timer.c %D%/platlib-timer.h \
	%D%/queue.h \
	%D%/registry.c \
	%D%/river.c %D%/river.h \
	%D%/river-address.c \
	%D%/river-args.c \
	%D%/river-completer.c \
	%D%/river-control.c %D%/river-control.h \
	%D%/river-fetch.c \
	%D%/river-gojson.c %D%/river-gojson.h \
	%D%/river-insert.c \
	%D%/river-json.c \
	%D%/river-leader.c %D%/river-leader.h \
	%D%/river-maintenance.c \
	%D%/river-maintenance-jobs.c \
	%D%/river-maintenance-rest.c \
	%D%/river-pause.c \
	%D%/river-schema.c \
	%D%/river-setter.c \
	%D%/river-tables.h \
	%D%/river-unique.c %D%/river-unique.h \
	%D%/river-util.c \
	%D%/river-worker.c %D%/river-worker.h \
	%D%/shm.c \
	%D%/shm-address.c %D%/shm-address.h \
	%D%/shm-effect.c %D%/shm-effect.h \
	%D%/shm-unique.c %D%/shm-unique.h
%C%_libqb_queue_a_CPPFLAGS = $(AM_CPPFLAGS) $(LIBPQ_CFLAGS)
