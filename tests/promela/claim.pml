/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Job word, both inbox rings, live recovery and seats that are used again: every interleaving of every step, with a
 * kill possible after each step that changes shared memory.  doc/memory-model.md, "The model", ties each STEP to the
 * function of shm/ that it stands for; spin.tap holds the two together and runs this.
 *
 *	spin -a -DWORKERS=2 -DJOBS=2 -DKILLS=1 claim.pml && cc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m100000
 *
 *	WORKERS, JOBS, KILLS	how many of each; a kill may hit a worker, the submitter or the recoverer
 *	SUBMITTER		jobs are not there at the start, but are handed in by a process that may be killed
 *	RELEASES		so many times may a worker hand a claimed job back
 *	BUG			number of a patch in tests/crash/bugs/: the model has that bug, and must fail
 *
 * One STEP is one access to shared memory, or a run of reads that is as good as one.  qb_ring_peek() reads head, slot
 * and head again, and head only grows: both are as they were when the slot was read.  qb_ring_push() reads tail, slot
 * and tail, then changes the slot if it is still empty, and tail does not pass an empty slot.  claim_from() reads
 * the word and changes it if it is still the same; a failed try differs in nothing from a later look.
 *
 * What is not here: payload, results, events, hint maps, sleeping (a parked worker sees work at once), generations
 * (a slot is used once; an entry's generation only spares useless tries), weak memory order.
 */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef JOBS
#define JOBS 2
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef RELEASES
#define RELEASES 0
#endif
#ifndef BUG
#define BUG 0
#endif
#define MAX_CLAIMS 2
#ifndef SLOTS
#define SLOTS (2 * JOBS)		/* of each ring; as qb_seg_create() demands at least */
#endif
#define STEP(name)			/* a name for the reader, the table and the coverage */

/* Job states; the word is state, seat and attempt. */
#define FREE 0
#define FILLING 1
#define READY 2
#define CLAIMED 3
#define STARTED 4
#define DONE 5
#define AMBIGUOUS 6
#define DEAD 7
byte state[JOBS], seat[JOBS], attempt[JOBS];
bool opaque[JOBS];
byte high_water;

/* Rings: a slot is lap * (JOBS + 1) + (0 when empty, or job + 1). */
#define URGENT 0
#define NORMAL 1
#define ENTRY(pos, n) ((pos) / SLOTS * (JOBS + 1) + (n))
#define LAP(v) ((v) / (JOBS + 1))
#define FULL(v) ((v) % (JOBS + 1) != 0)
#define JOB(v) ((v) % (JOBS + 1) - 1)
byte slots[2 * SLOTS], head[2], tail[2];
#define SLOT(r, pos) slots[(r) * SLOTS + (pos) % SLOTS]

/* Seats 1..WORKERS are the workers', the next is the submitter's. */
#define SUBMITTER_SEAT (WORKERS + 1)
#define SEAT_FREE 0
#define SEAT_TAKEN 1
#define SEAT_RECOVERING 2
byte seat_state[WORKERS + 2];
bool dead[WORKERS + 2];			/* its process is confirmed dead */

/* What nobody in the engine knows, and the properties are said with. */
byte kills, releases;
byte live, parked;			/* workers that live; that have nothing to do */
bool handed_in;				/* the submitter is through */
bool recovering;
bool accepted[JOBS];			/* the submitter was told so */
byte holders[JOBS];			/* living processes that believe they hold the job */
bool ran[JOBS];				/* it had an effect that nobody has reported */
bool ring_full;				/* a push was refused */
byte judged[JOBS];			/* last attempt that got a verdict or an outcome */

#define WORK (SLOT(URGENT, head[URGENT]) != ENTRY(head[URGENT], 0) || SLOT(NORMAL, head[NORMAL]) != ENTRY(head[NORMAL], 0))
#define REST (parked == live && live == WORKERS && handed_in && !recovering && !WORK)

#define CAS(index, from) if :: index == from -> index++ :: else fi
#define KILL if :: kills < KILLS -> kills++; dead[me] = true; goto gone :: true fi
#define KILL_HOLDING if :: kills < KILLS -> kills++; dead[me] = true; holders[j]--; goto gone :: true fi
#define KILL_PARENT if :: kills < KILLS -> kills++; goto gone :: true fi

#if BUG == 10
#define TOLD_NEVER_STARTED STARTED
#else
#define TOLD_NEVER_STARTED CLAIMED
#endif

/* The word is as this process knows it. */
#define MINE(was) (state[j] == was && seat[j] == me && attempt[j] == a)

/* qb_ring_push(); `kill` is what may happen to the caller. */
#define HELP 254
#define RING_FULL 255
#define PUSH(r, n, kill) \
	do \
	:: atomic { \
		STEP(push_slot) d_step { \
			t = tail[r]; v = SLOT(r, t); \
			if :: v == ENTRY(t, 0) -> SLOT(r, t) = ENTRY(t, n) :: else fi \
		}; \
		if \
		:: v == ENTRY(t, 0) -> kill; break \
		:: v != ENTRY(t, 0) && LAP(v) >= t / SLOTS -> skip \
		:: LAP(v) < t / SLOTS -> \
			STEP(push_full) d_step { \
				v = head[r]; \
				if \
				:: SLOT(r, v) == ENTRY(v + SLOTS, 0) -> CAS(head[r], v); t = HELP \
				:: SLOT(r, v) != ENTRY(v + SLOTS, 0) && t - v >= SLOTS -> t = RING_FULL; ring_full = true \
				:: else -> t = HELP \
				fi \
			} \
		fi }; \
		if \
		:: t == RING_FULL -> break \
		:: t == HELP \
		:: else -> STEP(help_tail) d_step { CAS(tail[r], t) } \
		fi \
	od; \
	atomic { if :: t != RING_FULL -> STEP(push_tail) d_step { CAS(tail[r], t) } :: else fi; t = 0; v = 0; kill }

proctype worker(byte me)
{
	byte r, h, v, t, j, a;
	bool got;
again:	atomic { r = URGENT; h = 0; v = 0; j = 0; a = 0; got = false };
look:	atomic {
		STEP(peek) d_step { h = head[r]; v = SLOT(r, h) };
#if BUG == 14
		if
		:: FULL(v) -> goto claim
		:: else
		fi
	};
	atomic {
		if
		:: h >= tail[r] && r == URGENT -> r = NORMAL; goto look
		:: h >= tail[r] && r == NORMAL -> goto park
		:: else
		fi
	};
#else
		if
		:: v == ENTRY(h, 0) && r == URGENT -> r = NORMAL; goto look
		:: v == ENTRY(h, 0) && r == NORMAL -> goto park
		:: v != ENTRY(h, 0) && LAP(v) == h / SLOTS -> goto claim
		:: else
		fi
	};
#endif
	STEP(help_head) d_step { CAS(head[r], h) };
	goto look;
claim:	atomic {
		STEP(claim) d_step {
			j = JOB(v); got = false;
			if
			:: state[j] == READY ->
				attempt[j]++; seat[j] = me; state[j] = CLAIMED;
				a = attempt[j]; got = true;
				assert(holders[j] == 0);	/* never claimed by two */
				holders[j]++
			:: else
			fi
		};
		if :: got -> KILL_HOLDING :: else fi
	};
	atomic {
		STEP(drop_slot) d_step { if :: SLOT(r, h) == v -> SLOT(r, h) = ENTRY(h + SLOTS, 0) :: else fi };
		if :: got -> KILL_HOLDING :: else KILL fi
	};
	atomic {
		STEP(drop_head) d_step { CAS(head[r], h); h = 0; v = 0 };
		if :: got -> KILL_HOLDING; goto held :: else KILL fi
	};
#if BUG != 26
	if
	:: STEP(second_look) state[j] == READY ->
		PUSH(URGENT, j + 1, KILL)
	:: else
	fi;
#endif
	goto look;
held:	if
	:: releases < RELEASES -> atomic {
		STEP(release) d_step {
			releases++; got = MINE(CLAIMED); holders[j]--;
			if :: got -> state[j] = READY; seat[j] = 0 :: else fi
		};
		if :: got -> KILL :: else goto again fi
		};
		PUSH(URGENT, j + 1, KILL);
		goto again
	:: true
	fi;
	atomic {
		STEP(start) d_step { got = MINE(CLAIMED); if :: got -> state[j] = STARTED :: else holders[j]-- fi };
		if :: got -> KILL_HOLDING :: else goto again fi
	};
	atomic {
		STEP(effect) d_step {
			assert(!ran[j]);	/* never executed twice without a report */
			assert(state[j] != AMBIGUOUS && state[j] != DEAD);	/* no effect after the verdict */
			ran[j] = true
		};
		KILL_HOLDING
	};
	atomic {
		STEP(complete) d_step {
			holders[j]--;
			if
			:: MINE(STARTED) ->
				state[j] = DONE;
				assert(judged[j] < a);		/* one verdict */
				judged[j] = a
			:: else
			fi
		};
		KILL
	};
	goto again;
park:	parked++;
	atomic {
		if
		:: WORK -> parked--; goto again
		:: REST -> goto out
		fi
	};
gone:	atomic { live--; r = 0; h = 0; v = 0; t = 0; j = 0; a = 0; got = false };
	atomic {
		STEP(seat_take) seat_state[me] == SEAT_FREE -> seat_state[me] = SEAT_TAKEN;
		/* refilled only after every word that names the seat is decided */
		j = 0;
		do
		:: j < JOBS ->
			assert(seat[j] != me || (state[j] != CLAIMED && state[j] != STARTED));
			j++
		:: else -> break
		od;
		j = 0;
		live++;
		goto again
	};
out:	skip
}

#ifdef SUBMITTER
proctype submitter(byte me)
{
	byte j, t, v;
again:	atomic {
		j = 0;
		do
		:: j < JOBS && accepted[j] -> j++
		:: j < JOBS && !accepted[j] -> break
		:: j == JOBS -> handed_in = true; goto out
		od
	};
#if BUG == 30
	atomic {
		STEP(fill) d_step { assert(state[j] == FREE); state[j] = FILLING; seat[j] = me };
		KILL
	};
#endif
	atomic {
		STEP(raise) d_step { if :: high_water < j + 1 -> high_water = j + 1 :: else fi };
		KILL
	};
#if BUG != 30
	atomic {
		STEP(fill) d_step { assert(state[j] == FREE); state[j] = FILLING; seat[j] = me };
		KILL
	};
#endif
#if BUG == 4
	PUSH(NORMAL, j + 1, KILL);
#endif
	atomic {
		STEP(accept) d_step {
			assert(state[j] == FILLING && seat[j] == me);
			state[j] = READY; seat[j] = 0; accepted[j] = true
		};
		KILL
	};
#if BUG != 4
	PUSH(NORMAL, j + 1, KILL);
#endif
	goto again;
gone:	atomic { j = 0; t = 0; v = 0 };
	atomic {
		seat_state[me] == SEAT_FREE -> seat_state[me] = SEAT_TAKEN;
		goto again
	};
out:	skip
}
#endif

/* The parent, or whoever took its place: one recovery after the other. */
proctype parent()
{
	byte s, r, h, n, i, j, a, v, t;
	byte seen, was;
#if BUG == 27
	bool report;
#endif
idle:	atomic { recovering = false; s = 0; r = 0; h = 0; n = 0; i = 0; j = 0; a = 0; v = 0; t = 0; seen = 0; was = 0 };
	atomic {
		if
		:: dead[1] -> s = 1
#if WORKERS > 1
		:: dead[2] -> s = 2
#endif
#if WORKERS > 2
		:: dead[3] -> s = 3
#endif
#ifdef SUBMITTER
		:: dead[SUBMITTER_SEAT] -> s = SUBMITTER_SEAT
#endif
		:: REST -> goto judge
		fi;
		recovering = true
	};
	atomic { STEP(recover_begin) seat_state[s] = SEAT_RECOVERING; KILL_PARENT };
#if BUG == 15
	atomic { dead[s] = false; seat_state[s] = SEAT_FREE; KILL_PARENT };
#endif
	do
	:: r <= NORMAL ->
		STEP(mark_ring) d_step { h = head[r]; n = tail[r] - h + 1; if :: n > SLOTS -> n = SLOTS :: else fi; i = 0 };
		do
		:: i < n -> STEP(mark_slot) d_step {
				v = SLOT(r, h + i);
				if :: FULL(v) -> seen = seen | (1 << JOB(v)) :: else fi;
				i++; v = 0
			}
		:: else -> break
		od;
		r++
	:: else -> break
	od;
	atomic { r = 0; h = 0; n = 0; i = 0 };
	do
	:: j < high_water ->
		STEP(recover_word) d_step { was = state[j]; a = attempt[j]; i = (seat[j] == s && (was == FILLING || was == CLAIMED || was == STARTED)) };
		if
		:: i ->
#if BUG != 27
			atomic {
				STEP(report) d_step {
					/* "never started" is told of nothing that had an effect */
					assert(was != TOLD_NEVER_STARTED || !ran[j]);
					if :: was == STARTED -> ran[j] = false :: else fi
				};
				KILL_PARENT
			};
#endif
			atomic {
				STEP(verdict) d_step {
					i = (state[j] == was && seat[j] == s && attempt[j] == a);
					if
					:: i && was == FILLING -> state[j] = FREE; seat[j] = 0
#if BUG == 10
					:: i && (was == CLAIMED || was == STARTED) -> state[j] = READY; seat[j] = 0
#else
					:: i && was == STARTED && opaque[j] -> state[j] = AMBIGUOUS
					:: i && (was == CLAIMED || was == STARTED && !opaque[j]) && a >= MAX_CLAIMS -> state[j] = DEAD
					:: i && (was == CLAIMED || was == STARTED && !opaque[j]) && a < MAX_CLAIMS -> state[j] = READY; seat[j] = 0
#endif
					:: else
					fi;
					if
					:: i && was != FILLING ->
						assert(judged[j] < a);	/* one verdict */
						judged[j] = a
					:: else
					fi;
					i = (i && state[j] == READY)
				};
				KILL_PARENT
			};
#if BUG == 27
			atomic { if :: was == STARTED -> ran[j] = false :: else fi; KILL_PARENT };
#endif
			if
#if BUG == 36
			:: false
#elif BUG == 12
			:: i && !(seen & (1 << j)) -> PUSH(URGENT, j + 1, KILL_PARENT)
#else
			:: i -> PUSH(URGENT, j + 1, KILL_PARENT)
#endif
			:: else
			fi
#if BUG != 11
		:: STEP(repair) !i && was == READY && !(seen & (1 << j)) ->
			PUSH(NORMAL, j + 1, KILL_PARENT)
#endif
		:: else
		fi;
		d_step { j++; a = 0; was = 0; i = 0 }
	:: else -> break
	od;
	atomic { STEP(seat_free) dead[s] = false; seat_state[s] = SEAT_FREE; KILL_PARENT };
	goto idle;
gone:	goto idle;	/* the next one starts over */

	/* All is quiet: nothing is lost, and what was said is true. */
judge:	atomic {
		j = 0;
		do
		:: j < JOBS ->
			assert(accepted[j]);
			assert(state[j] == DONE || state[j] == AMBIGUOUS || state[j] == DEAD);
			assert(state[j] != DONE || ran[j]);
			assert(state[j] == DONE || !ran[j]);	/* ambiguous and given up were reported */
			assert(holders[j] == 0);
			j++
		:: else -> break
		od
	}
}

init {
	byte i;
	atomic {
		live = WORKERS;
		i = 0;
		do
		:: i < JOBS ->
#if JOBS == 1
			if :: opaque[i] = true :: opaque[i] = false fi;
#else
			opaque[i] = i % 2;
#endif
#ifndef SUBMITTER
			state[i] = READY; accepted[i] = true;
			SLOT(NORMAL, i) = ENTRY(i, i + 1);
#endif
			i++
		:: else -> break
		od;
#ifdef SUBMITTER
		seat_state[SUBMITTER_SEAT] = SEAT_TAKEN;
		run submitter(SUBMITTER_SEAT);
#else
		tail[NORMAL] = JOBS; high_water = JOBS; handed_in = true;
#endif
		i = 1;
		do
		:: i <= WORKERS -> seat_state[i] = SEAT_TAKEN; run worker(i); i++
		:: else -> break
		od;
		run parent()
	}
}
