/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * container_lane.pml - activation of a container lane: three producers that may end at any step, one worker; or two producers, and the
 * worker puts the third task into the lane when he finds it idle
 *
 * Checked when all is quiet: every enqueue that returned was taken; at any time: the lane is in the run list at most once.
 *
 * red   MARK_BEFORE_PUSH      lost_task    queued is set, then the lane goes to the active queue
 * red   MARK_RELAXED          lost_task    the mark's CAS is no release: it is seen before the push to the active queue
 * red   LOAD_BEFORE_PUSH      lost_task    the activation word is loaded before the ring push
 * red   BELL_INSIDE_IF        lost_task    only who found the lane idle tests `sleeping`
 * red   NO_GENERATION         lost_task    the mark succeeds on any idle word
 * red   DUPLICATE_BY_WORD     lost_task    a lane whose word is idle is dropped as a duplicate
 * red   NO_DUPLICATE_TEST     lane_twice   a duplicate goes to the run list
 * red   NO_SECOND_LOOK        lost_task    the worker does not look again after it stored the idle word
 * red   NO_FENCE_PUSH         lost_task    producer: no fence between ring push and load of the word
 * red   NO_FENCE_BELL         lost_task    producer: no fence between active queue push and load of `sleeping`
 * red   NO_FENCE_IDLE         lost_task    worker: no fence between idle word and second look
 * red   NO_FENCE_SLEEP        lost_task    worker: no fence between `sleeping` and last look
 * red   OWN_NOT_LISTED        lost_task    the worker's own task: marked, but not listed
 * red   OWN_WHEN_LISTED       lane_twice   the worker's own task: the lane is listed whether it is idle or not
 * reach DUPLICATE             a duplicate was dropped
 * reach OWN_DUPLICATE         the worker listed the lane by itself while a producer pushed it: dropped
 * reach WOKEN                 a producer woke the sleeping worker, and its task was taken
 * reach SECOND_LOOK           the second look found work
 * reach STALE_MARK            a mark failed since the worker had moved on
 * reach ALL_TAKEN             all three completed, all taken, worker asleep
 */
#include "common.inc"
#ifndef NP
#define NP	3
#endif
#define W	NP	/* the worker's buffer */

mtype = { RING, ACTIVE, MARK, OWN_MARK, IDLE, SLEEP };
chan sb[NP + 1] = [3] of { mtype, bit };

/*
 * The generation never comes back to an old value, so the model keeps of it only what the mark's CAS asks: is the
 * word still of the generation this producer saw? That answer is `fresh`, and every idle word makes it no.
 */
bit queued, fresh[NP];
bit sleeping, bell;
byte ring;				/* tasks in the ring, the oldest at place 1 */
byte place[NP];				/* where a producer's task stands in it; 0: not in the ring */
bit owed[NP];				/* the enqueue returned and its task is not taken yet */
byte active_queue;			/* entries for this lane */
byte run_list;				/* times the lane is in the worker's run list */
#ifdef REACH_ALL_TAKEN
byte returned_all;
#endif
byte turn;				/* the producers are alike: let them begin in order, nothing is lost */
hidden byte lost_task, lane_twice;

inline pop()
{
	ring--;
	d_step {
		for (i : 0 .. NP - 1) {
			if
			:: place[i] == 1 -> owed[i] = 0
			:: else
			fi;
			place[i] = (place[i] > 0 -> place[i] - 1 : 0)
		}
		i = 0
	}
}

inline apply(p, op, arg)
{
	if
	:: op == RING -> ring++; place[p] = ring
	:: op == ACTIVE -> active_queue++
	:: op == MARK ->
		if
#ifdef BREAK_NO_GENERATION
		:: !queued -> queued = 1
#else
		:: !queued && fresh[p] -> queued = 1
#endif
		:: else ->
#ifdef REACH_STALE_MARK
			REACHED(!queued)
#else
			skip
#endif
		fi;
		fresh[p] = 0
	:: op == OWN_MARK -> queued = 1
	:: op == IDLE -> queued = 0; fresh[0] = 0; fresh[1] = 0; fresh[2] = 0
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
#if NP > 2
	:: d_step { sb[2]?op,arg -> apply(2, op, arg) }
#endif
	:: d_step { sb[W]?op,arg -> apply(W, op, arg) }
	od
}

proctype producer(byte p)
{
	bit q, s;

	atomic { turn == p -> turn++ };
#ifdef BREAK_LOAD_BEFORE_PUSH
	STEP(q = queued; fresh[p] = !q);
#endif
	STEP(sb[p]!RING,0);
#if defined(BREAK_LOAD_BEFORE_PUSH)
	STEP(empty(sb[p]));
#elif defined(BREAK_NO_FENCE_PUSH)
	STEP(q = queued; fresh[p] = !q);
#else
	STEP(empty(sb[p]); q = queued; fresh[p] = !q);
#endif
	if
	:: !q ->
#ifdef BREAK_MARK_BEFORE_PUSH
		STEP(sb[p]!MARK,0);
		STEP(sb[p]!ACTIVE,0);
#elif defined(BREAK_MARK_RELAXED)
		STEP(sb[p]!MARK,0; sb[p]!ACTIVE,0);	/* no end between the two: only their order of being seen */
#else
		STEP(sb[p]!ACTIVE,0);
		STEP(sb[p]!MARK,0);
#endif
	:: else ->
#ifdef BREAK_BELL_INSIDE_IF
		goto returned
#else
		skip
#endif
	fi;
#ifdef BREAK_NO_FENCE_BELL
	STEP(s = sleeping);
#else
	STEP(empty(sb[p]); s = sleeping);
#endif
	if
	:: s -> STEP(bell = 1)
	:: else
	fi;
returned:
#ifdef REACH_ALL_TAKEN
	returned_all++;
#endif
	owed[p] = (nempty(sb[p]) || place[p] > 0);
dead:	atomic { q = 0; s = 0 }
}

proctype worker()
{
	byte i;
#ifdef REACH_OWN_DUPLICATE
	bit own_listed;
#endif
#ifdef REACH_WOKEN
	bit woken;
#endif

	do
	:: atomic { active_queue > 0 ->		/* active queue's turn */
		active_queue--;
		if
#ifdef BREAK_DUPLICATE_BY_WORD
		:: !queued -> skip
#elif !defined(BREAK_NO_DUPLICATE_TEST)
		:: run_list > 0 ->
#ifdef REACH_DUPLICATE
			REACHED(1)
#elif defined(REACH_OWN_DUPLICATE)
			REACHED(own_listed)
#else
			skip
#endif
#endif
		:: else ->
			run_list++;
			CHECK(lane_twice, run_list <= 1)
		fi
	   }
#ifndef BREAK_DUPLICATE_BY_WORD
#ifdef BREAK_OWN_WHEN_LISTED
	:: atomic { turn == NP - 1 && empty(sb[W]) ->
#else
	:: atomic { turn == NP - 1 && run_list == 0 && empty(sb[W]) && !queued ->	/* the last producer's task is the worker's own */
#endif
		turn++;
		ring++; place[NP - 1] = ring; owed[NP - 1] = 1;
#ifndef BREAK_OWN_NOT_LISTED
		run_list++;
		CHECK(lane_twice, run_list <= 1);
#endif
#ifdef REACH_OWN_DUPLICATE
		own_listed = 1
#endif
	   };
		sb[W]!OWN_MARK,0
#endif
	:: run_list > 0 ->			/* run list's turn: a batch of one */
		if
		:: atomic { ring > 0 -> pop();
#ifdef REACH_WOKEN
			REACHED(woken)
#endif
		   }
		:: atomic { ring == 0 -> sb[W]!IDLE,0 };
#ifndef BREAK_NO_SECOND_LOOK
			if
#ifdef BREAK_NO_FENCE_IDLE
			:: ring == 0 -> run_list--
			:: ring > 0 -> skip
#else
#ifdef REACH_OWN_DUPLICATE
			:: atomic { empty(sb[W]) && ring == 0 -> run_list--; own_listed = 0 }
#else
			:: empty(sb[W]) && ring == 0 -> run_list--
#endif
			:: empty(sb[W]) && ring > 0 ->
#ifdef REACH_SECOND_LOOK
				REACHED(1)
#else
				skip
#endif
#endif
			fi
#else
			run_list--
#endif
		fi
	:: atomic { active_queue == 0 && run_list == 0 -> sb[W]!SLEEP,1 };
		if
#ifdef BREAK_NO_FENCE_SLEEP
		:: active_queue == 0 -> 
#else
		:: empty(sb[W]) && active_queue == 0 ->
#endif
			atomic { bell -> bell = 0;
#ifdef REACH_WOKEN
				woken = 1
#endif
			}
		:: active_queue > 0
		fi;
		sb[W]!SLEEP,0
	od
}

init {
	byte i;

	atomic {
		run memory(); run worker();
		for (i : 0 .. NP - 1) { run producer(i) }
	}
	timeout ->
	d_step {
#ifdef REACH_ALL_TAKEN
		REACHED(returned_all == NP && sleeping)
#endif
		for (i : 0 .. NP - 1) {
			CHECK(lost_task, !owed[i])
		}
	}
}
