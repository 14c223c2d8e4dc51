# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-queue.a
%C%_libqb_queue_a_SOURCES = \
	%D%/args.h \
	%D%/options.c %D%/options.h \
	%D%/pgtx.c \
	%D%/queue.h \
	%D%/registry.c \
	%D%/shm.c \
	%D%/shm-effect.c %D%/shm-effect.h
%C%_libqb_queue_a_CPPFLAGS = $(AM_CPPFLAGS) $(LIBPQ_CFLAGS)
