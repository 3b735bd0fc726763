/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parking.pml - who finds a bounded ring full parks on its lane
 *
 * Two parkers (fibers, or client lanes being routed) put three and two tasks into a ring of one slot; a third producer gives
 * up when the ring is full and may end at any step. The consumer takes batches of at most two and is idle when the
 * ring is empty; that it hears of a push is container_lane.pml's matter, so a push is one visible step here.
 *
 * Buffered: the consumer's slot resets and the parker's push of itself onto the stack. An exchange drains.
 * The parkers belong to the runtime and do not end alone.
 *
 * Checked: when all is quiet nobody is parked and all tasks were pushed; one park gets one wake-up at most.
 *
 * red   NO_FENCE_PARKER    left_parked   parker: no fence between its push and the look at the ring
 * red   NO_FENCE_CONSUMER  left_parked   consumer: no fence between its resets and the load of `parked`
 * red   CHECK_BEFORE_PUSH  left_parked   the parker looks at the ring, then pushes itself
 * red   NO_CHECK           left_parked   the parker does not look at the ring again
 * red   LOAD_THEN_CLEAR    woken_twice   the stack is loaded, then cleared by a store
 * red   RUN_ON             woken_twice   a parker that another one took from the stack does not wait for its wake-up
 * reach BY_CONSUMER        a parker was woken by the consumer
 * reach BY_PARKER          a parker was woken by the other parker
 * reach ITSELF             a parker took itself back
 * reach TAKEN_MEANWHILE    a parker found the ring free, but the consumer had taken it from the stack
 * reach BOTH_PARKED        the consumer found both
 */
#include "common.inc"
#define DEPTH	1
#define BATCH	2
#define NP	2
#define C	NP	/* the consumer's buffer */

mtype = { PARK, RESET };
chan sb[NP + 1] = [2] of { mtype };

byte used;			/* slots that are not empty, in memory */
byte tasks;			/* what the consumer knows it has still to take: used less its own buffered resets */
bit parked[NP];			/* on the lane's stack */
bit wake[NP], waiting[NP];	/* the post; blocked or about to */
byte finished;
hidden byte left_parked, woken_twice;

inline apply(p, op)
{
	if
	:: op == PARK -> parked[p] = 1
	:: op == RESET -> used--
	fi;
	op = 0
}

proctype memory()
{
	mtype op;

	do
	:: d_step { sb[0]?op -> apply(0, op) }
	:: d_step { sb[1]?op -> apply(1, op) }
	:: d_step { sb[C]?op -> apply(C, op) }
	od
}

/* exchange(parked, NULL): found[] is what was there */
inline take_parked(b)
{
#ifdef BREAK_LOAD_THEN_CLEAR
	atomic { empty(sb[b]) -> found[0] = parked[0]; found[1] = parked[1] };
	d_step { parked[0] = 0; parked[1] = 0 }
#else
	d_step { empty(sb[b]) -> found[0] = parked[0]; found[1] = parked[1]; parked[0] = 0; parked[1] = 0 }
#endif
}

inline post(to)
{
	atomic {
		found[to] -> found[to] = 0;
		CHECK(woken_twice, waiting[to] && !wake[to]);
		wake[to] = 1
	}
}

proctype parker(byte p; byte n)
{
	bit found[NP];

	do
	:: n == 0 -> break
	:: n > 0 ->
		if
		:: atomic { used < DEPTH -> used++; tasks++; n-- }
		:: atomic { used == DEPTH -> waiting[p] = 1 };
#ifdef BREAK_CHECK_BEFORE_PUSH
			if
			:: atomic { used < DEPTH -> waiting[p] = 0; goto again }
			:: used == DEPTH
			fi;
			sb[p]!PARK;
			empty(sb[p]);
#else
			sb[p]!PARK;
#ifndef BREAK_NO_FENCE_PARKER
			empty(sb[p]);
#endif
#ifndef BREAK_NO_CHECK
			if
			:: used == DEPTH
			:: used < DEPTH ->
				take_parked(p);
				if
				:: found[1 - p] -> post(1 - p);
#ifdef REACH_BY_PARKER
					REACHED(found[p])
#endif
				:: else
				fi;
				if
				:: atomic { found[p] -> found[p] = 0; waiting[p] = 0 };
#ifdef REACH_ITSELF
					REACHED(1);
#endif
					goto again
				:: else ->
#ifdef REACH_TAKEN_MEANWHILE
					REACHED(1)
#else
#ifdef BREAK_RUN_ON
					waiting[p] = 0; goto again
#else
					skip	/* the post is on its way */
#endif
#endif
				fi
			fi;
#endif
#endif
			atomic { wake[p] -> wake[p] = 0; waiting[p] = 0 };
again:			skip
		fi
	od;
	finished++
}

proctype passer()
{
	STEP(if :: used < DEPTH -> used++; tasks++ :: else fi);
dead:	skip
}

proctype consumer()
{
	byte b; bit found[NP];

	do
	:: tasks > 0 ->
		do
		:: atomic { tasks > 0 && b < BATCH -> tasks--; b++; sb[C]!RESET }
		:: tasks == 0 || b == BATCH -> b = 0; break
		od;
		if
#ifdef BREAK_NO_FENCE_CONSUMER
		:: !(parked[0] || parked[1])
		:: parked[0] || parked[1] ->
#else
		:: empty(sb[C]) && !(parked[0] || parked[1])
		:: empty(sb[C]) && (parked[0] || parked[1]) ->
#endif
			take_parked(C);
#ifdef REACH_BOTH_PARKED
			REACHED(found[0] && found[1]);
#endif
			if :: found[0] -> post(0) :: else fi;
			if :: found[1] -> post(1) :: else fi;
#ifdef REACH_BY_CONSUMER
			REACHED(wake[1])
#endif
		fi
	od
}

init {
	atomic { run memory(); run consumer(); run parker(0, 3); run parker(1, 2); run passer() }
	timeout ->
	d_step { CHECK(left_parked, finished == NP && !parked[0] && !parked[1] && !wake[0] && !wake[1]) }
}
