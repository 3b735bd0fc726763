/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client_wake.pml - a client waits with the policy `hybrid`: it sleeps on its park word
 *
 * One client thread that may end at any step, two tasks completed by two workers. It waits for any, then for all, or for
 * all at once; the sleep may end for no reason twice (signal, time slice); a wake-up that is lost must not need that.
 * A store, a fence or the order of loads cannot go wrong here by a buffer: every access that decides is a
 * read-modify-write or a system call. Only the stores of the red variants are buffered.
 *
 * Checked when all is quiet: the client ended, or went through; it does not sleep.
 *
 * red   VALUE_AFTER_CAS    slept_on   the park word is read after the CAS loop
 * red   STORE_THEN_LOAD    slept_on   the runtime stores 1, then looks who waits
 * red   LOAD_THEN_STORE    slept_on   the runtime looks who waits, then stores 1
 * red   WAKE_BEFORE_BUMP   slept_on   the wake call stands before the park word's step
 * red   NO_BUMP            slept_on   the wake call without a step of the park word
 * reach WOKEN              the client slept and was woken by a worker
 * reach VALUE_CHANGED      the sleep was refused: the park word had moved on
 * reach SLEPT_AGAIN        the client slept on a task it had already marked, and went through
 */
#include "common.inc"
#define NT	2
#define SLEEPS	2	/* the value of a task's word when its client sleeps */

byte word[NT];		/* completion: 0 pending, SLEEPS, 1 done */
byte park;		/* a counter; never wraps within one sleep */
bit asleep;
byte spurious;		/* sleeps that will end for no reason: 0 to 2, so none is needed */
bit over;		/* the client ended or went through */
chan sb[NT] = [1] of { byte };
hidden byte slept_on;

proctype memory()
{
	byte v;

	do
	:: d_step { sb[0]?v -> word[0] = v; v = 0 }
	:: d_step { sb[1]?v -> word[1] = v; v = 0 }
	:: atomic { asleep && spurious > 0 -> spurious--; asleep = 0 }
	od
}

inline futex_wake()
{
	d_step {
#ifdef REACH_WOKEN
		REACHED(asleep);
#endif
		asleep = 0
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
	:: old == SLEEPS ->
#ifdef BREAK_WAKE_BEFORE_BUMP
		futex_wake();
		park++
#else
#ifndef BREAK_NO_BUMP
		park++;
#endif
		futex_wake()
#endif
	:: else
	fi;
	old = 0
}

#define MET	((any && ndone > 0) || ndone == NT)

proctype client()
{
	byte v, t, ndone; bit any;
#ifdef REACH_SLEPT_AGAIN
	byte sleeps;
#endif

	if :: any = 1 :: any = 0 fi;
	do
	:: true ->
#ifndef BREAK_VALUE_AFTER_CAS
		STEP(v = park);
#endif
		do
		:: t < NT ->
			STEP(if
				:: word[t] == 0 -> word[t] = SLEEPS
				:: word[t] == SLEEPS -> skip	/* marked in an earlier turn */
				:: word[t] == 1 -> ndone++
				fi; t++)
		:: t == NT -> break
		od;
#ifdef BREAK_VALUE_AFTER_CAS
		STEP(v = park);
#endif
		if
		:: atomic { ndone == NT -> t = 0; ndone = 0; break }
		:: atomic { any && ndone == 1 -> any = 0; t = 0; ndone = 0 }	/* the second wait */
		:: !MET ->
			if
			:: atomic { park == v -> asleep = 1 };
#ifdef REACH_SLEPT_AGAIN
				sleeps++;
#endif
				asleep == 0	/* an end in here changes nothing for anybody */
			:: park != v ->
#ifdef REACH_VALUE_CHANGED
				REACHED(1)
#else
				skip
#endif
			fi;
			atomic { t = 0; ndone = 0; v = 0 }
		fi
	od;
#ifdef REACH_SLEPT_AGAIN
	REACHED(sleeps == 3 && spurious == 0);
#endif
dead:	over = 1
}

init {
	if :: spurious = 0 :: spurious = 1 :: spurious = 2 fi;
	atomic { run memory(); run runtime(0); run runtime(1); run client() }
	timeout ->
	d_step { CHECK(slept_on, over) }
}
