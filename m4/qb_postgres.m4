# SPDX-License-Identifier: Apache-2.0

# QB_POSTGRES(minimum major version)
#
# Finds a directory that holds initdb and postgres of one version: --with-postgres-bindir,
# then the path, pg_config --bindir, the newest of Debian's versioned directories, the newest of
# PGDG's on Fedora.  Sets qb_postgres_bindir and qb_postgres_version, both empty when there is
# none: the program looks again when it runs, so this is no error.
AC_DEFUN([QB_POSTGRES], [
AC_ARG_WITH([postgres-bindir],
	[AS_HELP_STRING([--with-postgres-bindir=DIR],
		[directory with initdb and postgres, for private servers @<:@search@:>@])],
	[], [with_postgres_bindir=search])

# Sets qb_pg_version when directory $[]1 has both programs in one version >= $1.
qb_pg_try ()
{
	qb_pg_version=
	test -x "$[]1/initdb" && test -x "$[]1/postgres" || return 1
	qb_pg_v1=`"$[]1/initdb" --version 2>/dev/null | sed 's/^initdb (PostgreSQL) *//; s/ .*//'`
	qb_pg_v2=`"$[]1/postgres" --version 2>/dev/null | sed 's/^postgres (PostgreSQL) *//; s/ .*//'`
	qb_pg_major=`echo "$qb_pg_v1" | sed 's/@<:@^0-9@:>@.*//'`
	test -n "$qb_pg_major" && test "$qb_pg_v1" = "$qb_pg_v2" && test "$qb_pg_major" -ge $1 || return 1
	qb_pg_version=$qb_pg_v1
}

AC_MSG_CHECKING([for the PostgreSQL server programs])
qb_postgres_bindir=
qb_postgres_version=
AS_CASE([$with_postgres_bindir],
[no], [],
[yes], [AC_MSG_ERROR([--with-postgres-bindir needs a directory])],
[search], [
	qb_pg_places=`command -v initdb`
	AS_IF([test -n "$qb_pg_places"],
		[qb_pg_places=`readlink -f "$qb_pg_places" | sed 's|/@<:@^/@:>@*$||'`])
	qb_pg_places="$qb_pg_places `(pg_config --bindir) 2>/dev/null`"
	qb_pg_places="$qb_pg_places `ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t / -k 5,5nr`"
	qb_pg_places="$qb_pg_places `ls -d /usr/pgsql-*/bin 2>/dev/null | sort -t - -k 2,2nr`"
	for qb_pg_dir in $qb_pg_places; do
		AS_IF([qb_pg_try "$qb_pg_dir"], [qb_postgres_bindir=$qb_pg_dir; break])
	done
], [
	AS_IF([qb_pg_try "$with_postgres_bindir"], [qb_postgres_bindir=$with_postgres_bindir],
		[AC_MSG_RESULT([no])
		AC_MSG_ERROR([--with-postgres-bindir=$with_postgres_bindir: there are no initdb and postgres of one version, $1 or newer;
  name the directory that holds both (Debian and Ubuntu: /usr/lib/postgresql/VERSION/bin), or leave the option out])])
])
AS_IF([test -n "$qb_postgres_bindir"], [
	qb_postgres_version=$qb_pg_version
	AC_MSG_RESULT([$qb_postgres_bindir ($qb_postgres_version)])
], [AC_MSG_RESULT([no])])
AC_DEFINE_UNQUOTED([QB_POSTGRES_BINDIR], ["$qb_postgres_bindir"],
	[Directory of initdb and postgres as found by configure; may be empty.])
AC_SUBST([QB_POSTGRES_BINDIR], [$qb_postgres_bindir])
])
