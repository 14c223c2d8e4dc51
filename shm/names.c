/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the enums in layout.h, and the table of its fields that the fingerprint is made of. */
#include <string.h>

#include "shm/segment.h"

const char *qb_job_state_name(uint32_t state)
{
	static const char *const names[QB_JOB_STATE_COUNT] = {
		"free", "filling", "ready", "claimed", "started", "done", "failed", "ambiguous", "synced",
		"waiting", "dead",
	};

	return state < QB_JOB_STATE_COUNT ? names[state] : "?";
}

const char *qb_role_name(uint32_t role)
{
	static const char *const names[QB_ROLE_COUNT] = {
		"none", "driver", "parent", "syncer", "worker", "standby", "tool",
	};

	return role < QB_ROLE_COUNT ? names[role] : "?";
}

const char *qb_event_type_name(uint32_t type)
{
	static const char *const names[QB_EV_TYPE_COUNT] = {
		"none", "job_submitted", "job_enqueued", "enqueue_failed", "job_started", "job_completed",
		"job_failed", "job_discarded", "job_fenced", "job_requeued", "job_ambiguous",
		"worker_spawned", "worker_ready", "worker_killed", "worker_died", "recovered", "taken_over",
		"sync_committed", "sync_lost", "sync_back", "resource_sample", "verdict", "worker_stopped",
		"cache_request", "cache_work",
	};

	return type < QB_EV_TYPE_COUNT ? names[type] : "?";
}

#define FIELD(type, field) \
	{ #type "." #field, offsetof(struct type, field), sizeof(((struct type *)0)->field) }
#define WHOLE(type) { #type, 0, sizeof(struct type) }

static const struct { const char *name; uint64_t off, bytes; } table[] = {
	WHOLE(qb_header_shm),
	FIELD(qb_header_shm, magic), FIELD(qb_header_shm, endian), FIELD(qb_header_shm, major),
	FIELD(qb_header_shm, minor), FIELD(qb_header_shm, header_bytes),
	FIELD(qb_header_shm, compat_flags), FIELD(qb_header_shm, incompat_flags),
	FIELD(qb_header_shm, clock_mode), FIELD(qb_header_shm, layout_fp),
	FIELD(qb_header_shm, total_bytes), FIELD(qb_header_shm, boot_id),
	FIELD(qb_header_shm, creator_start_ticks), FIELD(qb_header_shm, creator_pid),
	FIELD(qb_header_shm, creator_uid), FIELD(qb_header_shm, created_wall_ns),
	FIELD(qb_header_shm, cluster_id), FIELD(qb_header_shm, run_id), FIELD(qb_header_shm, config),
	FIELD(qb_header_shm, section), FIELD(qb_header_shm, clock_first),
	FIELD(qb_header_shm, clock_last), FIELD(qb_header_shm, clock_last_idx),
	FIELD(qb_header_shm, state), FIELD(qb_header_shm, stop), FIELD(qb_header_shm, syncer_seat),
	FIELD(qb_header_shm, submitter_seat), FIELD(qb_header_shm, takeovers),
	FIELD(qb_header_shm, parent_seat), FIELD(qb_header_shm, high_water),
	FIELD(qb_header_shm, block_high_water), FIELD(qb_header_shm, free_from),
	FIELD(qb_header_shm, block_from), FIELD(qb_header_shm, next_due_ns),
	FIELD(qb_header_shm, mark_batch), FIELD(qb_header_shm, mark_epoch),
	FIELD(qb_header_shm, mark_accepted), FIELD(qb_header_shm, mark_final),
	FIELD(qb_header_shm, mark_events), FIELD(qb_header_shm, mark_commit_wall_ns),
	FIELD(qb_header_shm, mark_connected), FIELD(qb_header_shm, mark_kept),
	FIELD(qb_header_shm, mark_released), FIELD(qb_header_shm, mark_timeline),
	FIELD(qb_header_shm, sleepers),
	FIELD(qb_header_shm, ready), FIELD(qb_header_shm, loss), FIELD(qb_header_shm, loss_idx),
	WHOLE(qb_config_shm),
	FIELD(qb_config_shm, job_count), FIELD(qb_config_shm, seat_count),
	FIELD(qb_config_shm, ring_count), FIELD(qb_config_shm, block_count),
	FIELD(qb_config_shm, block_bytes), FIELD(qb_config_shm, arena_bytes),
	FIELD(qb_config_shm, event_count), FIELD(qb_config_shm, effect_count),
	FIELD(qb_config_shm, readers), FIELD(qb_config_shm, event_overflow),
	FIELD(qb_config_shm, ack_mode), FIELD(qb_config_shm, worker_count),
	FIELD(qb_config_shm, standby_count), FIELD(qb_config_shm, slots_per_worker),
	FIELD(qb_config_shm, backoff), FIELD(qb_config_shm, jitter_permille),
	FIELD(qb_config_shm, max_claims), FIELD(qb_config_shm, spin_ns), FIELD(qb_config_shm, seed),
	FIELD(qb_config_shm, queue), FIELD(qb_config_shm, meta_bytes),
	FIELD(qb_config_shm, ledger), FIELD(qb_config_shm, poll_ns), FIELD(qb_config_shm, replicas),
	WHOLE(qb_section_shm),
	FIELD(qb_section_shm, off), FIELD(qb_section_shm, bytes), FIELD(qb_section_shm, stride),
	FIELD(qb_section_shm, count),
	WHOLE(qb_triple_shm),
	FIELD(qb_triple_shm, raw), FIELD(qb_triple_shm, mono_ns), FIELD(qb_triple_shm, wall_ns),
	WHOLE(qb_loss_shm),
	FIELD(qb_loss_shm, epoch), FIELD(qb_loss_shm, rewinds), FIELD(qb_loss_shm, accepted),
	FIELD(qb_loss_shm, changes), FIELD(qb_loss_shm, outcomes), FIELD(qb_loss_shm, events),
	FIELD(qb_loss_shm, gone_batches), FIELD(qb_loss_shm, gone),
	WHOLE(qb_seat_shm),
	FIELD(qb_seat_shm, word), FIELD(qb_seat_shm, name), FIELD(qb_seat_shm, birth),
	FIELD(qb_seat_shm, ready_raw), FIELD(qb_seat_shm, ending), FIELD(qb_seat_shm, backend_pid),
	FIELD(qb_seat_shm, recent),
	FIELD(qb_seat_shm, asleep),
	FIELD(qb_seat_shm, go), FIELD(qb_seat_shm, counter),
	WHOLE(qb_job_shm),
	FIELD(qb_job_shm, word), FIELD(qb_job_shm, sync), FIELD(qb_job_shm, job_id),
	FIELD(qb_job_shm, due_ns), FIELD(qb_job_shm, submitted_raw), FIELD(qb_job_shm, work_us),
	FIELD(qb_job_shm, tenant), FIELD(qb_job_shm, kind), FIELD(qb_job_shm, error_class),
	FIELD(qb_job_shm, max_attempts), FIELD(qb_job_shm, effect_class),
	FIELD(qb_job_shm, payload_bytes), FIELD(qb_job_shm, payload_crc),
	FIELD(qb_job_shm, block_first), FIELD(qb_job_shm, result_bytes), FIELD(qb_job_shm, result_pos),
	FIELD(qb_job_shm, result_crc), FIELD(qb_job_shm, joined), FIELD(qb_job_shm, key_hi), FIELD(qb_job_shm, key_lo),
	FIELD(qb_job_shm, holder),
	WHOLE(qb_key_bucket_shm), FIELD(qb_key_bucket_shm, pending), FIELD(qb_key_bucket_shm, cell),
	WHOLE(qb_ring_shm), FIELD(qb_ring_shm, head), FIELD(qb_ring_shm, tail),
	WHOLE(qb_block_shm), FIELD(qb_block_shm, tag), FIELD(qb_block_shm, next),
	WHOLE(qb_arena_shm), FIELD(qb_arena_shm, head), FIELD(qb_arena_shm, tail),
	WHOLE(qb_arena_entry_shm),
	FIELD(qb_arena_entry_shm, token), FIELD(qb_arena_entry_shm, slot_idx),
	FIELD(qb_arena_entry_shm, bytes), FIELD(qb_arena_entry_shm, crc),
	WHOLE(qb_event_ring_shm),
	FIELD(qb_event_ring_shm, tail), FIELD(qb_event_ring_shm, dropped),
	FIELD(qb_event_ring_shm, waited), FIELD(qb_event_ring_shm, reader),
	WHOLE(qb_event_shm),
	FIELD(qb_event_shm, seq), FIELD(qb_event_shm, raw), FIELD(qb_event_shm, job_id),
	FIELD(qb_event_shm, token), FIELD(qb_event_shm, arg0), FIELD(qb_event_shm, arg1),
	FIELD(qb_event_shm, slot_idx), FIELD(qb_event_shm, tenant), FIELD(qb_event_shm, type),
	FIELD(qb_event_shm, seat), FIELD(qb_event_shm, kind), FIELD(qb_event_shm, error_class),
	FIELD(qb_event_shm, attempt),
};

void qb_layout_each(void (*fn)(const char *name, uint64_t off, uint64_t bytes, void *ctx), void *ctx)
{
	for (size_t i = 0; i < QB_ARRAY_COUNT(table); i++)
		fn(table[i].name, table[i].off, table[i].bytes, ctx);
}

static uint64_t fnv1a(uint64_t h, const void *data, size_t bytes)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < bytes; i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return h;
}

uint64_t qb_layout_fingerprint(void)
{
	static uint64_t fp;

	if (fp)
		return fp;
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < QB_ARRAY_COUNT(table); i++) {
		h = fnv1a(h, table[i].name, strlen(table[i].name) + 1);
		h = fnv1a(h, &table[i].off, sizeof(table[i].off));
		h = fnv1a(h, &table[i].bytes, sizeof(table[i].bytes));
	}
	fp = h ? h : 1;
	return fp;
}
