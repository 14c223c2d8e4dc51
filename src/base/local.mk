# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-base.a
%C%_libqb_base_a_SOURCES = \
	%D%/cacheset.h \
	%D%/clock.c %D%/clock.h \
	%D%/cores.c %D%/cores.h \
	%D%/err.c %D%/err.h \
	%D%/fdio.c %D%/fdio.h \
	%D%/host.c %D%/host.h \
	%D%/keyset.h \
	%D%/log.c %D%/log.h \
	%D%/num.c %D%/num.h \
	%D%/outcome.h \
	%D%/proc.c %D%/proc.h \
	%D%/remove.c \
	%D%/rng.c %D%/rng.h \
	%D%/strbuf.c %D%/strbuf.h \
	%D%/visible.c %D%/visible.h
