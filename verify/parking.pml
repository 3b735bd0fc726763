/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parking.pml - who finds a bounded ring full parks on its lane; room for k wakes the k that parked first
 *
 * Three parkers (fibers, or client lanes being routed) put two, one and one tasks into a ring of two slots; the other two may, once
 * woken, have no more use for the room. A further producer gives up when the ring is full and may end at any step. The
 * consumer takes batches of at most two and is idle when the ring is empty; that it hears of a push is container_lane.pml's
 * matter, so a push is one visible step here.
 *
 * The lot: `stack` of newcomers (any pushes), `fifo` of those taken off it (the holder's), `room` (who raises it from 0 is the
 * holder until he brought it back to 0), `n_parked`.
 *
 * Buffered: the consumer's slot resets; the parker's count and push of itself. A read-modify-write with an answer drains.
 * The parkers belong to the runtime and do not end alone.
 *
 * Checked: when all is quiet nobody is parked and all tasks were pushed; one park gets one wake-up at most.
 *
 * red   NO_FENCE_PARKER    left_parked   parker: no fence between its push and the look at the ring
 * red   NO_FENCE_CONSUMER  left_parked   consumer: no fence between its resets and the load of `n_parked`
 * red   CHECK_BEFORE_PUSH  left_parked   the parker looks at the ring, then pushes itself
 * red   NO_CHECK           left_parked   the parker does not look at the ring again
 * red   COUNT_LATE         left_parked   `n_parked` is raised after the look at the ring
 * red   FIFO_NOT_COUNTED   left_parked   those that the holder took off the stack count as gone at once
 * red   LOAD_THEN_CLEAR    left_parked   the stack is loaded, then cleared by a store
 * red   TAKE_BEFORE_ROOM   left_parked   the holder takes the newcomers, then reads for how many there is room
 * red   NOT_HANDED_OVER    left_parked   who finds the lot held goes on without leaving word of his room
 * red   NO_PASS_ON         left_parked   who was woken and has no use for the room keeps that to himself
 * red   TWO_HOLDERS        woken_twice   who finds the lot held wakes all the same
 * red   RUN_ON             woken_twice   a parker that saw room at its second look does not wait for its wake-up
 * reach BY_CONSUMER        a parker was woken by the consumer
 * reach BY_PARKER          a parker was woken by another parker
 * reach ITSELF             a parker woke itself
 * reach HANDED_OVER        the holder woke one for another's room
 * reach LEFT_IN_FIFO       some were woken, the next stayed parked
 * reach PASSED_ON          a parker was woken by one that had no use for the room
 */
#include "common.inc"
#define DEPTH	2
#define BATCH	2
#define NP	3
#define C	NP	/* the consumer's buffer */

mtype = { COUNT, PARK, RESET };
chan sb[NP + 1] = [2] of { mtype };

byte used;			/* slots that are not empty, in memory */
byte tasks;			/* what the consumer knows it has still to take: used less its own buffered resets */
chan stack = [NP] of { byte };	/* in the order of the pushes: the holder turns it round */
chan fifo = [NP] of { byte };
byte room, n_parked;
bit wake[NP], waiting[NP];	/* the post; blocked or about to */
byte finished;
hidden byte left_parked, woken_twice;

inline apply(p, op)
{
	if
	:: op == COUNT -> n_parked++
	:: op == PARK -> stack!p
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
	:: d_step { sb[2]?op -> apply(2, op) }
	:: d_step { sb[C]?op -> apply(C, op) }
	od
}

/* exchange(newest, NULL); the fifo is the holder's */
inline take_newcomers()
{
	d_step {
		do
		:: nempty(stack) -> stack?q; fifo!q
#ifdef BREAK_FIFO_NOT_COUNTED
			n_parked--
#endif
		:: empty(stack) -> break
		od;
		q = 0
	}
}

/* chi_parking_wake(k); who: whose buffer; the rest is the caller's own */
inline wake_oldest(who, k)
{
#ifdef BREAK_TWO_HOLDERS
	atomic { empty(sb[who]) -> room = room + k; todo = k };
#elif defined(BREAK_NOT_HANDED_OVER)
	atomic { empty(sb[who]) -> todo = (room == 0 -> k : 0); room = room + todo };
#else
	atomic { empty(sb[who]) -> todo = (room == 0 -> k : 0); room = room + k };
#endif
	do
	:: todo == 0 -> break
	:: todo > 0 ->
#ifdef BREAK_LOAD_THEN_CLEAR
		seen = len(stack);
		d_step {
			do
			:: seen > 0 -> stack?q; fifo!q; seen--
			:: seen == 0 && nempty(stack) -> stack?q	/* came meanwhile: cleared away */
			:: seen == 0 && empty(stack) -> break
			od;
			q = 0
		};
#else
		take_newcomers();
#endif
#ifdef BREAK_TAKE_BEFORE_ROOM
		todo = room;
#endif
#ifdef REACH_HANDED_OVER
		round++;
#endif
		wanted = todo;
		do
		:: wanted > 0 && nempty(fifo) ->
#ifdef BREAK_TWO_HOLDERS
			fifo?<q>;			/* the holder's own memory: no single step */
			atomic {
#else
			atomic {
				fifo?<q>;
#endif
				CHECK(woken_twice, waiting[q] && !wake[q]);
				fifo?q;
#ifndef BREAK_FIFO_NOT_COUNTED
				n_parked--;
#endif
				wanted--;
				wake[q] = 1;
#ifdef REACH_BY_CONSUMER
				REACHED(who == C);
#endif
#ifdef REACH_BY_PARKER
				REACHED(who != C && who != q);
#endif
#ifdef REACH_ITSELF
				REACHED(who == q);
#endif
#ifdef REACH_HANDED_OVER
				REACHED(round == 2);
#endif
				q = 0
			}
		:: wanted == 0 || empty(fifo) -> break
		od;
#ifdef REACH_LEFT_IN_FIFO
		REACHED(len(fifo) > 0 && wanted < todo);
#endif
		wanted = 0;
		atomic { empty(sb[who]) -> room = room - todo; todo = room };
#ifdef BREAK_TWO_HOLDERS
		todo = 0;
#endif
	od
#ifdef REACH_HANDED_OVER
	; round = 0
#endif
}

proctype parker(byte p; byte n; bit may_leave)
{
	byte q, todo, wanted, round, seen;

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
#endif
#ifndef BREAK_COUNT_LATE
			sb[p]!COUNT;
#endif
			sb[p]!PARK;
#ifndef BREAK_NO_FENCE_PARKER
			empty(sb[p]);
#endif
#if !defined(BREAK_NO_CHECK) && !defined(BREAK_CHECK_BEFORE_PUSH)
			if
			:: used == DEPTH
			:: used < DEPTH ->
				wake_oldest(p, 1);
#ifdef BREAK_RUN_ON
				atomic { waiting[p] = 0; goto again }
#endif
			fi;
#endif
#ifdef BREAK_COUNT_LATE
			sb[p]!COUNT;
#endif
			atomic { wake[p] -> wake[p] = 0; waiting[p] = 0 };
			if
			:: may_leave ->
				n = 0;
#ifdef REACH_PASSED_ON
				REACHED(len(fifo) + len(stack) > 0);
#endif
#ifndef BREAK_NO_PASS_ON
				wake_oldest(p, 1)
#endif
			:: 1
			fi;
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
	byte b, q, todo, wanted, round, seen;

	do
	:: tasks > 0 ->
		do
		:: atomic { tasks > 0 && b < BATCH -> tasks--; b++; sb[C]!RESET }
		:: tasks == 0 || b == BATCH -> break
		od;
		if
#ifdef BREAK_NO_FENCE_CONSUMER
		:: n_parked == 0
		:: n_parked > 0 -> wake_oldest(C, b)
#else
		:: empty(sb[C]) && n_parked == 0
		:: empty(sb[C]) && n_parked > 0 -> wake_oldest(C, b)
#endif
		fi;
		b = 0
	od
}

init {
	atomic { run memory(); run consumer(); run parker(0, 2, 0); run parker(1, 1, 1); run parker(2, 1, 1); run passer() }
	timeout ->
	d_step { CHECK(left_parked, finished == NP && n_parked == 0 && len(stack) + len(fifo) == 0) }
}
