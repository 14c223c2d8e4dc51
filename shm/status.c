/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/status.h"

#include <string.h>

static const char *own_text(int code)
{
	switch ((enum qb_status)code) {
	case QB_EUSAGE: return "invalid request";
	case QB_ETOOSHORT: return "segment is shorter than its header says";
	case QB_ENOTREADY: return "segment was never published by its creator";
	case QB_EMAGIC: return "not a qbench segment or record";
	case QB_EVERSION: return "written by an incompatible version";
	case QB_EFINGERPRINT: return "structure layout differs from this build";
	case QB_EENDIAN: return "written on a machine of the other byte order";
	case QB_EFEATURE: return "needs a feature that this build does not have";
	case QB_ECORRUPT: return "a stored value is out of its range";
	case QB_EOWNER: return "belongs to somebody else, or its permissions are too loose";
	case QB_EOTHERBOOT: return "left behind before the last boot of this machine";
	case QB_ENOSEAT: return "every seat is taken";
	case QB_ETOOBIG: return "larger than its limit";
	case QB_EFENCED: return "decided by somebody else in the meantime";
	case QB_EPG: return "Postgres refused or could not be reached";
	case QB_EPARSE: return "text could not be read";
	case QB_ETIMEOUT: return "timed out";
	case QB_ECHILD: return "a child process ended unexpectedly";
	case QB_EVERIFY: return "verification failed";
	case QB_EINTR: return "interrupted";
	case QB_ETORN: return "ends inside a block";
	case QB_EBUSY: return "held by another live process";
	case QB_ECLUSTER: return "not the Postgres of this run";
	}
	return "unknown error";
}

const char *qb_strerror(int code)
{
	const char *text;

	if (code == QB_OK)
		return "success";
	if (code == QB_FULL)
		return "full";
	if (code == QB_EMPTY)
		return "empty";
	if (code > 0)
		return "no error";
	if (code <= QB_EUSAGE)
		return own_text(code);

	/* Known numbers are constant strings in libc; an unknown one must not become NULL. */
	text = strerror(-code);
	return text ? text : "unknown error";
}
