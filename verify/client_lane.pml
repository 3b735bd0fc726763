/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client_lane.pml - a client's lane, hot or armed: two threads of the client share it and may end at any step
 *
 * The worker's epoll waits on the lane's eventfd, edge-triggered, and nobody reads it: a write makes an edge, a wait
 * that reports it takes it. A hot lane may be left at any time, drained or not: spin time over, the bounded list is
 * full and this is the oldest, or the worker goes to sleep.
 *
 * Checked when all is quiet: every enqueue that returned was taken.
 *
 * red   NO_SECOND_LOOK    lost_task    the worker leaves the lane without looking again after armed = 1
 * red   LOOK_BEFORE_ARM   lost_task    the worker looks, then arms
 * red   NO_FENCE_CLIENT   lost_task    client: no fence between ring push and load of `armed`
 * red   NO_FENCE_WORKER   lost_task    worker: no fence between armed = 1 and second look
 * red   ARMED_BEFORE_PUSH lost_task    the client loads `armed` before the push
 * reach SECOND_LOOK       the second look found work
 * reach SPARED            a task was taken whose thread saw the lane hot and made no system call
 * reach ALL_TAKEN         all tasks enqueued and taken, the lane armed, the worker asleep
 * reach END_BEFORE_BELL   a thread ended between seeing `armed` and writing the eventfd, its task was taken all the same
 */
#include "common.inc"
#define NT	2	/* threads of the client */
#define TASKS	2	/* each enqueues */
#define W	NT	/* the worker's buffer */

mtype = { RING, ARMED };
chan sb[NT + 1] = [2] of { mtype, bit };

bit armed = 1, edge;
byte ring;			/* tasks in the ring, the oldest at place 1 */
byte place[NT];			/* where a thread's newest task stands in it; 0: not in the ring */
bit owed[NT];			/* its enqueue returned and it is not taken yet */
byte returned, ended_early;	/* for the reach variants only */
hidden byte lost_task;

inline pop()
{
	ring--;
	for (i : 0 .. NT - 1) {
		if
		:: place[i] == 1 -> owed[i] = 0;
#ifdef REACH_END_BEFORE_BELL
			REACHED(ended_early == i + 1)
#endif
		:: else
		fi;
		place[i] = (place[i] > 0 -> place[i] - 1 : 0)
	}
	i = 0
}

inline apply(p, op, arg)
{
	if
	:: op == RING -> ring++; place[p] = ring
	:: op == ARMED -> armed = arg
	fi;
	op = 0; arg = 0
}

proctype memory()
{
	mtype op; bit arg;

	do
	:: d_step { sb[0]?op,arg -> apply(0, op, arg) }
	:: d_step { sb[1]?op,arg -> apply(1, op, arg) }
	:: d_step { sb[W]?op,arg -> apply(W, op, arg) }
	od
}

proctype client(byte p)
{
	bit a; byte k;

	do
	:: k < TASKS ->
#ifdef BREAK_ARMED_BEFORE_PUSH
		STEP(a = armed);
		STEP(sb[p]!RING(0));
		STEP(empty(sb[p]));
#else
		STEP(sb[p]!RING(0));
#ifdef BREAK_NO_FENCE_CLIENT
		STEP(a = armed);
#else
		STEP(empty(sb[p]); a = armed);
#endif
#endif
		if
		:: a ->
#ifdef REACH_END_BEFORE_BELL
			if :: edge = 1 :: ended_early = p + 1; goto dead fi
#else
			STEP(edge = 1)
#endif
		:: else ->
#ifdef REACH_SPARED
			REACHED(k == 1 && place[p] == 0)
#else
			skip
#endif
		fi;
		/* returned */
		atomic { a = 0; k++; owed[p] = (nempty(sb[p]) || place[p] > 0);
#ifdef REACH_ALL_TAKEN
			returned++
#endif
		}
	:: else -> break
	od;
dead:	atomic { a = 0; k = 0 }
}

proctype worker()
{
	byte i;

	do
	:: atomic { edge -> edge = 0; sb[W]!ARMED(0) };		/* asleep in epoll */
		do
		:: d_step { ring > 0 -> pop() }
		:: edge -> edge = 0				/* polled while busy; the lane is hot already */
#ifdef BREAK_LOOK_BEFORE_ARM
		:: ring == 0 -> sb[W]!ARMED(1); break
#else
		:: sb[W]!ARMED(1);
#ifdef BREAK_NO_SECOND_LOOK
			empty(sb[W]); break
#else
			if
#ifdef BREAK_NO_FENCE_WORKER
			:: ring == 0 -> break
			:: ring > 0 ->
#else
			:: empty(sb[W]) && ring == 0 -> break
			:: empty(sb[W]) && ring > 0 ->
#ifdef REACH_SECOND_LOOK
				REACHED(1);
#endif
#endif
				sb[W]!ARMED(0)
			fi
#endif
#endif
		od
	od
}

init {
	byte i;

	atomic { run memory(); run worker(); run client(0); run client(1) }
	timeout ->
	d_step {
#ifdef REACH_ALL_TAKEN
		REACHED(returned == NT * TASKS && armed && ring == 0)
#endif
		for (i : 0 .. NT - 1) {
			CHECK(lost_task, !owed[i])
		}
	}
}
