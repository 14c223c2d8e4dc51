# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-sync.a
%C%_libqb_sync_a_SOURCES = \
	%D%/batch.c %D%/batch.h \
	%D%/effect.c %D%/effect.h \
	%D%/resolve.c %D%/resolve.h \
	%D%/restore.c %D%/restore.h \
	%D%/retain.c %D%/retain.h \
	%D%/rewind.c %D%/rewind.h \
	%D%/schema.c %D%/schema.h \
	%D%/send.c %D%/send.h \
	%D%/syncer.c %D%/syncer.h
%C%_libqb_sync_a_CPPFLAGS = $(AM_CPPFLAGS) $(LIBPQ_CFLAGS)
