/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every struct that lies in the segment, and nothing else.
 *
 * Lives in: the segment, one mapped file.  Fixed-width fields, explicit pads; no pointer, enum,
 * bool, size_t or library type.  References are offsets or indexes.  A change here changes
 * doc/shm-layout.md, tests/lint/layout.golden and QB_LAYOUT_MAJOR; a test fails otherwise.
 *
 * Who may write what stands beside each field: (C) creator before publication, (W) the owner
 * that the job word names, (S) the owner of the seat, (Y) the syncer, (*) anybody, atomically.
 */
#ifndef QB_SHM_LAYOUT_H
#define QB_SHM_LAYOUT_H

#include "shm/align.h"
#include "shm/atomic.h"

#define QB_SEG_MAGIC 0x314745535842511aull      /* reads "\x1aQBXSEG1" in the file */
#define QB_SEG_ENDIAN 0x01020304u
#define QB_LAYOUT_MAJOR 2
#define QB_LAYOUT_MINOR 1
#define QB_READY_WORD 0x59444145525f4251ull     /* "QB_READY" */

/* Limits of the encodings below; qb_seg_create() refuses more. */
#define QB_SEAT_MAX 4095u               /* seat 0 means nobody */
#define QB_JOB_MAX (1u << 20)
#define QB_BLOCK_MAX (1u << 24)
#define QB_PAYLOAD_BYTES_MAX (64u * 1024)
#define QB_RESULT_BYTES_MAX (16u * 1024)

/* ---- the job word: the only truth about a job ----
 * gen:26 | attempt:16 | seat:12 | failures:4 | state:6
 */
enum qb_job_state {
	QB_JOB_FREE = 0,        /* slot unused; gen is the next user's */
	QB_JOB_FILLING = 1,     /* a submitter writes descriptor and payload */
	QB_JOB_READY = 2,       /* accepted, waits for a worker */
	QB_JOB_CLAIMED = 3,     /* a worker has it, user code has not begun */
	QB_JOB_STARTED = 4,     /* user code may have run, wholly or in part */
	QB_JOB_DONE = 5,        /* finished well, result in the worker's arena */
	QB_JOB_FAILED = 6,      /* failed for good: discarded after its last attempt */
	QB_JOB_AMBIGUOUS = 7,   /* started, worker dead, no outcome; see qb_job_resolve() */
	QB_JOB_SYNCED = 8,      /* outcome durable; about to be freed */
	QB_JOB_WAITING = 9,     /* failed, waits for due_ns before the next attempt */
	QB_JOB_DEAD = 10,       /* given up: claimed max_claims times without an end */
	QB_JOB_STATE_COUNT = 11,
};

#define QB_WORD_STATE_BITS 6
#define QB_WORD_FAIL_BITS 4
#define QB_WORD_SEAT_BITS 12
#define QB_WORD_ATTEMPT_BITS 16
#define QB_WORD_GEN_BITS 26
#define QB_GEN_MASK ((1u << QB_WORD_GEN_BITS) - 1)

static inline uint64_t qb_word(uint32_t gen, uint32_t attempt, uint32_t seat, uint32_t failures,
			       uint32_t state)
{
	return (uint64_t)(gen & QB_GEN_MASK) << 38 | (uint64_t)(attempt & 0xffff) << 22 |
	       (uint64_t)(seat & 0xfff) << 10 | (uint64_t)(failures & 0xf) << 6 | (state & 0x3f);
}
static inline uint32_t qb_word_gen(uint64_t w) { return (uint32_t)(w >> 38); }
static inline uint32_t qb_word_attempt(uint64_t w) { return (uint32_t)(w >> 22) & 0xffff; }
static inline uint32_t qb_word_seat(uint64_t w) { return (uint32_t)(w >> 10) & 0xfff; }
static inline uint32_t qb_word_failures(uint64_t w) { return (uint32_t)(w >> 6) & 0xf; }
static inline uint32_t qb_word_state(uint64_t w) { return (uint32_t)w & 0x3f; }

/*
 * The states in which a job has its key: it runs or may run again. An ambiguous one may, as long as nobody has
 * said what became of it.
 */
static inline int qb_word_holds_key(uint64_t w)
{
	uint32_t state = qb_word_state(w);

	return state == QB_JOB_READY || state == QB_JOB_CLAIMED || state == QB_JOB_STARTED || state == QB_JOB_WAITING ||
	       state == QB_JOB_AMBIGUOUS;
}

/* In FILLING `failures` says how far a job with a key has come, see key.h; after DUPLICATE `attempt` is a part of the holder. */
enum qb_filling {
	QB_FILLING_OWN = 0,             /* the submitter's alone */
	QB_FILLING_ASKS = 1,            /* filled; whoever meets it announced may decide */
	QB_FILLING_DUPLICATE = 2,       /* refused: another one has its key */
	QB_FILLING_NO_ROOM = 3,         /* refused: its bucket is full */
};

/* What a worker's death means for a job that it had started; declared per job. */
enum qb_effect_class {
	QB_EFFECT_IDEMPOTENT = 0,       /* may run again: goes back to ready, counted */
	QB_EFFECT_OPAQUE = 1,           /* stays ambiguous with its evidence */
	QB_EFFECT_TRANSACTIONAL = 2,    /* effect and done-mark are one Postgres transaction: ambiguous until the syncer has asked there */
};

/* Bits of qb_job_shm.sync: gen:26 (the low bits of the word's gen) | stage:6 | attempt:16, only the syncer writes. */
enum qb_sync_stage {
	QB_SYNC_NONE = 0,
	QB_SYNC_ACCEPTED = 1,
	QB_SYNC_RETRY = 2,              /* waiting, that attempt */
	QB_SYNC_FINAL = 3,              /* ambiguous, that attempt */
	QB_SYNC_ENDED = 4,              /* its outcome; the slot is about to be freed, or kept for a standby server */
};

static inline uint64_t qb_sync(uint32_t gen, uint32_t stage, uint32_t attempt)
{
	return (uint64_t)(gen & QB_GEN_MASK) << 38 | (uint64_t)(attempt & 0xffff) << 6 | (stage & 0x3f);
}
static inline uint32_t qb_sync_gen(uint64_t s) { return (uint32_t)(s >> 38); }
static inline uint32_t qb_sync_attempt(uint64_t s) { return (uint32_t)(s >> 6) & 0xffff; }
static inline uint32_t qb_sync_stage_of(uint64_t s) { return (uint32_t)s & 0x3f; }

#define QB_NO_BLOCK 0xffffffffu

struct qb_job_shm {
	qb_au64 word;           /* (*) by compare-and-swap only */
	qb_au64 sync;           /* (Y) what of this generation is durable */
	uint64_t job_id;        /* (W) the submitter's key, unique in the run, > 0 */
	qb_au64 due_ns;         /* (W) CLOCK_MONOTONIC; meaningful in WAITING */
	uint64_t submitted_raw; /* (W) stamp taken just before the slot was allocated */
	uint32_t work_us;       /* (W) how long the synthetic work takes */
	uint32_t tenant;        /* (W) */
	uint16_t kind;          /* (W) index of the kind in the scenario */
	uint16_t error_class;   /* (W) enum of the workload: 0 = succeeds */
	uint16_t max_attempts;  /* (W) failures after which it is discarded, 1..15 */
	uint16_t effect_class;  /* (W) enum qb_effect_class */
	uint32_t payload_bytes; /* (W) */
	uint32_t payload_crc;   /* (W) CRC-32C of the payload */
	uint32_t block_first;   /* (W) first payload block, or QB_NO_BLOCK */
	uint32_t result_bytes;  /* (W) of the attempt that finished */
	uint64_t result_pos;    /* (W) position in the arena of the word's seat */
	uint32_t result_crc;    /* (W) */
	qb_au32 joined;         /* (*) futex of those who wait for its end, see join.h: releases:31 | somebody waits:1 */
	qb_au64 key_hi;         /* (W) hash of its key; both 0: it has none */
	qb_au64 key_lo;         /* (W) */
	qb_au64 holder;         /* (*) in FILLING: who has the key, see qb_holder_word(); by compare-and-swap */
	uint64_t pad;
} QB_ALIGNED(QB_CACHELINE);
QB_ASSERT_SIZE(qb_job_shm, 128);
QB_ASSERT_OFF(qb_job_shm, sync, 8);
QB_ASSERT_OFF(qb_job_shm, job_id, 16);
QB_ASSERT_OFF(qb_job_shm, due_ns, 24);
QB_ASSERT_OFF(qb_job_shm, work_us, 40);
QB_ASSERT_OFF(qb_job_shm, tenant, 44);
QB_ASSERT_OFF(qb_job_shm, kind, 48);
QB_ASSERT_OFF(qb_job_shm, payload_bytes, 56);
QB_ASSERT_OFF(qb_job_shm, block_first, 64);
QB_ASSERT_OFF(qb_job_shm, result_pos, 72);
QB_ASSERT_OFF(qb_job_shm, result_crc, 80);
QB_ASSERT_OFF(qb_job_shm, joined, 84);
QB_ASSERT_OFF(qb_job_shm, key_hi, 88);

/* ---- keys: which job may have one ----
 * cell and pending = used:1 | 0:17 | gen:26 | job:20.  A hint: what the word of that job says counts.
 */
#define QB_KEY_CELLS 15u

struct qb_key_bucket_shm {
	qb_au64 pending;        /* (*) the one admission that is under way here, 0 = none */
	qb_au64 cell[QB_KEY_CELLS]; /* (*) once used, never 0 again */
} QB_ALIGNED(QB_CACHELINE);
QB_ASSERT_SIZE(qb_key_bucket_shm, 128);

/* ---- inbox rings: order hints ----
 * slot word = lap:24 | full:1 | gen:19 | job:20.  Head and tail are hints that anybody may advance.
 */
enum qb_ring_idx { QB_RING_NORMAL = 0, QB_RING_URGENT = 1, QB_RING_COUNT = 2 };

struct qb_ring_shm {
	qb_au64 head QB_ALIGNED(QB_CACHELINE);  /* (*) next position to take */
	qb_au64 tail QB_ALIGNED(QB_CACHELINE);  /* (*) next position to fill */
	/* followed by count slots, qb_au64 each */
} QB_ALIGNED(QB_CACHELINE);
QB_ASSERT_SIZE(qb_ring_shm, 256);

/* ---- payload blocks ----
 * tag = used:1 | slot:24 | gen:26 (low bits).  A used block whose job slot is at another gen is garbage.
 */
struct qb_block_shm {
	qb_au64 tag;            /* (*) by compare-and-swap */
	qb_au32 next;           /* (W of the job) next block of the payload, or QB_NO_BLOCK */
	uint32_t pad;
	/* followed by the data */
};
QB_ASSERT_SIZE(qb_block_shm, 16);

/* ---- result arenas, one per seat ---- */
struct qb_arena_shm {
	qb_au64 head;           /* (S) next position to write; positions grow without bound */
	qb_au64 tail;           /* (S) oldest position still needed */
	uint64_t pad[14];
	/* followed by arena_bytes of entries */
} QB_ALIGNED(QB_CACHELINE);
QB_ASSERT_SIZE(qb_arena_shm, 128);

struct qb_arena_entry_shm {
	uint64_t token;         /* the job word (STARTED) of the attempt that wrote it */
	uint32_t slot_idx;      /* QB_NO_BLOCK: filler up to the end of the arena */
	uint32_t bytes;         /* of the result; the entry takes QB_ROUND_UP(24 + bytes, 8) */
	uint32_t crc;           /* CRC-32C of the result */
	uint32_t pad;
};
QB_ASSERT_SIZE(qb_arena_entry_shm, 24);

/* ---- event rings, one per seat, one writer each ---- */
enum qb_event_type {
	QB_EV_NONE = 0,
	QB_EV_JOB_SUBMITTED = 1,        /* driver; arg0 = intended mono ns, arg1 = payload bytes; stamp: before the call */
	QB_EV_JOB_ENQUEUED = 2,         /* driver; acknowledged; arg0 = intended mono ns, arg1 = ns from call to acknowledgement */
	QB_EV_ENQUEUE_FAILED = 3,       /* driver; arg0 = -code, 0: refused, one with its key is there */
	QB_EV_JOB_STARTED = 4,          /* worker, before user code; arg0 = ns that the claim took */
	QB_EV_JOB_COMPLETED = 5,        /* worker; arg0 = work ns; arg1 bit 0: found after a kill, not logged by the worker */
	QB_EV_JOB_FAILED = 6,           /* worker; arg0 = work ns, arg1 = mono ns of the next attempt, 0 = none */
	QB_EV_JOB_DISCARDED = 7,        /* who decided; after the last attempt */
	QB_EV_JOB_FENCED = 8,           /* worker; its completion came too late and was refused; arg0 = word found */
	QB_EV_JOB_REQUEUED = 9,         /* recovery; arg0 = word before; arg1 = stamp of the death */
	QB_EV_JOB_AMBIGUOUS = 10,       /* recovery; started, no outcome; arg0 = word before; arg1 = 0 retried, 1 parked, 2 in doubt */
	QB_EV_PROCESS_SPAWNED = 11,     /* parent; kind = role, slot_idx = seat, arg0 = pid, arg1 = incarnation */
	QB_EV_PROCESS_READY = 12,       /* the process itself; kind = role, slot_idx = seat, arg0 = pid */
	QB_EV_PROCESS_KILLED = 13,      /* driver; by the fault plan; kind = role, slot_idx = seat, arg0 = pid, arg1 = kill number */
	QB_EV_PROCESS_DIED = 14,        /* parent; reaped; kind = role, slot_idx = seat, arg0 = pid, arg1 = wait status */
	QB_EV_RECOVERED = 15,           /* parent; slot_idx = seat, arg0 = ns from death noticed to verdict, arg1 = jobs put back */
	QB_EV_TAKEN_OVER = 16,          /* a new parent; arg0 = ns it took, arg1 = processes proved dead */
	QB_EV_SYNC_COMMITTED = 17,      /* syncer; arg0 = rows, arg1 = ns of the commit, job_id = batch number */
	QB_EV_SYNC_LOST = 18,           /* syncer; connection lost; arg0 = tries so far */
	QB_EV_SYNC_BACK = 19,           /* syncer; connected again; arg0 = ns without, arg1 = rows that the server had lost and gets again, job_id = outcomes lost for good */
	QB_EV_RESOURCE_SAMPLE = 20,     /* driver; arg0 = resident bytes of all processes, arg1 = processes */
	QB_EV_VERDICT = 21,             /* driver; job_id = kill number; arg0, arg1 see run/ */
	QB_EV_PROCESS_STOPPED = 22,     /* the process itself; orderly end; kind = role, slot_idx = seat */
	QB_EV_CACHE_REQUEST = 23,       /* who asks a cache, at the answer; see record/format.h; arg0 = ns that it took */
	QB_EV_CACHE_WORK = 24,          /* worker; job_id, slot_idx = address; arg0 = enum qb_cache_work, arg1 = ns of the put; stamp: done */
	QB_EV_TYPE_COUNT = 25,
};

struct qb_event_shm {
	qb_au64 seq;            /* (S) position + 1 once whole; 0 while being written */
	uint64_t raw;           /* stamp, see clock.h */
	uint64_t job_id;        /* 0 = about no job */
	uint64_t token;         /* the job word after the step, or 0 */
	uint64_t arg0;
	uint64_t arg1;
	uint32_t slot_idx;      /* job slot, or seat for the PROCESS events */
	uint32_t tenant;
	uint16_t type;          /* enum qb_event_type */
	uint16_t seat;          /* the writer */
	uint8_t kind;           /* job kind, or enum qb_role for the PROCESS events */
	uint8_t error_class;
	uint16_t attempt;       /* 1-based */
};
QB_ASSERT_SIZE(qb_event_shm, 64);
QB_ASSERT_OFF(qb_event_shm, slot_idx, 48);
QB_ASSERT_OFF(qb_event_shm, type, 56);
QB_ASSERT_OFF(qb_event_shm, kind, 60);
QB_ASSERT_OFF(qb_event_shm, attempt, 62);

/* Readers that hold records back; a ring's slot is reused when every reader of the segment's config passed it. */
enum qb_event_reader { QB_READER_SYNC = 0, QB_READER_RECORD = 1, QB_READER_COUNT = 2 };

struct qb_event_ring_shm {
	qb_au64 tail;           /* (S) next position to write; hint after a kill (the slots' seq is the truth) */
	qb_au64 dropped;        /* (S) records not written because the ring was full */
	qb_au64 waited;         /* (S) times the writer had to wait for room */
	uint64_t pad[13];
	struct {
		qb_au64 next QB_ALIGNED(QB_CACHELINE);  /* (reader) next position to read */
		qb_au64 known;  /* (syncer) those before it are in Postgres, and kept for a standby server; 0 = none */
	} reader[QB_READER_COUNT];
	/* followed by event_count records */
} QB_ALIGNED(QB_CACHELINE);
QB_ASSERT_SIZE(qb_event_ring_shm, 384);

/* ---- seats: attached processes ---- */
enum qb_role {
	QB_ROLE_NONE = 0, QB_ROLE_DRIVER = 1, QB_ROLE_PARENT = 2, QB_ROLE_SYNCER = 3, QB_ROLE_WORKER = 4,
	QB_ROLE_STANDBY = 5, QB_ROLE_TOOL = 6, QB_ROLE_COUNT = 7,
};
enum qb_seat_state {
	QB_SEAT_FREE = 0,
	QB_SEAT_TAKEN = 1,      /* somebody is about to sit down or sits: name and birth say who */
	QB_SEAT_RECOVERING = 2, /* its process is confirmed dead, its jobs are being decided */
};
enum qb_seat_counter {
	QB_COUNT_SUBMITTED, QB_COUNT_SUBMIT_FULL, QB_COUNT_CLAIMED, QB_COUNT_CLAIM_EMPTY, QB_COUNT_STARTED, QB_COUNT_COMPLETED,
	QB_COUNT_FAILED, QB_COUNT_FENCED, QB_COUNT_REQUEUED, QB_COUNT_AMBIGUOUS, QB_COUNT_RECOVERED,
	QB_COUNT_COMMITS, QB_COUNT_SYNC_ROWS, QB_COUNT_RESULT_WAIT,
	QB_COUNT_TIMERS_SET, QB_COUNT_TIMERS_OVER,      /* retries that wait in the memory of a process: the difference */
	QB_SEAT_COUNTER_COUNT,
};

/* Slots that recovery looks at first. */
#define QB_SEAT_RECENT 16u

struct qb_seat_shm {
	qb_au64 word;           /* (*) incarnation:32 | role:8 | state:8, by compare-and-swap */
	qb_au64 name;           /* (S, spawner, recoverer) incarnation:32 | pid:32, by compare-and-swap; pid 0 = nobody may sit down */
	qb_au64 birth;          /* (S, spawner) incarnation:24 | start_ticks:40, by compare-and-swap, before the name */
	qb_au64 ready_raw;      /* (S) stamp of ready, 0 before */
	qb_au64 ending;         /* (S) qb_ending() of the attempt whose outcome is being stored, or was last */
	qb_au32 backend_pid;    /* (S) its Postgres backend, 0 = none */
	uint32_t pad3;
	qb_au32 recent[QB_SEAT_RECENT]; /* (S) hint: slot + 1 of what it took last, at slot % QB_SEAT_RECENT */
	uint64_t pad0[2];
	qb_au32 asleep QB_ALIGNED(QB_CACHELINE); /* futex: 1 = parked; a waker stores 0 */
	qb_au32 go;             /* futex: a standby waits until this is 1 */
	uint64_t pad1[15];
	qb_au64 counter[16] QB_ALIGNED(QB_CACHELINE); /* (S) enum qb_seat_counter; carry on over incarnations */
	uint64_t pad2[16];
} QB_ALIGNED(QB_CACHELINE);
QB_ASSERT_SIZE(qb_seat_shm, 512);
QB_ASSERT_OFF(qb_seat_shm, asleep, 128);
QB_ASSERT_OFF(qb_seat_shm, counter, 256);
_Static_assert(QB_SEAT_COUNTER_COUNT <= 16, "seat counters");

/* Which attempt of which job: the one outcome of a dead process whose event may be missing. */
static inline uint64_t qb_ending(uint32_t slot_idx, uint64_t word)
{
	return 1ull << 63 | (uint64_t)(slot_idx & (QB_JOB_MAX - 1)) << 42 | (uint64_t)qb_word_gen(word) << 16 |
	       qb_word_attempt(word);
}

static inline uint32_t qb_ending_slot(uint64_t ending) { return (uint32_t)(ending >> 42) & (QB_JOB_MAX - 1); }

static inline uint64_t qb_seat_word(uint32_t incarnation, uint32_t role, uint32_t state)
{
	return (uint64_t)incarnation << 32 | (uint64_t)(role & 0xff) << 8 | (state & 0xff);
}
static inline uint32_t qb_seat_incarnation(uint64_t w) { return (uint32_t)(w >> 32); }
static inline uint64_t qb_seat_name_of(uint32_t incarnation, uint32_t pid) { return (uint64_t)incarnation << 32 | pid; }
static inline uint64_t qb_seat_birth(uint32_t incarnation, uint64_t start_ticks)
{
	return (uint64_t)incarnation << 40 | (start_ticks & 0xffffffffffull);
}
static inline uint32_t qb_seat_role(uint64_t w) { return (uint32_t)(w >> 8) & 0xff; }
static inline uint32_t qb_seat_state_of(uint64_t w) { return (uint32_t)w & 0xff; }

/* ---- configuration: written at creation, read-only afterwards ---- */
enum qb_ack_mode { QB_ACK_DURABLE = 0, QB_ACK_SHM = 1 };
enum qb_backoff { QB_BACKOFF_IMMEDIATE = 0, QB_BACKOFF_POW4 = 1 };
enum qb_overflow { QB_OVERFLOW_WAIT = 0, QB_OVERFLOW_DROP = 1 };

struct qb_config_shm {
	uint32_t job_count;             /* slots; power of two, 64..QB_JOB_MAX */
	uint32_t seat_count;            /* seats 1..seat_count-1 are usable */
	uint32_t ring_count;            /* slots of each inbox ring; power of two, >= 2 * job_count */
	uint32_t block_count;           /* payload blocks */
	uint32_t block_bytes;           /* with its 16-byte head; multiple of 64 */
	uint32_t arena_bytes;           /* of one seat; power of two */
	uint32_t event_count;           /* records of one seat; power of two */
	uint32_t effect_count;          /* effect words; job ids 1..effect_count have one */
	uint32_t readers;               /* bit set of enum qb_event_reader */
	uint32_t event_overflow;        /* enum qb_overflow, for workers */
	uint32_t ack_mode;              /* enum qb_ack_mode */
	uint32_t worker_count;          /* processes that the parent keeps */
	uint32_t standby_count;
	uint32_t slots_per_worker;
	uint32_t backoff;               /* enum qb_backoff */
	uint32_t jitter_permille;       /* 100 = +-10 % */
	uint32_t max_claims;            /* a job claimed this often without an end is given up */
	uint32_t spin_ns;               /* how long a worker spins before it parks */
	uint64_t seed;
	char queue[16];                 /* the library that the workers run */
	uint32_t meta_bytes;            /* room for the run's description; multiple of 64 */
	uint32_t ledger;                /* 1: effects are rows in Postgres, not effect words */
	uint64_t poll_ns;               /* longest sleep of an idle worker without looking */
	uint32_t replicas;              /* standby servers that must have a commit before its jobs leave the segment */
	uint32_t pad0;
	uint64_t pad[5];
};
QB_ASSERT_SIZE(qb_config_shm, 160);

/* ---- the run's description: (C) u32 length, then that many bytes of msgpack (see doc/record-format.md) ---- */

/* ---- header ---- */
enum qb_section_kind {
	QB_SEC_SEATS = 0, QB_SEC_JOBS, QB_SEC_FREE_MAP, QB_SEC_DIRTY_MAP, QB_SEC_WAIT_MAP, QB_SEC_RINGS, QB_SEC_BLOCK_MAP, QB_SEC_BLOCKS,
	QB_SEC_ARENAS, QB_SEC_EVENTS, QB_SEC_EFFECTS, QB_SEC_META, QB_SEC_KEYS, QB_SEC_COUNT,
};

struct qb_section_shm {
	uint64_t off;           /* from the start of the file */
	uint64_t bytes;
	uint64_t stride;        /* bytes from one element to the next */
	uint64_t count;
};

struct qb_triple_shm { qb_au64 raw, mono_ns, wall_ns, pad; };

/* What servers that took over in a failover did not have, over the whole run: rows, see doc/sync.md. */
struct qb_loss_shm {
	qb_au64 epoch;                  /* mark_epoch when the last one was met: which one that was */
	qb_au64 rewinds;                /* how often a server was behind mark_batch */
	qb_au64 accepted;               /* live jobs that it did not have; sent again */
	qb_au64 changes;                /* live jobs that it had in an earlier state; sent again */
	qb_au64 outcomes;               /* outcomes that it did not have; sent again */
	qb_au64 events;                 /* events that it did not have; sent again */
	qb_au64 gone_batches;           /* batches that it did not have and of which nothing was kept */
	qb_au64 gone;                   /* outcomes in those, at least: lost for good */
};
QB_ASSERT_SIZE(qb_loss_shm, 64);

/* How far the end has come; only grows. */
enum qb_stop {
	QB_STOP_NO = 0,
	QB_STOP_DRAIN = 1,      /* workers end what they have started and claim no more */
	QB_STOP_FINISH = 2,     /* workers are gone; the syncer makes the rest durable and leaves */
	QB_STOP_NOW = 3,        /* everybody leaves, whatever is open */
};

enum qb_seg_state { QB_SEG_CREATING = 0, QB_SEG_LIVE = 1, QB_SEG_CLOSED = 2 };

struct qb_header_shm {
	/* (C) identity; a reader checks these in this order */
	uint64_t magic;
	uint32_t endian;
	uint16_t major, minor;
	uint32_t header_bytes;
	uint32_t compat_flags, incompat_flags;
	uint32_t clock_mode;            /* enum qb_clock_mode */
	uint64_t layout_fp;             /* qb_layout_fingerprint() of the creator */
	uint64_t total_bytes;
	uint64_t boot_id;
	uint64_t creator_start_ticks;
	uint32_t creator_pid;
	uint32_t creator_uid;
	uint64_t created_wall_ns;
	uint64_t cluster_id;            /* system identifier of the Postgres cluster, 0 = none */
	char run_id[96];
	struct qb_config_shm config;    /* offset 184 */
	uint64_t pad0[5];
	struct qb_section_shm section[16];      /* by enum qb_section_kind */
	struct qb_triple_shm clock_first;       /* (C) */

	/* (driver, syncer) clock_last[clock_last_idx & 1] is whole; the other one is being written */
	struct qb_triple_shm clock_last[2] QB_ALIGNED(QB_CACHELINE);
	qb_au32 clock_last_idx;
	uint32_t pad1;

	qb_au32 state QB_ALIGNED(QB_CACHELINE); /* (creator, driver) enum qb_seg_state */
	qb_au32 stop;                   /* (driver, parent) enum qb_stop */
	qb_au32 syncer_seat;            /* (syncer) whom to wake when something became dirty; 0 = nobody */
	qb_au32 submitter_seat;         /* (driver) whom to wake when something became durable or free */
	qb_au32 takeovers;              /* (parent) how many parents there were before this one */
	qb_au32 parent_seat;            /* (parent) */

	qb_au32 high_water QB_ALIGNED(QB_CACHELINE); /* (*) no slot at or above it was ever used */
	qb_au32 block_high_water;       /* (*) the same for blocks */
	qb_au32 free_from;              /* (*) hint: there are few free bits of slots below it */
	qb_au32 block_from;             /* (*) the same for blocks */
	qb_au64 next_due_ns QB_ALIGNED(QB_CACHELINE); /* (*) hint: earliest due_ns of a WAITING job; UINT64_MAX = none */

	/* (syncer) marks: how far durability came */
	qb_au64 mark_batch QB_ALIGNED(QB_CACHELINE); /* last batch known committed */
	qb_au64 mark_epoch;             /* fence of the present syncer */
	qb_au64 mark_accepted;          /* jobs whose acceptance is durable */
	qb_au64 mark_final;             /* jobs whose outcome is durable */
	qb_au64 mark_events;            /* events that are durable */
	qb_au64 mark_commit_wall_ns;
	qb_au32 mark_connected;         /* 1 = the syncer has a connection */
	qb_au32 mark_kept;              /* slots whose outcome is durable, kept until the standby servers have it */
	qb_au64 mark_released;          /* nothing of this batch and those before it is kept any more */
	qb_au64 mark_timeline;          /* of the server that the syncer was last connected to, 0 = none */

	qb_au64 sleepers[64] QB_ALIGNED(QB_CACHELINE); /* (*) bit per seat: parked and able to take a job */

	qb_au64 ready QB_ALIGNED(QB_CACHELINE); /* (C) QB_READY_WORD, stored last */
	uint64_t pad3[15];

	/* (syncer) loss[loss_idx & 1] is whole; the other one is being written */
	struct qb_loss_shm loss[2] QB_ALIGNED(QB_CACHELINE);
	qb_au32 loss_idx;
	uint32_t pad4[31];
} QB_ALIGNED(QB_PAGE_BYTES);
QB_ASSERT_OFF(qb_header_shm, endian, 8);
QB_ASSERT_OFF(qb_header_shm, layout_fp, 32);
QB_ASSERT_OFF(qb_header_shm, run_id, 88);
QB_ASSERT_OFF(qb_header_shm, config, 184);
QB_ASSERT_OFF(qb_header_shm, section, 384);
QB_ASSERT_OFF(qb_header_shm, clock_first, 896);
_Static_assert(sizeof(struct qb_header_shm) == QB_PAGE_BYTES, "header is one page");
_Static_assert(QB_SEC_COUNT <= 16, "section directory");

#endif
