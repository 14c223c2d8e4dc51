# SPDX-License-Identifier: Apache-2.0
bin_PROGRAMS += qbench
qbench_SOURCES = \
	%D%/cmd.h \
	%D%/cmd-demo.c \
	%D%/cmd-inspect.c \
	%D%/cmd-list.c \
	%D%/cmd-plan.c \
	%D%/cmd-recover.c \
	%D%/cmd-report.c \
	%D%/cmd-run.c \
	%D%/cmd-selftest.c \
	%D%/help.c \
	%D%/interrupt.c %D%/interrupt.h \
	%D%/inspect-json.c \
	%D%/inspect-text.c \
	%D%/inspect.c %D%/inspect.h \
	%D%/main.c \
	%D%/opts.c %D%/opts.h \
	%D%/parse.c \
	%D%/runs.c %D%/runs.h \
	%D%/version.c
qbench_LDADD = src/report/libqb-report.a $(qb_run_libs)

# Loaded by bash when somebody completes "qbench".
completiondir = $(datadir)/bash-completion/completions
dist_completion_DATA = tools/completion/qbench.bash
