# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-cache.a
%C%_libqb_cache_a_SOURCES = \
	%D%/cache.c %D%/cache.h \
	%D%/failure.c %D%/failure.h \
	%D%/memory.c %D%/memory.h \
	%D%/storage.c %D%/storage.h \
	%D%/storage-get.c \
	%D%/storage-move.c \
	%D%/storage-parts.h \
	%D%/storage-place.c \
	%D%/storage-put.c %D%/storage-put.h \
	%D%/storage-temp.c \
	%D%/storage-walk.c
%C%_libqb_cache_a_CPPFLAGS = $(AM_CPPFLAGS) $(LIBPQ_CFLAGS)
