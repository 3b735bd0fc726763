/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker_sleep.pml - a worker goes to sleep while others post to it; posters may end at any step
 *
 * Two posters activate a lane each, one of them twice, over an active queue that holds one entry: who finds it full
 * sets `sweep`. A third posts a node to the inbox. A lane's own activation word is container_lane.pml's matter: here
 * each activation is one more piece of work in its lane. The active queue's claim is seen by other posters at once and
 * by the worker once it leaves the buffer, which is more than real memory allows.
 *
 * Checked when all is quiet: everything whose post returned was taken.
 *
 * red   LOOK_BEFORE_SLEEPING lost_post   the last look stands before sleeping = 1
 * red   NO_FENCE_POSTER      lost_post   poster: no fence before it loads `sleeping`
 * red   NO_FENCE_WORKER      lost_post   worker: no fence between sleeping = 1 and last look
 * red   SWEEP_AFTER_LOOK     lost_post   `sweep` is cleared after the look at all lanes
 * red   NO_SWEEP_LAST_LOOK   lost_post   the last look leaves out `sweep`
 * red   NO_INBOX_LAST_LOOK   lost_post   the last look leaves out the inbox
 * red   NO_ACTIVE_LAST_LOOK  lost_post   the last look leaves out the active queue
 * red   FULL_IS_IGNORED      lost_post   a poster that finds the active queue full does not set `sweep`
 * reach SWEPT                work was found by a sweep
 * reach LAST_LOOK            the last look found a sweep
 * reach WOKEN                the worker slept, was woken, and everything was taken
 */
#include "common.inc"
#define NL	2	/* lanes, each with its poster */
#define W	3	/* the worker's buffer; poster 2 is the inbox's */

mtype = { WORK, ACTIVE, INBOX, SWEEP, SLEEP };
chan sb[4] = [2] of { mtype, bit };

bit claimed;			/* active queue: its one slot is claimed */
byte actq;			/* and what the worker sees there: 0 nothing, else lane + 1 */
bit inbox, sweep, sleeping, bell;
byte work[NL];			/* in the lane, visible */
bit owed[3];			/* returned and not taken */
byte returned, slept;		/* for the reach variants only */
hidden byte lost_post;

inline apply(p, op, arg)
{
	if
	:: op == WORK -> work[p]++
	:: op == ACTIVE -> actq = p + 1
	:: op == INBOX -> inbox = 1
	:: op == SWEEP -> sweep = arg
	:: op == SLEEP -> sleeping = arg
	fi;
	op = 0; arg = 0
}

proctype memory()
{
	mtype op; bit arg;

	do
	:: d_step { sb[0]?op,arg -> apply(0, op, arg) }
	:: d_step { sb[1]?op,arg -> apply(1, op, arg) }
	:: d_step { sb[2]?op,arg -> apply(2, op, arg) }
	:: d_step { sb[W]?op,arg -> apply(W, op, arg) }
	od
}

inline ring_if_asleep(p)
{
#ifdef BREAK_NO_FENCE_POSTER
	STEP(s = sleeping);
#else
	STEP(empty(sb[p]); s = sleeping);
#endif
	if
	:: s -> STEP(bell = 1)
	:: else
	fi;
#ifdef REACH_WOKEN
	returned++
#endif
}

proctype lane_poster(byte p; byte times)
{
	bit s; byte k;

	do
	:: k < times ->
		STEP(sb[p]!WORK(0));
		STEP(empty(sb[p]));		/* the enqueue's first fence */
		if
		:: atomic { !claimed -> claimed = 1; sb[p]!ACTIVE(0) }
		:: claimed ->
#ifndef BREAK_FULL_IS_IGNORED
			STEP(sb[p]!SWEEP(1))
#endif
		:: goto dead
		fi;
		ring_if_asleep(p);
		atomic { s = 0; k++; owed[p] = (work[p] > 0) }
	:: else -> break
	od;
dead:	atomic { s = 0; k = 0 }
}

proctype inbox_poster()
{
	bit s;

	STEP(sb[2]!INBOX(0));
	ring_if_asleep(2);
	owed[2] = (inbox || nempty(sb[2]));
dead:	s = 0
}

inline take(l)
{
	d_step { work[l] = 0; owed[l] = 0 }
}

/* the last look, and what it may leave out */
#ifdef BREAK_NO_FENCE_WORKER
#define FENCED		true
#else
#define FENCED		len(sb[W]) == 0
#endif
#ifdef BREAK_NO_ACTIVE_LAST_LOOK
#define NO_ACTIVE	true
#else
#define NO_ACTIVE	actq == 0
#endif
#ifdef BREAK_NO_INBOX_LAST_LOOK
#define NO_INBOX	true
#else
#define NO_INBOX	inbox == 0
#endif
#ifdef BREAK_NO_SWEEP_LAST_LOOK
#define NO_SWEEP	true
#else
#define NO_SWEEP	sweep == 0
#endif

proctype worker()
{
	byte l;

	do
	:: d_step { inbox -> inbox = 0; owed[2] = 0 }
	:: d_step { actq > 0 -> l = actq - 1; actq = 0; claimed = 0 };
		take(l); l = 0
#ifdef BREAK_SWEEP_AFTER_LOOK
	:: sweep -> take(0); take(1); sweep = 0
#else
	:: atomic { sweep && empty(sb[W]) -> sweep = 0 };	/* an exchange */
#ifdef REACH_SWEPT
		REACHED(work[0] > 0 && actq != 1);
#endif
		take(0); take(1)
#endif
#ifdef BREAK_LOOK_BEFORE_SLEEPING
	:: !inbox && !actq && !sweep -> sb[W]!SLEEP(1); empty(sb[W]);
		atomic { bell -> bell = 0 };
		sb[W]!SLEEP(0)
#else
	:: !inbox && !actq && !sweep -> sb[W]!SLEEP(1);
		if
		:: FENCED && NO_ACTIVE && NO_INBOX && NO_SWEEP -> atomic { bell -> bell = 0;
#ifdef REACH_WOKEN
				slept = 1
#endif
			}
		:: actq || inbox || sweep ->
#ifdef REACH_LAST_LOOK
			REACHED(len(sb[W]) == 0 && sweep && !actq && !inbox)
#else
			skip
#endif
		fi;
		sb[W]!SLEEP(0)
#endif
	od
}

init {
	byte i;

	atomic { run memory(); run worker(); run lane_poster(0, 2); run lane_poster(1, 1); run inbox_poster() }
	timeout ->
	d_step {
#ifdef REACH_WOKEN
		REACHED(slept && returned == 4)
#endif
		for (i : 0 .. 2) {
			CHECK(lost_post, !owed[i])
		}
	}
}
