# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-stats.a
%C%_libqb_stats_a_SOURCES = \
	%D%/account.c \
	%D%/backlog.c %D%/backlog.h \
	%D%/cachetable.c %D%/cachetable.h \
	%D%/death.c %D%/death.h \
	%D%/keytable.c %D%/keytable.h \
	%D%/percentile.c %D%/percentile.h \
	%D%/process.c \
	%D%/resume.c \
	%D%/retry.c %D%/retry.h \
	%D%/share.c %D%/share.h \
	%D%/summary.c %D%/summary.h \
	%D%/tally.c %D%/tally.h
