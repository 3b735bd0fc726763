/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane_take.pml - another thread takes lanes out of a worker's lists while the worker is in a method
 *
 * The worker: `running` set, the method, `running` cleared, a look at `taking`, its loop, where it touches its lists. The taker: `taking`
 * set, a barrier in all threads, a look at `running`: in a method, so it touches the lists; `taking` cleared. The lock of the two is the
 * word `taking` here: who waits for the lock waits until it is clear. Three methods, two takes, one after the other at any moment.
 *
 * Buffered: `running` and `taking`. membarrier() is one step: it waits until both buffers are empty.
 *
 * Checked: never are both at the lists; who comes from a method goes on in the end.
 *
 * red   NO_BARRIER         two_owners    the taker does not call membarrier()
 * red   NOT_AWAITED        two_owners    the worker sees that lanes are being taken, and goes on
 * red   LOOK_FIRST         two_owners    the worker looks at `taking` before it clears `running`
 * red   IN_LOOP            two_owners    the taker does not look whether the worker is in a method
 * red   NEVER_CLEARED      stuck         the taker finds the worker out of its methods, and leaves `taking` set
 * reach TAKEN              lanes were taken, the worker came from that method and was awaited
 * reach MISSED             the taker found the worker in its loop
 * reach NEXT_METHOD        the worker was in another method by the time of the look: as good
 */
#include "common.inc"
#define W	0
#define T	1

mtype = { RUNNING, TAKING };
chan sb[2] = [4] of { mtype, byte };

bit running, taking;		/* memory */
bit worker_at_lists, taker_at_lists;
byte n_methods, n_at_taking;	/* begun; when `taking` was set */
bit waited, all_done;
hidden byte two_owners, stuck;

active proctype memory()
{
	mtype what; byte value;

	do
	:: atomic { sb[W]?what(value) -> running = value; value = 0 }
	:: atomic { sb[T]?what(value) -> taking = value; value = 0 }
	od
}

active proctype worker()
{
	bit seen;

	do
	:: n_methods < 3 ->
		atomic { sb[W]!RUNNING(1); n_methods++ }
		skip;				/* the method */
#ifdef BREAK_LOOK_FIRST
		seen = taking;
		sb[W]!RUNNING(0);
#else
		sb[W]!RUNNING(0);
		seen = taking;			/* may be before the store is seen */
#endif
#ifndef BREAK_NOT_AWAITED
		if
		:: seen -> taking == 0; waited = 1
		:: else
		fi;
#endif
		atomic { worker_at_lists = 1; CHECK(two_owners, !taker_at_lists); seen = 0 }
		atomic { worker_at_lists = 0; waited = 0 }
	:: else -> break
	od;
	all_done = 1
}

active proctype taker()
{
	byte n = 0;

	do
	:: n < 2 ->
		atomic { sb[T]!TAKING(1); n_at_taking = n_methods }
#ifndef BREAK_NO_BARRIER
		empty(sb[W]) && empty(sb[T]);
#endif
		if
#ifdef BREAK_IN_LOOP
		:: true ->
#else
		:: running ->
#endif
#ifdef REACH_NEXT_METHOD
			REACHED(n_methods > n_at_taking);
#endif
			atomic { taker_at_lists = 1; CHECK(two_owners, !worker_at_lists) }
			taker_at_lists = 0;
			sb[T]!TAKING(0);
#ifdef REACH_TAKEN
			REACHED(waited);
#endif
		:: !running ->
#ifdef REACH_MISSED
			REACHED(worker_at_lists);
#endif
#ifndef BREAK_NEVER_CLEARED
			sb[T]!TAKING(0)
#else
			skip
#endif
		fi;
		empty(sb[T]);			/* the lock's end is a barrier, too */
		n++
	:: else -> break
	od
}

init {
	timeout -> CHECK(stuck, all_done)
}
