# SPDX-License-Identifier: Apache-2.0
# Libraries: what is missing is collected, so that one run of configure names all of it.

# QB_MISSING(what, Debian package, Fedora package)
AC_DEFUN([QB_MISSING], [
AS_VAR_APPEND([qb_missing], ["
  $1: Debian and Ubuntu $2; Fedora $3"])
])

# QB_LIBRARY(VARIABLE, pkg-config condition, Debian package, Fedora package,
#            [other pkg-config condition], [note])
#
# Sets VARIABLE_CFLAGS, VARIABLE_LIBS and qb_VARIABLE_text (name and version, for the summary).
# The second condition is tried where the first is not met.  With "optional" as note a library
# that is missing is only marked as such: qb_have_VARIABLE=no.
# Headers of others come in as system headers: their warnings are not ours to mend.
AC_DEFUN([QB_LIBRARY], [
qb_have_$1=yes
PKG_CHECK_MODULES([$1], [$2], [qb_pc_$1="$2"], [
	m4_ifval([$5],
		[PKG_CHECK_MODULES([$1], [$5], [qb_pc_$1="$5"], [qb_have_$1=no])],
		[qb_have_$1=no])])
AS_IF([test $qb_have_$1 = yes], [
	qb_$1_text=`echo "$qb_pc_$1" | sed 's/ .*//'`
	qb_$1_text="$qb_$1_text `$PKG_CONFIG --modversion $qb_$1_text`"
	$1_CFLAGS=`echo " $$1_CFLAGS" | sed 's/ -I */ -isystem /g; s/^ //'`
], [
	qb_$1_text=missing
	m4_if([$6], [optional], [], [QB_MISSING([$2], [$3], [$4])])
])
])

# QB_REQUIRE_ALL
#
# Ends configure when anything was reported by QB_MISSING.
AC_DEFUN([QB_REQUIRE_ALL], [
AS_IF([test -n "$qb_missing"], [
	AC_MSG_ERROR([missing or too old:$qb_missing
Run tools/install-deps, which installs them all, or install the package named for each.
(A library in a place of its own is found through PKG_CONFIG_PATH; see config.log for what was tried.)])])
])
