# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += %D%/libqb-record.a
%C%_libqb_record_a_SOURCES = \
	%D%/dbload.h \
	%D%/ends.c %D%/ends.h \
	%D%/format.h \
	%D%/jobmap.c %D%/jobmap.h \
	%D%/load.c %D%/load.h \
	%D%/merge.c %D%/merge.h \
	%D%/meta.c %D%/meta.h \
	%D%/pack.h \
	%D%/reader.c %D%/reader.h \
	%D%/unpack.c %D%/unpack.h \
	%D%/writer.c %D%/writer.h
