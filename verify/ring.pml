/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ring.pml - the MPSC ring: one CAS on the slot claims and publishes, everybody helps the tail
 *
 * Three producers that may end at any step put two tasks each into a ring of two slots: three laps. The loop is
 * hipc_mpsc_enqueue()'s, load by load; a producer that finds the ring full comes back when something has moved.
 * The ring's own words need no store-load fence (who sleeps on a ring adds it: container_lane.pml, client_lane.pml,
 * parking.pml), so there are no store buffers here.
 *
 * Checked: each producer's tasks come out in order, once; when all is quiet everything that was published was taken
 * and nobody who is alive waits, whoever ended wherever.
 *
 * red   TICKET_THEN_WRITE  stuck         a fetch-add on the tail claims, a store publishes
 * red   NO_LAP             stuck         the consumer empties the slot but leaves its lap
 * red   NO_HELP            stuck         only the winner moves the tail
 * red   TAIL_BEFORE_SLOT   stuck         the tail is moved before the slot's CAS
 * red   CAS_IGNORES_LAP    out_of_order  the CAS asks for an empty slot of any lap
 * reach LAPPED             all six tasks taken by way of three laps
 * reach STALE              a producer with a tail of an earlier lap met a slot of a later one
 * reach HELPED             a producer ended between its CAS and the tail, others went past
 * reach FULL               a producer met a full ring
 */
#include "common.inc"
#define NP	3
#define TASKS	2
#define DEPTH	2

byte lap[DEPTH], ref[DEPTH];	/* the slot word; ref 0: empty, else the producer + 1 */
byte number[DEPTH];		/* ghost: which of the producer's tasks */
byte tail, head;
byte published[NP], taken[NP];
byte running = NP;
byte helpless;			/* for reach HELPED: a producer ended before the tail */
hidden byte out_of_order, stuck;

proctype producer(byte p)
{
	byte pos, l, r, k;

	do
	:: k < TASKS ->
#ifdef BREAK_TICKET_THEN_WRITE
		atomic { tail - head < DEPTH -> pos = tail; tail++ };
		STEP(ref[pos % DEPTH] = p + 1; number[pos % DEPTH] = k + 1; published[p]++; k++; pos = 0)
#else
		STEP(pos = tail);
		STEP(l = lap[pos % DEPTH]; r = ref[pos % DEPTH]);
		if
		:: l < pos / DEPTH ->
			/* not taken since the last lap: full if the tail still says so */
#ifdef REACH_FULL
			REACHED(tail == pos);
#endif
			tail != pos || lap[pos % DEPTH] != l	/* no end in here: who waits must be seen */
		:: else ->
#ifdef REACH_STALE
			REACHED(l > pos / DEPTH);
#endif
#ifdef BREAK_TAIL_BEFORE_SLOT
			STEP(if :: tail == pos -> tail++ :: else fi);
			STEP(skip);
#endif
			if
			:: atomic {
#ifdef BREAK_CAS_IGNORES_LAP
				r == 0 && ref[pos % DEPTH] == 0 ->
#else
				r == 0 && l == pos / DEPTH && ref[pos % DEPTH] == 0 && lap[pos % DEPTH] == l ->
#endif
				ref[pos % DEPTH] = p + 1; number[pos % DEPTH] = k + 1; published[p]++; k++
			   }
#ifdef BREAK_NO_HELP
				STEP(if :: tail == pos -> tail++ :: else fi)
#endif
			:: else ->
#ifdef BREAK_NO_HELP
				tail != pos	/* it would spin: here it waits, so that the end is seen */
#else
				skip
#endif
			fi;
#if !defined(BREAK_TAIL_BEFORE_SLOT) && !defined(BREAK_NO_HELP)
#ifdef REACH_HELPED
			if
			:: r == 0 && tail == pos && helpless == 0 -> helpless = pos + 1; goto dead
			:: atomic { if :: tail == pos -> tail++ :: else fi }
			fi
#else
			STEP(if :: tail == pos -> tail++ :: else fi)
#endif
#endif
		fi;
		atomic { pos = 0; l = 0; r = 0 }
#endif
	:: else -> break
	od;
dead:	atomic { pos = 0; l = 0; r = 0; k = 0; running-- }
}

proctype consumer()
{
	byte p;

	do
	:: atomic {
		ref[head % DEPTH] != 0 ->
		p = ref[head % DEPTH] - 1;
		taken[p]++;
		CHECK(out_of_order, number[head % DEPTH] == taken[p]);
		ref[head % DEPTH] = 0;
		number[head % DEPTH] = 0;
#ifndef BREAK_NO_LAP
		lap[head % DEPTH] = lap[head % DEPTH] + 1;
#endif
		head++;
		p = 0
	   }
	od
}

init {
	byte i;

	atomic { run consumer(); for (i : 0 .. NP - 1) { run producer(i) } }
	timeout ->
	d_step {
#ifdef REACH_LAPPED
		REACHED(head == NP * TASKS);
#endif
#ifdef REACH_HELPED
		REACHED(helpless == 2 && head == NP * TASKS - 1);
#endif
		CHECK(stuck, running == 0);
		for (i : 0 .. NP - 1) {
			CHECK(stuck, published[i] == taken[i])
		}
	}
}
