/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ring_take.pml - the MPSC ring beside a liar: slots that are taken and given back later, a tail that anybody may write
 *
 * As ring.pml, and beyond it: the consumer takes (hipc_mpsc_take()) and gives back (hipc_mpsc_release(), slot by slot) when he
 * likes, up to a lap later; a task's bytes go through the producer's store buffer ahead of its reference; and somebody with the
 * same memory may write the tail, anything. From then on a producer that finds the ring full gives up (who turns in circles is
 * left to enqueue_tries_max()). Two producers that may end at any step, two tasks each, two slots.
 *
 * Checked: what is taken was published, once, and its bytes are there; no producer waits for ever; and while nobody lied: in
 * order, and all of it, when all is quiet.
 *
 * red   PUBLISH_RELAXED   torn          the slot's CAS does not wait for the task's bytes
 * red   PEEK_NO_LAP       taken_twice   the consumer takes any slot that is not empty, whatever its lap
 * red   GIVE_BACK_AHEAD   stuck         the slot at the head is given back before it is taken
 * red   SAME_LAP          out_of_order  a slot is given back without raising its lap
 * red   TAIL_BELIEVED     not_there     the consumer goes by the tail, not by the slot
 * red   CAS_IGNORES_LAP   out_of_order  the CAS asks for an empty slot of any lap
 * reach LAP_BEHIND    all slots were taken and none was given back
 * reach LIED_TO       a producer published ahead of a slot that is empty, as the liar's tail told it
 * reach GAVE_UP       a producer gave up
 * reach ALL_TAKEN     all four were taken, by way of a second lap, and nobody lied
 */
#include "common.inc"
#define NP	2
#define TASKS	2
#define DEPTH	2

byte lap[DEPTH], ref[DEPTH];	/* the slot word; ref 0: empty, else the producer + 1 */
byte number[DEPTH];		/* ghost: which of the producer's tasks */
byte tail, head, released;
byte written[NP];		/* the newest task of the producer whose bytes are in memory */
byte published[NP], taken[NP];
bit seen[4];			/* ghost: task (producer, number) was taken */
byte running = NP;
bit gave_up, lied;
chan sb[NP] = [1] of { byte };
hidden byte torn, taken_twice, out_of_order, not_there, stuck;

proctype memory()
{
	byte k;

	do
	:: d_step { sb[0]?k -> written[0] = k; k = 0 }
	:: d_step { sb[1]?k -> written[1] = k; k = 0 }
	od
}

proctype liar()
{
	byte value;

	if
	:: select(value : 0 .. 2 * DEPTH + 1); atomic { tail = value; lied = 1; value = 0 }
	:: skip
	fi
}

proctype producer(byte p)
{
	byte pos, l, r, k; bit made;

	do
	:: k < TASKS ->
		if
		:: !made -> STEP(sb[p]!k + 1; made = 1)	/* the task's bytes */
		:: else
		fi;
		STEP(pos = tail);
		STEP(l = lap[pos % DEPTH]; r = ref[pos % DEPTH]);
		if
		:: l < pos / DEPTH ->
			/* full if the tail still says so; who calls again does so when something has moved */
			if
			:: tail == pos && lied -> gave_up = 1; goto dead
			:: tail != pos || lap[pos % DEPTH] != l		/* no end in here: who waits must be seen */
			fi
		:: else ->
			if
#ifdef BREAK_PUBLISH_RELAXED
			:: atomic {
#else
			:: atomic { empty(sb[p]) &&
#endif
#ifdef BREAK_CAS_IGNORES_LAP
				r == 0 && ref[pos % DEPTH] == 0 ->
#else
				r == 0 && l == pos / DEPTH && ref[pos % DEPTH] == 0 && lap[pos % DEPTH] == l ->
#endif
				ref[pos % DEPTH] = p + 1; number[pos % DEPTH] = k + 1; published[p]++; k++; made = 0
#ifdef REACH_LIED_TO
				; REACHED(pos > head && ref[head % DEPTH] == 0)
#endif
			   }
			:: atomic { !(r == 0 && l == pos / DEPTH && ref[pos % DEPTH] == 0 && lap[pos % DEPTH] == l) -> skip }
			fi;
			STEP(if :: tail == pos -> tail++ :: else fi)
		fi;
		atomic { pos = 0; l = 0; r = 0 }
	:: else -> break
	od;
dead:	atomic { pos = 0; l = 0; r = 0; k = 0; made = 0; running-- }
}

proctype consumer()
{
	byte p;

	do
	:: atomic {	/* hipc_mpsc_take() */
#ifdef BREAK_TAIL_BELIEVED
		head < tail && head < 6 ->
#elif defined(BREAK_PEEK_NO_LAP)
		ref[head % DEPTH] != 0 && head < 6 ->
#else
		ref[head % DEPTH] != 0 && lap[head % DEPTH] == head / DEPTH ->
#endif
		CHECK(not_there, ref[head % DEPTH] != 0);
		p = ref[head % DEPTH] - 1;
		CHECK(taken_twice, !seen[p * TASKS + number[head % DEPTH] - 1]);
		seen[p * TASKS + number[head % DEPTH] - 1] = 1;
		CHECK(torn, written[p] >= number[head % DEPTH]);
		taken[p]++;
		CHECK(out_of_order, lied || number[head % DEPTH] == taken[p]);
		head++;
		p = 0;
#ifdef REACH_LAP_BEHIND
		REACHED(head == released + DEPTH && head > DEPTH)
#endif
	   }
#ifdef BREAK_GIVE_BACK_AHEAD
	:: atomic { released <= head && released < 6 && ref[released % DEPTH] != 0 ->
#else
	:: atomic { released < head ->
#endif
		/* a store: whatever stands there. hipc_mpsc_release() */
		ref[released % DEPTH] = 0;
		number[released % DEPTH] = 0;
#ifndef BREAK_SAME_LAP
		lap[released % DEPTH] = released / DEPTH + 1;
#endif
		released++
	   }
	od
}

init {
	byte i;

	atomic { run memory(); run consumer(); run liar(); for (i : 0 .. NP - 1) { run producer(i) } }
	timeout ->
	d_step {
#ifdef REACH_ALL_TAKEN
		REACHED(head == NP * TASKS && !lied);
#endif
#ifdef REACH_GAVE_UP
		REACHED(gave_up);
#endif
		CHECK(stuck, running == 0);
		CHECK(stuck, released == head);
		for (i : 0 .. NP - 1) {
			CHECK(stuck, lied || published[i] == taken[i])
		}
	}
}
