/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Result and error codes of the whole program.
 *
 * A function that can fail returns int: 0 or a count, or a negative code.  System errors are
 * -errno; ours start at -2000 so that the two never meet.  A result that is not an error
 * (full, empty) is a positive value of enum qb_result.
 */
#ifndef QB_SHM_STATUS_H
#define QB_SHM_STATUS_H

enum qb_status {
	QB_EUSAGE = -2000,      /* the user asked for something that cannot be */
	QB_ETOOSHORT = -2001,   /* segment: the file is smaller than its header says */
	QB_ENOTREADY = -2002,   /* segment: its creator has not published it (or died before) */
	QB_EMAGIC = -2003,      /* segment: not one of ours */
	QB_EVERSION = -2004,    /* segment: another major version of the layout */
	QB_EFINGERPRINT = -2005, /* segment: same version, other struct layout */
	QB_EENDIAN = -2006,     /* segment: written on a machine of the other byte order */
	QB_EFEATURE = -2007,    /* segment: has an incompatible feature that this build lacks */
	QB_ECORRUPT = -2008,    /* a value read from a file or segment is out of its range */
	QB_EOWNER = -2009,      /* segment: belongs to somebody else, or has loose permissions */
	QB_EOTHERBOOT = -2010,  /* segment: from before the last boot; evidence only */
	QB_ENOSEAT = -2011,     /* every seat is taken */
	QB_ETOOBIG = -2012,     /* payload, result or count above its limit */
	QB_EFENCED = -2013,     /* the fence token moved on: somebody else decided this job */
	QB_EPG = -2014,         /* Postgres refused or could not be reached */
	QB_EPARSE = -2015,      /* text input could not be read */
	QB_ETIMEOUT = -2016,    /* a deadline passed */
	QB_ECHILD = -2017,      /* a child process ended in a way that it should not */
	QB_EVERIFY = -2018,     /* an accounting identity does not hold */
	QB_EINTR = -2019,       /* interrupted by the user */
	QB_ETORN = -2020,       /* record: the file ends inside a block */
	QB_EBUSY = -2021,       /* held by another live process */
	QB_ECLUSTER = -2022,    /* not the Postgres of this run: another cluster, or one that a failover left behind */
};

enum qb_result {
	QB_OK = 0,
	QB_FULL = 1,            /* no room now; try again after somebody freed some */
	QB_EMPTY = 2,           /* nothing to take now */
	QB_DUPLICATE = 3,       /* refused: one with that key is there */
};

/* Static text for a negative code of either kind; never NULL. */
const char *qb_strerror(int code);

#endif
