# SPDX-License-Identifier: Apache-2.0
# The report at the end of configure, aligned; silent under --quiet like everything else.

# QB_SUMMARY_TITLE(title)
AC_DEFUN([QB_SUMMARY_TITLE], [AS_ECHO(["$1"]) >&AS_MESSAGE_FD])

# QB_SUMMARY(label, value)
AC_DEFUN([QB_SUMMARY], [printf '  %-22s %s\n' "$1" "$2" >&AS_MESSAGE_FD])

# QB_TEST_TOOL(program, what it is for)
#
# Looks for a program that only tests or developers use; a line of the summary comes of it.
AC_DEFUN([QB_TEST_TOOL], [
AC_CHECK_PROG([qb_tool_$1], [$1], [yes], [no])
AS_IF([test $qb_tool_$1 = yes], [AS_VAR_APPEND([qb_tools_found], [" $1"])],
	[AS_VAR_APPEND([qb_tools_missing], [" $1 ($2)"])])
])
