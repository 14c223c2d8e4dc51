# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-shm.a
%C%_libqb_shm_a_SOURCES = \
	%D%/align.h \
	%D%/arena.c %D%/arena.h \
	%D%/atomic.h \
	%D%/block.c %D%/block.h \
	%D%/check.c %D%/check.h \
	%D%/clock.c %D%/clock.h \
	%D%/crc.c %D%/crc.h \
	%D%/event.c %D%/event.h \
	%D%/fault.c %D%/fault.h \
	%D%/hint.h \
	%D%/job.c %D%/job.h \
	%D%/join.c %D%/join.h \
	%D%/key.c %D%/key.h \
	%D%/layout.h \
	%D%/names.c \
	%D%/recovery.c %D%/recovery.h \
	%D%/restore.c %D%/restore.h \
	%D%/ring.c %D%/ring.h \
	%D%/seat.c %D%/seat.h \
	%D%/segment.c %D%/segment.h \
	%D%/status.c %D%/status.h \
	%D%/wait.c %D%/wait.h
