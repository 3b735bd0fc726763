/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cond.pml - chi_cond: a list under a mutex, a signal that puts its waiter into the mutex's line, a timeout
 *
 * Two waiters want one item each: while there is none, they wait; one of them may run out of time, and gives up then. A producer
 * makes an item under the mutex and signals, once or twice. The mutex is a line of fibers that it is handed to (rwlock.pml). Who
 * runs out of time is claimed by its worker, at any moment while it is blocked, or never.
 *
 * Checked: nobody is made ready twice or while not blocked; an item never lies there while somebody sleeps on; nobody looks
 * at a waiter that has left its frame; one holds the mutex at a time.
 *
 * red   UNLOCK_FIRST        slept_on       the waiter unlocks, then enters the list
 * red   NO_CLAIM            woken_twice    a signal takes the first in the list, claimed or not
 * red   CLAIM_BY_STORE      woken_twice    the claim is looked at, then stored
 * red   TIMEOUT_UNCLAIMED   woken_twice    the timeout makes ready without a claim
 * red   STOP_AT_CLAIMED     slept_on       a signal that finds one out of time ends there
 * red   STAYS_LISTED        freed_touched  who is out of time leaves without taking itself off the list
 * red   NO_RELOCK           freed_touched  who is out of time leaves the list without the mutex, and its frame
 * reach TIMED_OUT           a waiter gave up, the other got its item
 * reach PASSED_BY           a signal passed by a waiter that was out of time, and woke the next
 * reach BOTH_WOKEN          both were signalled
 */
#include "common.inc"
#define NW	2
#define PRODUCER	2
#define FREE	7

byte owner = FREE;
chan mutex_line = [3] of { byte };
chan listed = [2] of { byte };	/* cond's list; under the mutex */
bit claimed[NW], frame[NW], blocked[NW], timed_out[NW];
bit ready[3];			/* made ready: by a hand-over or by the timeout */
byte items, gave_up, got, signalled, over;
bit made_all;
hidden byte woken_twice, slept_on, freed_touched, two_owners;
#ifdef REACH_PASSED_BY
bit passed;
#endif

inline lock(who)
{
	if
	:: atomic { owner == FREE -> owner = who }
	:: atomic { owner != FREE -> mutex_line!who };
		atomic { ready[who] -> ready[who] = 0; CHECK(two_owners, owner == who) }
	fi
}

inline unlock(x)
{
	atomic {
		if
		:: len(mutex_line) > 0 -> mutex_line?x; owner = x; make_ready(x); x = 0
		:: else -> owner = FREE
		fi
	}
}

/* a context is in one line at a time: made ready again before it ran, it would be there twice */
inline make_ready(x)
{
	CHECK(woken_twice, !ready[x]);
	ready[x] = 1
}

inline unlist(who, x, i)
{
	i = len(listed);
	do
	:: i > 0 ->
		listed?x;
		if
		:: x == who
		:: else -> listed!x
		fi;
		i--
	:: else -> break
	od;
	x = 0
}

proctype waiter(byte me)
{
	byte x, i;

	lock(me);
	do
	:: items > 0 -> atomic { items--; got++ }; break
	:: items == 0 ->
		atomic { frame[me] = 1; claimed[me] = 0; timed_out[me] = 0 };
#ifdef BREAK_UNLOCK_FIRST
		unlock(x);
		atomic { listed!me; blocked[me] = 1 };
#else
		atomic { listed!me; blocked[me] = 1 };
		unlock(x);
#endif
		atomic { ready[me] -> ready[me] = 0; blocked[me] = 0 };
		if
		:: timed_out[me] ->
#ifdef BREAK_NO_RELOCK
			d_step { unlist(me, x, i) };
			frame[me] = 0;
			lock(me);
#else
			lock(me);
#ifndef BREAK_STAYS_LISTED
			d_step { unlist(me, x, i) };
#endif
			frame[me] = 0;
#endif
			gave_up++;
			break
		:: else ->
			CHECK(two_owners, owner == me);
			frame[me] = 0
		fi
	od;
	unlock(x);
	over++
}

/* the worker of waiter 0: its heap's check, any time while it is blocked */
proctype timer()
{
	if
#ifdef BREAK_CLAIM_BY_STORE
	:: blocked[0] && !claimed[0] -> claimed[0] = 1;
		atomic { timed_out[0] = 1; make_ready(0) }
#elif defined(BREAK_TIMEOUT_UNCLAIMED)
	:: atomic { blocked[0] -> timed_out[0] = 1; make_ready(0) }
#else
	:: atomic { blocked[0] && !claimed[0] -> claimed[0] = 1; timed_out[0] = 1; make_ready(0) }
#endif
	:: true
	fi
}

inline signal(w)
{
	do
	:: len(listed) == 0 -> break
	:: listed?w ->
		CHECK(freed_touched, frame[w]);
#if defined(BREAK_NO_CLAIM)
		atomic { claimed[w] = 1; mutex_line!w }; break
#else
		if
#if defined(BREAK_CLAIM_BY_STORE)
		:: !claimed[w] -> claimed[w] = 1; mutex_line!w; signalled++; break
#else
		:: atomic { !claimed[w] -> claimed[w] = 1 };
			CHECK(freed_touched, frame[w]);
			mutex_line!w;
			signalled++;
#ifdef REACH_PASSED_BY
			REACHED(passed);
#endif
			break
#endif
		:: claimed[w] ->
#ifdef REACH_PASSED_BY
			passed = 1;
#endif
#ifdef BREAK_STOP_AT_CLAIMED
			break
#else
			skip
#endif
		fi
#endif
	od;
#ifdef REACH_PASSED_BY
	passed = 0;
#endif
	w = 0
}

proctype producer()
{
	byte x, k;

	do
	:: k < 2 ->
		if
		:: k == 1 -> break
		:: true
		fi;
		lock(PRODUCER);
		items++;
		signal(x);
		unlock(x);
		k++
	:: else -> break
	od;
	made_all = 1
}

init {
	atomic { run waiter(0); run waiter(1); run timer(); run producer() }
	timeout ->
	d_step {
#ifdef REACH_TIMED_OUT
		REACHED(gave_up == 1 && got == 1);
#endif
#ifdef REACH_BOTH_WOKEN
		REACHED(signalled == 2 && got == 2);
#endif
		CHECK(slept_on, made_all && owner == FREE && len(mutex_line) == 0 && (items == 0 || over == NW))
	}
}
