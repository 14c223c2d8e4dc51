# SPDX-License-Identifier: Apache-2.0
# decode-events is installed; install-deps is for the source tree.
bin_PROGRAMS += decode-events
decode_events_SOURCES = \
	%D%/decode-chrome.c \
	%D%/decode-events.c \
	%D%/decode-jsonl.c \
	%D%/decode-names.c \
	%D%/decode-summary.c \
	%D%/decode.h \
	%D%/emit.c %D%/emit.h
decode_events_LDADD = $(qb_record_libs)

EXTRA_DIST += %D%/install-deps
