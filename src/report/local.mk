# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-report.a
%C%_libqb_report_a_SOURCES = \
	%D%/again.c \
	%D%/cachejson.c \
	%D%/cachetable.c %D%/cachetable.h \
	%D%/draw.c \
	%D%/findings.c \
	%D%/json.c %D%/json.h %D%/json-shapes.c \
	%D%/keytable.c %D%/keytable.h \
	%D%/md.c \
	%D%/model.c %D%/model.h \
	%D%/report.c %D%/report.h \
	%D%/rows.c \
	%D%/settings.c \
	%D%/text.c \
	%D%/tracks.c \
	%D%/values.c
