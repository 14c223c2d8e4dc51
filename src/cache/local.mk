# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-cache.a
%C%_libqb_cache_a_SOURCES = \
	%D%/cache.c %D%/cache.h \
	%D%/memory.c %D%/memory.h \
	%D%/storage.c %D%/storage.h
%C%_libqb_cache_a_CPPFLAGS = $(AM_CPPFLAGS) $(LIBPQ_CFLAGS)
