/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * children.pml - a parent is to end after its children, which end on its own worker or elsewhere (C5 in run_context.c)
 *
 * Three children; each ends where chance will have it. The worker runs the parent, and between its steps those children that
 * end there, also while it joins. The count that is its own is a plain word; the other one changes by read-modify-writes alone: no store
 * buffers. A post is in the worker's inbox until it is taken.
 *
 * Checked: the parent ends after all its children, and is told once; it does end.
 *
 * red   OWN_AFTER_JOIN      lost_wake_up   a child that ends on our worker after the join goes by the word that nobody looks at any more
 * red   NOT_ADDED           lost_wake_up   the join does not add its own count to the shared one
 * red   LOOK_AT_SHARED      ended_early    the join takes 0 in the shared word for none
 * red   OWN_FROM_ELSEWHERE  lost_wake_up   a child that ends elsewhere lowers the count of the parent's worker
 * red   STORE_NOT_RMW       lost_wake_up   who ends elsewhere loads the shared word, then stores it
 * red   BELOW_ZERO_POSTS    told_twice     who finds the shared word at 0 or below posts, too
 * reach BELOW_ZERO          two had ended elsewhere before the join, and one was left
 * reach ALL_OWN             all ended on our worker: the shared word was not touched
 * reach LAST_IS_OWN         the last ended on our worker after the join, one elsewhere before it
 * reach LAST_IS_ANOTHERS    the last ended elsewhere after the join, one on our worker before it
 */
#include "common.inc"
#define NC	3

short own, shared;		/* n_own_children, n_children */
bit joins, started, blocked, finished, posted;
byte n_ended, here[2], there[2];	/* ghost: how many ended; where, before and after the join */
bit ended[NC];
hidden byte lost_wake_up, ended_early, told_twice;

inline post()
{
	CHECK(told_twice, joins && !posted && !finished);
	posted = 1
}

/* the child's last step: then the parent's memory may go */
inline lower_shared()
{
	CHECK(ended_early, !finished);
	shared--;
	if
#ifdef BREAK_BELOW_ZERO_POSTS
	:: shared <= 0 -> post()
#else
	:: shared == 0 -> post()
#endif
	:: else
	fi
}

proctype elsewhere(byte c)
{
	short seen;

	atomic { started && !ended[c] -> ended[c] = 1; n_ended++; there[joins]++ };
#if defined(BREAK_OWN_FROM_ELSEWHERE)
	if
	:: atomic { !joins -> seen = own };
		atomic { own = seen - 1 }
	:: atomic { joins -> lower_shared() }
	fi;
#elif defined(BREAK_STORE_NOT_RMW)
	atomic { seen = shared };
	atomic { CHECK(ended_early, !finished); shared = seen - 1;
		if
		:: shared == 0 -> post()
		:: else
		fi
	};
#else
	atomic { lower_shared() };
#endif
	seen = 0
}

/* a child ends on the parent's worker, between two steps of this one */
inline end_one_here()
{
	if
	:: !ended[0] -> ended[0] = 1
	:: !ended[1] -> ended[1] = 1
	:: !ended[2] -> ended[2] = 1
	fi;
	n_ended++; here[joins]++;
#ifdef BREAK_OWN_AFTER_JOIN
	own--
#else
	if
	:: !joins -> own--
	:: else -> lower_shared()
	fi
#endif
}

proctype worker()
{
	short left;

	/* All at once: an end between two starts lowers a count that the next start raises, and the join comes after both. */
	atomic { own = NC; started = 1 };
	do
	:: atomic { n_ended < NC -> end_one_here() }
	:: break
	od;
	/* the parent's method has returned */
	atomic {
#ifdef BREAK_LOOK_AT_SHARED
		if
		:: shared == 0 -> finished = 1
#else
		if
		:: own == 0 -> finished = 1
#endif
		:: else ->
			joins = 1;
#ifdef REACH_BELOW_ZERO
			REACHED(shared == -2 && n_ended == 2);
#endif
			left = shared + own;
#ifndef BREAK_NOT_ADDED
			shared = left;
#endif
			if
			:: left == 0 -> finished = 1
			:: else -> blocked = 1
			fi
		fi
	};
	do
	:: finished -> break
	:: atomic { posted -> posted = 0; finished = 1 }
	:: atomic { blocked && !posted && n_ended < NC -> end_one_here() }
	od;
	atomic {
		CHECK(ended_early, n_ended == NC);
#ifdef REACH_ALL_OWN
		REACHED(here[0] == NC && shared == 0)
#endif
#ifdef REACH_LAST_IS_OWN
		REACHED(here[1] == 1 && there[0] == 1 && there[1] == 0 && blocked)
#endif
#ifdef REACH_LAST_IS_ANOTHERS
		REACHED(there[1] == 1 && here[0] == 1 && here[1] == 0 && blocked)
#endif
	}
}

init {
	atomic { run worker(); run elsewhere(0); run elsewhere(1) }
	timeout ->
	d_step { CHECK(lost_wake_up, finished) }
}
