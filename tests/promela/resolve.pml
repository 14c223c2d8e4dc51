/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transactional job: its effect and its done-mark are one transaction in Postgres, and a server process goes on
 * with a transaction when its client is dead.  One job; workers and the syncer may be killed after each step, and
 * connections may be lost while the server works on.  The syncer puts a fence into the row, waits for whoever holds
 * it, and then reads the mark.  doc/memory-model.md, "The model", says what each STEP stands for.
 *
 *	spin -a -DWORKERS=2 -DKILLS=2 resolve.pml && cc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m100000
 *
 *	WORKERS, KILLS		how many of each
 *	LOSSES			connections that are lost while both ends live
 *	BACKENDS		server processes; those that work for a dead client are among them
 *	BUG			60: the syncer reads the mark first and sets the fence after; 61: the mark does not
 *				mind the fence; 62: no fence, the syncer only looks; 63: the fence is taken for
 *				set before its transaction has ended
 */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef KILLS
#define KILLS 2
#endif
#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef BACKENDS
#define BACKENDS 3
#endif
#ifndef BUG
#define BUG 0
#endif
#define STEP(name)

/* The job word. */
#define READY 2
#define CLAIMED 3
#define STARTED 4
#define DONE 5
#define AMBIGUOUS 6
byte state = READY, seat, attempt;

/* The row of qbench.effect, and how many rows the ledger has for the job. */
byte lock, fence, done_attempt, ledger;

/* What each server process was asked, by whom, and what clients have heard.  Client 0 is the syncer. */
#define NOTHING 0
#define MARK 1
#define FENCE 2
#define LOOK 3
byte request[BACKENDS], about[BACKENDS];
#define NOBODY 255
byte waits_for[WORKERS + 1];		/* the server process whose answer the client still wants */
#define ANSWER_NONE 0
#define ANSWER_DONE 1
#define ANSWER_UNDONE 2
byte answer[WORKERS + 1];

bool dead[WORKERS + 1];
byte kills, losses, gone_home;

#define KILL if :: kills < KILLS -> kills++; dead[me] = true; waits_for[me] = NOBODY; answer[me] = ANSWER_NONE; goto gone :: true fi
#define TELL(what) \
	c = 0; \
	do \
	:: c <= WORKERS && waits_for[c] == me -> answer[c] = what; waits_for[c] = NOBODY; c++ \
	:: c <= WORKERS && waits_for[c] != me -> c++ \
	:: c > WORKERS -> c = 0; break \
	od

/* Ask some process of the server that has nothing to do. */
#define SEND(what, a) \
	if \
	:: request[0] == NOTHING -> request[0] = what; about[0] = a; waits_for[me] = 0 \
	:: request[1] == NOTHING -> request[1] = what; about[1] = a; waits_for[me] = 1 \
	:: request[2] == NOTHING -> request[2] = what; about[2] = a; waits_for[me] = 2 \
	fi; \
	answer[me] = ANSWER_NONE

proctype backend(byte me)
{
	byte a, old, was, c;
end:	do
	:: atomic {
		request[me] == MARK -> a = about[me] };
		atomic {
			STEP(mark) lock == 0 -> lock = me + 1;
#if BUG == 61
			was = done_attempt != 0
#else
			was = (done_attempt != 0 || fence >= a)
#endif
		};
		if
		:: was -> atomic {
				STEP(mark_refused) lock = 0; request[me] = NOTHING;
				if :: done_attempt != 0 -> TELL(ANSWER_DONE) :: else -> TELL(ANSWER_UNDONE) fi
			}
		:: !was -> atomic {
				STEP(effect_commit) done_attempt = a; ledger++; lock = 0; request[me] = NOTHING;
				assert(ledger == 1);		/* never done twice */
				TELL(ANSWER_DONE)
			}
		fi;
		d_step { a = 0; was = 0 }
	:: atomic {
		request[me] == FENCE -> a = about[me] };
		atomic {
			STEP(fence) lock == 0 -> lock = me + 1; was = done_attempt;
#if BUG == 63
			if :: was -> TELL(ANSWER_DONE) :: else -> TELL(ANSWER_UNDONE) fi;
#endif
			old = fence;
			if :: fence < a -> fence = a :: else fi
		};
		if
		:: atomic {
			STEP(fence_commit) lock = 0; request[me] = NOTHING;
			if :: was -> TELL(ANSWER_DONE) :: else -> TELL(ANSWER_UNDONE) fi
		   }
		:: atomic {
			/* its session was ended: the client has to ask again */
			STEP(fence_rollback) losses < LOSSES -> losses++; fence = old; lock = 0; request[me] = NOTHING;
			TELL(ANSWER_NONE)
		   }
		fi;
		d_step { a = 0; was = 0; old = 0 }
	:: atomic {
		/* a plain select waits for no lock, and sees what is committed */
		request[me] == LOOK -> request[me] = NOTHING;
		if :: done_attempt != 0 -> TELL(ANSWER_DONE) :: else -> TELL(ANSWER_UNDONE) fi }
	od
}

proctype worker(byte me)
{
	byte a;
again:	atomic {
		a = 0;
		if
		:: state == READY -> STEP(claim) attempt++; a = attempt; seat = me; state = CLAIMED; KILL
		:: state == DONE -> goto out
		fi
	};
	atomic { STEP(start) assert(state == CLAIMED && attempt == a); state = STARTED; KILL };
send:	atomic { STEP(send_effect) SEND(MARK, a); KILL };
	atomic {
		if
		:: answer[me] == ANSWER_DONE
		:: answer[me] == ANSWER_UNDONE -> assert(false)	/* nobody who lives is refused */
		:: losses < LOSSES -> losses++; waits_for[me] = NOBODY; answer[me] = ANSWER_NONE; goto send
		fi;
		answer[me] = ANSWER_NONE;
		KILL
	};
	atomic {
		STEP(complete) assert(state == STARTED && seat == me && attempt == a);
		state = DONE;
		KILL
	};
	goto again;
gone:	atomic { !dead[me] -> goto again };
out:	gone_home++
}

proctype syncer()
{
	byte a, me = 0;
again:	atomic {
		a = 0;
		if
		:: state == AMBIGUOUS -> a = attempt
		:: state == DONE -> goto out
		fi
	};
#if BUG == 60
	atomic { SEND(LOOK, a); KILL };
	atomic { answer[me] != ANSWER_NONE };
	if :: answer[me] == ANSWER_DONE -> goto decide :: else fi;
send:	atomic { SEND(FENCE, a); KILL };
	atomic { waits_for[me] == NOBODY -> if :: answer[me] == ANSWER_NONE -> goto send :: else -> answer[me] = ANSWER_UNDONE fi };
#elif BUG == 62
send:	atomic { SEND(LOOK, a); KILL };
	atomic { answer[me] != ANSWER_NONE };
#else
send:	atomic { STEP(send_fence) SEND(FENCE, a); KILL };
	atomic {
		if
		:: answer[me] != ANSWER_NONE
		:: answer[me] == ANSWER_NONE && waits_for[me] == NOBODY -> goto send
		:: losses < LOSSES -> losses++; waits_for[me] = NOBODY; answer[me] = ANSWER_NONE; goto send
		fi;
		KILL
	};
#endif
decide:	atomic {
		STEP(resolve) if
		:: state == AMBIGUOUS && attempt == a && answer[me] == ANSWER_DONE -> state = DONE; assert(done_attempt != 0)
		:: state == AMBIGUOUS && attempt == a && answer[me] == ANSWER_UNDONE -> state = READY; assert(ledger == 0)
		:: else -> assert(false)	/* there is one syncer */
		fi;
		answer[me] = ANSWER_NONE;
		KILL
	};
	goto again;
gone:	atomic { dead[me] = false; goto again };
out:	gone_home++
}

/* Recovery of a worker's seat; claim.pml has its steps one by one. */
proctype parent()
{
	byte w;
	do
	:: atomic {
		if
		:: dead[1] -> w = 1
#if WORKERS > 1
		:: dead[2] -> w = 2
#endif
		:: gone_home == WORKERS + 1 -> break
		fi;
		STEP(verdict) if
		:: seat == w && state == CLAIMED -> state = READY; seat = 0
		:: seat == w && state == STARTED -> state = AMBIGUOUS
		:: else
		fi;
		dead[w] = false
	   }
	od;
	assert(state == DONE && done_attempt != 0 && ledger == 1)	/* done, once, and nothing is in doubt */
}

init {
	byte i;
	atomic {
		i = 0;
		do
		:: i <= WORKERS -> waits_for[i] = NOBODY; i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < BACKENDS -> run backend(i); i++
		:: else -> break
		od;
		i = 1;
		do
		:: i <= WORKERS -> run worker(i); i++
		:: else -> break
		od;
		run syncer();
		run parent()
	}
}
