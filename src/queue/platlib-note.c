/* SPDX-License-Identifier: Apache-2.0 */
/* Notifications in the JSON of rsnotify and its users, over one LISTEN connection per listener. */
#include "queue/platlib-inside.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "pg/conn.h"
#include "shm/status.h"

#define GUID_BYTES 37

/* A UUID of version 4. Nobody compares them; they make two notifications of one transaction different. */
static const char *new_guid(char buf[GUID_BYTES])
{
	uint8_t r[16] = { 0 };

	if (getrandom(r, sizeof(r), 0) != sizeof(r))
		memset(r, 0, sizeof(r));
	r[6] = (uint8_t)((r[6] & 0x0f) | 0x40);
	r[8] = (uint8_t)((r[8] & 0x3f) | 0x80);
	snprintf(buf, GUID_BYTES, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1], r[2],
		 r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15]);
	return buf;
}

const char *qb_platlib_note_ready(char buf[QB_PLATLIB_NOTE_BYTES], int with_guid)
{
	char guid[GUID_BYTES];

	if (with_guid)
		snprintf(buf, QB_PLATLIB_NOTE_BYTES, "{\"NotifyGuid\":\"%s\",\"NotifyType\":%d}", new_guid(guid),
			 QB_PLATLIB_WORK_READY);
	else
		snprintf(buf, QB_PLATLIB_NOTE_BYTES, "{\"NotifyType\":%d}", QB_PLATLIB_WORK_READY);
	return buf;
}

const char *qb_platlib_note_extend(char buf[QB_PLATLIB_NOTE_BYTES], uint64_t permit)
{
	char guid[GUID_BYTES];

	snprintf(buf, QB_PLATLIB_NOTE_BYTES, "{\"PermitID\":%llu,\"GuidVal\":\"%s\",\"MessageType\":%d}",
		 (unsigned long long)permit, new_guid(guid), QB_PLATLIB_PERMIT_EXTEND);
	return buf;
}

const char *qb_platlib_note_ping(char buf[QB_PLATLIB_NOTE_BYTES], const char *address)
{
	char guid[GUID_BYTES];

	snprintf(buf, QB_PLATLIB_NOTE_BYTES, "{\"GuidVal\":\"%s\",\"MessageType\":%d,\"SrcAddr\":\"%s\",\"DstAddr\":\"\"}",
		 new_guid(guid), QB_PLATLIB_PING, address);
	return buf;
}

void qb_platlib_note_complete(struct qb_strbuf *out, const char *address)
{
	char guid[GUID_BYTES];

	qb_strbuf_printf(out, "{\"NotifyGuid\":\"%s\",\"NotifyType\":%d,\"Address\":", new_guid(guid),
			 QB_PLATLIB_WORK_COMPLETE);
	qb_platlib_json_string(out, address);
	qb_strbuf_add(out, "}");
}

void qb_platlib_note_read(const char *payload, struct qb_platlib_note *note)
{
	size_t bytes = strlen(payload), n;
	const char *text;
	uint64_t type;

	*note = (struct qb_platlib_note){ 0 };
	if (qb_platlib_json_u64(payload, bytes, "NotifyType", &type) < 0 &&
	    qb_platlib_json_u64(payload, bytes, "MessageType", &type) < 0)
		return;
	note->type = (unsigned)type;
	if (type == QB_PLATLIB_PERMIT_EXTEND && qb_platlib_json_u64(payload, bytes, "PermitID", &note->permit) < 0)
		note->type = 0;
	if (qb_platlib_json_find(payload, bytes, type == QB_PLATLIB_PING ? "SrcAddr" : "Address", &text, &n) == 0)
		qb_platlib_json_text(text, n, note->address, sizeof(note->address));
}

int qb_platlib_take_notes(PGconn *conn, qb_platlib_note_fn fn, void *ctx, struct qb_err *err)
{
	PGnotify *notify;

	if (!PQconsumeInput(conn))
		return qb_pg_check_result(conn, NULL, "could not wait for notifications", err);
	while ((notify = PQnotifies(conn))) {
		struct qb_platlib_note note;

		qb_platlib_note_read(notify->extra, &note);
		PQfreemem(notify);
		if (fn && note.type)
			fn(ctx, &note);
	}
	return 0;
}

int qb_platlib_await(PGconn *conn, int extra_fd, uint64_t deadline_ns, struct qb_err *err)
{
	struct pollfd p[2] = { { .fd = PQsocket(conn), .events = POLLIN }, { .fd = extra_fd, .events = POLLIN } };
	uint64_t now = qb_now_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
	struct timespec ts = { .tv_sec = (time_t)(left / QB_NS_PER_S), .tv_nsec = (long)(left % QB_NS_PER_S) };

	if (ppoll(p, 2, &ts, NULL) < 0 && errno != EINTR)
		return qb_err_errno(err, errno, "could not wait for notifications");
	return 0;
}
