/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client_wake.pml - clients' threads wait with the policy `hybrid`: they sleep on their park words
 *
 * Two threads that may end at any step wait for the same two tasks, which two workers complete: each for any, then for all, or
 * for all at once. They share a lane, and so a park word and a mark, or each has its own. Whoever finds another's mark looks
 * again and again instead of sleeping: the completion wakes only who marked, and the mark may be taken back. A sleep may end
 * for no reason once (signal, time slice); a wake-up that is lost must not need that.
 * A store, a fence or the order of loads cannot go wrong here by a buffer: every access that decides is a
 * read-modify-write or a system call. Only the stores of the red variants are buffered.
 *
 * Checked when all is quiet: each thread ended, or went through; none sleeps.
 *
 * red   VALUE_AFTER_CAS    slept_on   the park word is read after the CAS loop
 * red   STORE_THEN_LOAD    slept_on   the runtime stores 1, then looks who waits
 * red   LOAD_THEN_STORE    slept_on   the runtime looks who waits, then stores 1
 * red   WAKE_BEFORE_BUMP   slept_on   the wake call stands before the park word's step
 * red   NO_BUMP            slept_on   the wake call without a step of the park word
 * red   ANOTHERS_MARK      slept_on   another's mark passes for one's own
 * red   UNMARKS_ALL        slept_on   who wakes takes another's mark back with his own
 * reach WOKEN              a thread slept and was woken by a worker
 * reach VALUE_CHANGED      the sleep was refused: the park word had moved on
 * reach LOOKED             a thread found another's mark, and the task done later
 */
#include "common.inc"
#define NT	2
#define NC	2
#define MARK(c)	(2 + (shared -> 0 : (c)))	/* the value of a task's word when the thread sleeps */
#define PARK(c)	(shared -> 0 : (c))

byte word[NT];		/* completion: 0 pending, 1 done, else a mark */
byte park[NC];		/* counters; never wrap within one sleep */
bit asleep[NC];
bit shared;
byte spurious;		/* a sleep that will end for no reason: 0 or 1, so none is needed */
byte n_over;		/* threads that ended or went through */
chan sb[NT] = [1] of { byte };
hidden byte slept_on;

proctype memory()
{
	byte v;

	do
	:: d_step { sb[0]?v -> word[0] = v; v = 0 }
	:: d_step { sb[1]?v -> word[1] = v; v = 0 }
	:: atomic { asleep[0] && spurious > 0 -> spurious--; asleep[0] = 0 }
	:: atomic { asleep[1] && spurious > 0 -> spurious--; asleep[1] = 0 }
	od
}

/* All who sleep on the word. */
inline futex_wake(which)
{
	d_step {
#ifdef REACH_WOKEN
		REACHED(asleep[which]);
#endif
		asleep[which] = 0;
		if :: shared -> asleep[1] = 0 :: else fi
	}
}

proctype runtime(byte t)
{
	byte old;

#if defined(BREAK_STORE_THEN_LOAD)
	sb[t]!1;
	empty(sb[t]);
	old = word[t];
#elif defined(BREAK_LOAD_THEN_STORE)
	old = word[t];
	sb[t]!1;
#else
	atomic { empty(sb[t]); old = word[t]; word[t] = 1 };
#endif
	if
	:: old >= 2 ->
#ifdef BREAK_WAKE_BEFORE_BUMP
		futex_wake(old - 2);
		park[old - 2]++
#else
#ifndef BREAK_NO_BUMP
		park[old - 2]++;
#endif
		futex_wake(old - 2)
#endif
	:: else
	fi;
	old = 0
}

#define DONE	((word[0] == 1) + (word[1] == 1))
#define NONE	NT

proctype client(byte c)
{
	byte v, t, n, others = NONE; bit any, mine[NT];

	if :: any = 1 :: any = 0 fi;
	do
	:: true ->
		/* find_done() */
		STEP(if
		     :: DONE == NT -> break
		     :: any && DONE == 1 -> any = 0	/* the second wait */
		     :: else
		     fi);
#ifndef BREAK_VALUE_AFTER_CAS
		STEP(v = park[PARK(c)]);
#endif
		do
		:: t < NT && others == NONE ->
			STEP(if
			     :: word[t] == 0 -> word[t] = MARK(c); mine[t] = 1
#ifdef BREAK_ANOTHERS_MARK
			     :: word[t] >= 2
#else
			     :: word[t] >= 2 -> others = t
#endif
			     :: word[t] == 1 -> n++
			     fi; t++)
		:: else -> break
		od;
#ifdef BREAK_VALUE_AFTER_CAS
		STEP(v = park[PARK(c)]);
#endif
		if
		/* it looks until that changes; a look finds all that is done */
		:: atomic { others != NONE -> (word[others] < 2) };
#ifdef REACH_LOOKED
			REACHED(word[others] == 1)
#else
			skip
#endif
		:: others == NONE && (n == NT || (any && n > 0))
		:: others == NONE && n < NT && !(any && n > 0) ->
			if
			:: atomic { park[PARK(c)] == v -> asleep[c] = 1 };
				asleep[c] == 0	/* an end in here changes nothing for anybody */
			:: park[PARK(c)] != v ->
#ifdef REACH_VALUE_CHANGED
				REACHED(1)
#else
				skip
#endif
			fi
		fi;
		for (t : 0 .. NT - 1) {
			STEP(if
#ifdef BREAK_UNMARKS_ALL
			     :: word[t] == MARK(c) -> word[t] = 0
#else
			     :: mine[t] && word[t] == MARK(c) -> word[t] = 0
#endif
			     :: else
			     fi; mine[t] = 0)
		}
		atomic { t = 0; others = NONE; v = 0; n = 0 }
	od;
dead:	n_over++
}

init {
	if :: spurious = 0 :: spurious = 1 fi;
	if :: shared = 0 :: shared = 1 fi;
	atomic { run memory(); run runtime(0); run runtime(1); run client(0); run client(1) }
	timeout ->
	d_step { CHECK(slept_on, n_over == NC) }
}
