# SPDX-License-Identifier: Apache-2.0
# The --enable switches: each is one call here and one line in the summary.

# QB_FEATURE(name, help, [VARIABLE, description])
#
# Defines the switch --enable-NAME (off by default), the shell variable qb_NAME ("yes" or "no",
# dashes as underscores) and, when VARIABLE is given, VARIABLE in config.h.
AC_DEFUN([QB_FEATURE], [
AC_ARG_ENABLE([$1],
	[AS_HELP_STRING([--enable-$1], [$2 @<:@no@:>@])],
	[AS_CASE([$enableval],
		[yes|no], [],
		[AC_MSG_ERROR([--enable-$1 takes no value (or yes or no), and not "$enableval"])])
	AS_VAR_SET(AS_TR_SH([qb_$1]), [$enableval])],
	[AS_VAR_SET(AS_TR_SH([qb_$1]), [no])])
m4_ifval([$3], [AS_VAR_IF(AS_TR_SH([qb_$1]), [yes], [AC_DEFINE([$3], [1], [$4])])])
AS_VAR_APPEND([qb_features], [" $1=$AS_TR_SH([qb_$1])"])
])

# QB_SANITIZERS
#
# --enable-sanitizers=LIST: sets QB_SAN_CFLAGS and QB_SAN_LDFLAGS after a trial build,
# QB_NOSAN_CFLAGS for what must be compiled without, and qb_sanitizers ("none", or the list).
AC_DEFUN([QB_SANITIZERS], [
AC_ARG_ENABLE([sanitizers],
	[AS_HELP_STRING([--enable-sanitizers=LIST],
		[build with these compiler sanitizers: address,undefined or thread @<:@none@:>@])],
	[], [enable_sanitizers=no])
AS_CASE([$enable_sanitizers],
	[no|none], [qb_sanitizers=none],
	[yes], [qb_sanitizers=address,undefined],
	[qb_sanitizers=$enable_sanitizers])
QB_SAN_CFLAGS=
QB_SAN_LDFLAGS=
QB_NOSAN_CFLAGS=
AS_IF([test "$qb_sanitizers" != none], [
	qb_save_IFS=$IFS; IFS=,
	for qb_san in $qb_sanitizers; do
		AS_CASE([$qb_san], [address|undefined|thread|leak], [],
			[AC_MSG_ERROR([--enable-sanitizers: unknown sanitizer "$qb_san"; known are address, undefined, leak and thread])])
	done
	IFS=$qb_save_IFS
	AS_CASE([",$qb_sanitizers,"],
		[*,thread,*address,*|*,address,*thread,*|*,thread,*leak,*|*,leak,*thread,*],
		[AC_MSG_ERROR([--enable-sanitizers: thread goes neither with address nor with leak; make two builds])])
	QB_NOSAN_CFLAGS="-fno-sanitize=$qb_sanitizers"
	QB_SAN_LDFLAGS="-fsanitize=$qb_sanitizers"
	QB_SAN_CFLAGS="-fsanitize=$qb_sanitizers -fno-omit-frame-pointer"
	AS_CASE([",$qb_sanitizers,"], [*,undefined,*],
		[AS_VAR_APPEND([QB_SAN_CFLAGS], [" -fno-sanitize-recover=undefined"])])
	AC_MSG_CHECKING([whether $CC links with -fsanitize=$qb_sanitizers])
	qb_save_CFLAGS=$CFLAGS; CFLAGS="$CFLAGS $QB_SAN_CFLAGS"
	AC_LINK_IFELSE([AC_LANG_PROGRAM()], [qb_san_ok=yes], [qb_san_ok=no])
	CFLAGS=$qb_save_CFLAGS
	AC_MSG_RESULT([$qb_san_ok])
	AS_IF([test $qb_san_ok = no],
		[AC_MSG_ERROR([$CC cannot link with -fsanitize=$qb_sanitizers; install its sanitizer libraries
  (Debian: libgcc-*-dev or libclang-rt-*-dev; Fedora: libasan libubsan libtsan, or compiler-rt), or leave the switch out])])
])
AC_SUBST([QB_SAN_CFLAGS])
AC_SUBST([QB_SAN_LDFLAGS])
AC_SUBST([QB_NOSAN_CFLAGS])
AS_VAR_APPEND([qb_features], [" sanitizers=$qb_sanitizers"])
])

# QB_CFLAGS(VARIABLE, flag...)
#
# Appends each flag that the compiler takes without a word to VARIABLE.
AC_DEFUN([QB_CFLAGS], [
m4_foreach_w([qb_flag], [$2], [
	AS_VAR_PUSHDEF([qb_cache], [qb_cv_cflag_[]qb_flag])
	AC_CACHE_CHECK([whether $CC takes qb_flag], [qb_cache], [
		qb_save_CFLAGS=$CFLAGS; CFLAGS="$CFLAGS -Werror qb_flag"
		AC_COMPILE_IFELSE([AC_LANG_PROGRAM()], [AS_VAR_SET([qb_cache], [yes])],
			[AS_VAR_SET([qb_cache], [no])])
		CFLAGS=$qb_save_CFLAGS])
	AS_VAR_IF([qb_cache], [yes], [AS_VAR_APPEND([$1], [" qb_flag"])])
	AS_VAR_POPDEF([qb_cache])
])
AC_SUBST([$1])
])
