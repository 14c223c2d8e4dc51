# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-pg.a
%C%_libqb_pg_a_CPPFLAGS = $(AM_CPPFLAGS) $(LIBPQ_CFLAGS)
%C%_libqb_pg_a_SOURCES = \
	%D%/array.c %D%/array.h \
	%D%/bindir.c \
	%D%/cluster.c %D%/cluster.h \
	%D%/conn.c %D%/conn.h \
	%D%/exec.c %D%/exec.h \
	%D%/listen.c \
	%D%/owner.c %D%/owner.h \
	%D%/setup.c %D%/setup.h \
	%D%/spawn.c %D%/spawn.h \
	%D%/standby.c %D%/standby.h \
	%D%/stats.c %D%/stats.h \
	%D%/sweep.c \
	%D%/value.c
