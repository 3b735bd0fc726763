/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_end.pml - tasks get into a pool, rest and resume in it, and leave, while it is flushed and ended
 *
 * Two workers let a task each in (chi_pool_get()); a task rests once at most (chi_pool_rest(), chi_pool_resume()) and
 * leaves (chi_pool_put()). The ender (end_pool()): closing = 1; fence; looks until nobody is present (chi_pool_n_present())
 * and no flush has the pool pinned; clears the slot; a round through all workers' inboxes, between two of their turns; frees
 * the pool. The flusher (flush_pool()) flips the parity twice. Locked steps are one step.
 *
 * Buffered: `closing`; the adds of a worker whose answer is not used (all but the count at the way in). Not the cleared slot and the
 * flip: seen late, they are a worker's that has read the slot and the parity, and has not counted yet.
 *
 * Checked: nobody is in the pool when its end saw nobody, and none gets in later; nobody touches it once it is freed; who was
 * in the pool when a flush was asked for, and not at rest, has left or rested at its end; the end comes.
 *
 * red   NO_FENCE         in_ended_pool  the ender: no fence between `closing` and the looks
 * red   LOOK_FIRST       in_ended_pool  the way in: the look at `closing`, then the count
 * red   COUNT_RELAXED    in_ended_pool  the way in: the count may be seen after the look
 * red   CLOSING_IGNORED  in_ended_pool  the way in: no look
 * red   ONE_LOOK         in_ended_pool  the ender looks at who rests, then at who is in flight, and not again
 * red   FLIGHT_FIRST     in_ended_pool  the ender looks at who is in flight, then at who rests, and not again
 * red   MOVES_NOT_TOLD   in_ended_pool  who rested and resumed leaves `resting` as it was
 * red   GONE_THEN_RESTS  in_ended_pool  who rests leaves the count in flight first
 * red   GONE_THEN_BACK   in_ended_pool  who resumes leaves the count at rest first
 * red   NO_ROUND         touched        the pool is freed when its slot is clear
 * red   ROUND_FIRST      touched        the round stands before the slot is cleared
 * red   PINS_IGNORED     touched        the ender does not look at the pins
 * red   ONE_PARITY       flushed_early  a flush waits for the parity that it leaves, not for the other before
 * reach TURNED_AWAY      a task came between the last look and the cleared slot, and found the pool closing
 * reach LOOKED_AGAIN     a task moved while the ender looked
 * reach OVERTAKEN        a task counted in the parity that a flip had left
 * reach AFTER_REST       the pool is freed, and both tasks had been in it and had rested
 */
#include "common.inc"
#define E	2	/* the ender's store buffer */
#define FLUSHES	2

mtype = { FLIGHT_UP, FLIGHT_DOWN, REST_UP, REST_DOWN, CLOSE };
mtype = { OUT, IN, AT_REST };

chan sb[3] = [2] of { mtype, bit };

/* memory */
byte n_in_flight[2], resting, n_moves;	/* the two halves of chi_pool.resting */
bit closing, epoch, cleared, freed, asked[2];
bit pinned, left;			/* under the lock; left: CHI_POOL_LEFT */

/* ghosts */
mtype place[2];
bit asked_in[2];				/* the first before the second: they are alike */
bit waited_for[2];			/* by the flush */
byte n_rested;
bit over;
hidden byte in_ended_pool, touched, flushed_early, stuck;

#define TOUCH		CHECK(touched, !freed)
#define NOBODY_IN	(place[0] == OUT && place[1] == OUT)

inline apply()
{
	if
	:: what == FLIGHT_UP -> TOUCH; n_in_flight[value]++
	:: what == FLIGHT_DOWN -> TOUCH; n_in_flight[value]--
#ifdef BREAK_MOVES_NOT_TOLD
	:: what == REST_UP -> TOUCH; resting++
	:: what == REST_DOWN -> TOUCH; resting--
#else
	:: what == REST_UP -> TOUCH; resting++; n_moves++
	:: what == REST_DOWN -> TOUCH; resting--; n_moves++
#endif
	:: what == CLOSE -> closing = 1
	fi;
	what = 0; value = 0
}

proctype memory()
{
	mtype what; bit value;

	do
	:: d_step { sb[0]?what,value -> apply() }
	:: d_step { sb[1]?what,value -> apply() }
	:: d_step { sb[E]?what,value -> apply() }
	od
}

proctype worker(byte w)
{
	bit e, seen, rested;

	do
	/* chi_pool_get_uncounted() */
	:: atomic { place[w] == OUT && !asked_in[w] && asked_in[0] >= w && !cleared -> asked_in[w] = 1; TOUCH; e = epoch }
#ifdef BREAK_LOOK_FIRST
		atomic { TOUCH; seen = closing }
#endif
#ifdef BREAK_COUNT_RELAXED
		sb[w]!FLIGHT_UP,e;
#else
		atomic { empty(sb[w]) -> TOUCH; n_in_flight[e]++ }
#endif
#if !defined(BREAK_LOOK_FIRST) && !defined(BREAK_CLOSING_IGNORED)
		atomic { TOUCH; seen = closing }
#endif
#ifdef REACH_OVERTAKEN
		REACHED(!seen && e != epoch);
#endif
		if
		:: atomic { seen -> sb[w]!FLIGHT_DOWN,e; e = 0; seen = 0;
#ifdef REACH_TURNED_AWAY
			REACHED(left && !cleared);
#endif
		   }
		:: atomic { !seen -> CHECK(in_ended_pool, !left); place[w] = IN }
		fi

	/* chi_pool_rest() */
	:: atomic { place[w] == IN && !rested -> rested = 1; waited_for[w] = 0; place[w] = AT_REST }
#ifdef BREAK_GONE_THEN_RESTS
		sb[w]!FLIGHT_DOWN,e;
		atomic { sb[w]!REST_UP,0; e = 0 }
#else
		sb[w]!REST_UP,0;
		atomic { sb[w]!FLIGHT_DOWN,e; e = 0 }
#endif

	/* chi_pool_resume() */
	:: atomic { place[w] == AT_REST -> e = epoch }
#ifdef BREAK_GONE_THEN_BACK
		sb[w]!REST_DOWN,0;
		atomic { sb[w]!FLIGHT_UP,e; place[w] = IN }
#else
		sb[w]!FLIGHT_UP,e;
		atomic { sb[w]!REST_DOWN,0; place[w] = IN }
#endif

	/* chi_pool_put() */
	:: atomic { place[w] == IN -> sb[w]!FLIGHT_DOWN,e; waited_for[w] = 0; place[w] = OUT; e = 0;
#ifdef REACH_AFTER_REST
		n_rested = n_rested + rested;
#endif
	   }

	/* its inbox: the round */
	:: atomic { asked[w] && empty(sb[w]) -> asked[w] = 0 }
	od
}

/* One try of chi_pool_n_present(): n, and whether the word stayed as it was. */
inline look()
{
#ifdef BREAK_FLIGHT_FIRST
	n = n_in_flight[0];
	n = n + n_in_flight[1];
	n = n + resting
#else
	atomic { before = resting; moves = n_moves }
	n = n_in_flight[0];
	n = n + n_in_flight[1];
#ifdef BREAK_ONE_LOOK
	n = n + before
#else
	do
	:: atomic { before == resting && moves == n_moves -> n = n + before; break }
	:: atomic { before != resting || moves != n_moves -> before = resting; moves = n_moves;
#ifdef REACH_LOOKED_AGAIN
		REACHED(n == 0);
#endif
	   }
		n = n_in_flight[0];
		n = n + n_in_flight[1]
	od
#endif
#endif
}

inline round()
{
	/* a post is a read-modify-write */
	atomic { empty(sb[E]) -> asked[0] = 1; asked[1] = 1 }
	!asked[0] && !asked[1]
}

proctype ender()
{
	byte n, before, moves;

	sb[E]!CLOSE,1;
#ifndef BREAK_NO_FENCE
	empty(sb[E]);
#endif
	do
	:: look();
		atomic { before = 0; moves = 0 }
		if
		:: n == 0 ->
			if
#ifdef BREAK_PINS_IGNORED
			:: atomic { true -> left = 1; CHECK(in_ended_pool, NOBODY_IN); break }
#else
			:: atomic { !pinned -> left = 1; CHECK(in_ended_pool, NOBODY_IN); break }
			:: pinned -> !pinned	/* look again, when it can help */
#endif
			fi
		:: else -> atomic { n_in_flight[0] == 0 && n_in_flight[1] == 0 && resting == 0 -> n = 0 }
		fi
	od;
#ifdef BREAK_ROUND_FIRST
	round();
#endif
	cleared = 1;
#if !defined(BREAK_NO_ROUND) && !defined(BREAK_ROUND_FIRST)
	round();
#endif
	atomic { empty(sb[E]) -> freed = 1; over = 1;
#ifdef REACH_AFTER_REST
		REACHED(n_rested == 2);
#endif
	}
}

#define WAIT_PARITY(p)	atomic { n_in_flight[p] == 0 || freed -> TOUCH }

proctype flusher()
{
	byte n_flushes; bit p;

	do
	:: atomic { n_flushes < FLUSHES && !left -> pinned = 1; n_flushes++;
		/* who asks has heard of those, so their counts are seen */
		waited_for[0] = (place[0] == IN && empty(sb[0]));
		waited_for[1] = (place[1] == IN && empty(sb[1]));
		p = epoch }
#ifndef BREAK_ONE_PARITY
		WAIT_PARITY(1 - p);
#endif
		epoch = 1 - p;
		WAIT_PARITY(p);
		atomic {
			CHECK(flushed_early, !waited_for[0] && !waited_for[1]);
			waited_for[0] = 0; waited_for[1] = 0; p = 0; pinned = 0 }
	:: else -> break
	od
}

init {
	place[0] = OUT; place[1] = OUT;
	atomic { run memory(); run flusher(); run worker(0); run worker(1); run ender() }
	timeout -> CHECK(stuck, over)
}
