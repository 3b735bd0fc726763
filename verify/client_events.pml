/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client_events.pml - a client with an event loop: it sleeps in poll() on its event descriptor and dispatches what ended
 *
 * Three tasks end on three workers. Each worker puts its task in front of the list (one exchange of the head), then stores
 * the task's completion word with the link to the one before, fences, looks at `armed`, and who takes `armed` away sends a
 * byte. The client may end at any step. `rest` is a task it found in the list before its link was stored.
 *
 * Stores of the completion words and of `armed` are buffered; exchanges of head and of `armed`, sends and receives are
 * read-modify-writes or system calls.
 *
 * Checked when all is quiet: the client ended, or dispatched every task; none twice.
 *
 * red   NO_SECOND_LOOK     slept_on    the client sleeps after armed = 1 without another look
 * red   NO_REST_LOOK       slept_on    the second look is at the list's head only, not at the unlinked task
 * red   NO_FENCE_CLIENT    slept_on    client: no fence between armed = 1 and the second look
 * red   NO_FENCE_WORKER    slept_on    worker: no fence between the completion word and the load of `armed`
 * red   ARMED_BEFORE_DONE  slept_on    the worker looks at `armed`, then stores the completion word
 * red   DRAIN_AFTER_ARM    slept_on    the client takes the byte out after it armed
 * red   LINK_NOT_AWAITED   slept_on    the client goes on as if an unlinked task were the list's end
 * red   HEAD_BY_STORE      twice       the worker reads the head and writes it, in two steps
 * reach WOKEN              the client slept and a byte woke it
 * reach SPARED             a task was dispatched whose worker sent nothing
 * reach UNLINKED           the client found a task without its link
 * reach ALL_DISPATCHED     all three, two of them after a sleep
 */
#include "common.inc"
#define NT	3
#define PENDING 0
#define NONE	7	/* the end of the list */

byte head = NONE;
byte word[NT];		/* PENDING; 1 + link when done: the task before it in the list, or NONE */
bit armed;
byte bytes;		/* in the socket */
bit over, sent[NT];
byte n_dispatched, n_sleeps;
byte seen[NT];
chan sb[NT + 1] = [2] of { byte, byte };	/* task or NT: armed; value */
#define C	NT
hidden byte slept_on, twice;

inline apply(at, v)
{
	if
	:: at < NT -> word[at] = v
	:: else -> armed = v
	fi;
	at = 0; v = 0
}

proctype memory()
{
	byte at, v;

	do
	:: d_step { sb[0]?at,v -> apply(at, v) }
	:: d_step { sb[1]?at,v -> apply(at, v) }
	:: d_step { sb[2]?at,v -> apply(at, v) }
	:: d_step { sb[C]?at,v -> apply(at, v) }
	od
}

proctype worker(byte t)
{
	byte before; bit a;

#ifdef BREAK_HEAD_BY_STORE
	atomic { empty(sb[t]); before = head };
	head = t;
	sb[t]!t,1 + before;
#else
	atomic { empty(sb[t]); before = head; head = t };
#ifdef BREAK_ARMED_BEFORE_DONE
	a = armed;
	sb[t]!t,1 + before;
#else
	sb[t]!t,1 + before;
#endif
#endif
#ifndef BREAK_ARMED_BEFORE_DONE
#ifdef BREAK_NO_FENCE_WORKER
	a = armed;
#else
	atomic { empty(sb[t]); a = armed };
#endif
#endif
	if
	:: a ->
		atomic { empty(sb[t]); a = armed; armed = 0 };
		if
		:: a -> d_step { bytes++; sent[t] = 1 }
		:: else
		fi
	:: else
	fi;
	atomic { before = 0; a = 0 }
}

/* The task and all that its links lead to, as far as they are stored; what is not goes to `rest`. */
inline walk()
{
	do
	:: atomic { at == NONE -> rest = NONE; break }
	:: atomic { at != NONE && word[at] != PENDING ->
		seen[at]++;
		n_dispatched++;
#ifdef REACH_SPARED
		REACHED(!sent[at]);
#endif
		at = word[at] - 1 }
	:: atomic { at != NONE && word[at] == PENDING ->
#ifdef REACH_UNLINKED
		REACHED(1);
#endif
#ifdef BREAK_LINK_NOT_AWAITED
		rest = NONE;
#else
		rest = at;
#endif
		break }
	od
}

#ifdef BREAK_NO_REST_LOOK
#define FOUND	(rest == NONE && head != NONE)
#else
#define FOUND	((rest == NONE && head != NONE) || (rest != NONE && word[rest] != PENDING))
#endif

proctype client()
{
	byte at, rest = NONE;

	do
	:: atomic { bytes > 0 -> n_sleeps++ };	/* an end in here would hide the wait */
#ifdef REACH_WOKEN
		REACHED(1);
#endif
again:
#ifndef BREAK_DRAIN_AFTER_ARM
		STEP(bytes = 0);
#endif
		if
		:: rest != NONE -> at = rest
		:: else -> STEP(at = head; head = NONE)
		fi;
		walk();
		if
		:: n_dispatched == NT ->
#ifdef REACH_ALL_DISPATCHED
			REACHED(n_sleeps > 2);
#endif
			goto dead
		:: else
		fi;
		STEP(sb[C]!C,1);
#ifdef BREAK_DRAIN_AFTER_ARM
		STEP(empty(sb[C]); bytes = 0);
#endif
#ifndef BREAK_NO_SECOND_LOOK
#ifdef BREAK_NO_FENCE_CLIENT
		if
		:: FOUND -> goto again
		:: !FOUND
		fi
#else
		if
		:: empty(sb[C]) && FOUND -> goto again
		:: empty(sb[C]) && !FOUND
		fi
#endif
#endif
	od;
dead:	over = 1
}

init {
	/* it has asked for its descriptor and dispatched nothing yet: armed */
	armed = 1;
	atomic { run memory(); run client(); run worker(0); run worker(1); run worker(2) }
	timeout ->
	d_step {
		CHECK(twice, seen[0] <= 1 && seen[1] <= 1 && seen[2] <= 1);
		CHECK(slept_on, over)
	}
}
