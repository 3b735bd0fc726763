/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * completion.pml - a fiber waits for its children, which end on other workers
 *
 * A child's `completion` word: PENDING, WAITER (somebody registered) or CLOSED. Three children, three waits of one
 * fiber in a row, each for all or any of some children, some with a timeout, the last for all that are left: so a
 * stray post of an earlier wait has a later one to disturb. After a wait the fiber frees what has ended.
 *
 * Every access to `completion` is a read-modify-write of one word, and nothing else is loaded after a store that
 * another side tests: there is no fence to lose, so no store buffers here. How a post wakes a sleeping worker is
 * worker_sleep.pml's matter. The heap check is a budget that may be zero: a wake-up must not need it.
 *
 * Checked: the fiber ends all its waits; it is made ready only while blocked, once for each block; a post is collected
 * in the wait it was registered for; a completer touches no freed child; nothing is left in the inbox.
 *
 * red   NO_UNREGISTER      stray_post     the fiber leaves a wait without taking its words back
 * red   NO_COLLECT         stray_post     it tries to take them back, but goes on when a post is under way
 * red   STORE_NOT_EXCHANGE lost_wake_up   completer: loads the waiter, then stores CLOSED
 * red   READY_FROM_POST    double_wake_up the completer marks the fiber ready itself
 * red   REGISTER_BY_STORE  lost_wake_up   the waiter stores its registration over CLOSED
 * red   NODE_AFTER_FREE    freed_touched  a completer that found no waiter touches its child after CLOSED
 * reach TIMED_OUT          a wait ended by timeout and its children were taken back, all later waits came through
 * reach COLLECTED          a fiber found a post under way when it left, and collected it
 * reach BY_HEAP            the heap check found a wait complete whose post was still under way
 * reach ANY_LEFT_ONE       wait_any ended and one child of it was waited for again, blocked, and posted
 * reach ALL_DONE           three waits that all blocked and were all ended by posts
 */
#include "common.inc"
#define NC	3
#define ROUNDS	3
#define PENDING	0
#define WAITER	1
#define CLOSED	2

mtype = { RUNNING, BLOCKED, COLLECTING, READY, FINISHED };
mtype state = RUNNING;		/* the fiber's, its worker's alone */
byte word[NC];			/* completion */
byte wait_of[NC];		/* ghost: the wait the registration belongs to */
bit freed[NC];			/* the fiber gave the child's memory back */
chan inbox = [NC] of { byte, byte };	/* child, ghost: wait */
byte round;			/* the wait the fiber is in; ghost but for its use as loop counter */
bit reg[NC], ended[NC], in[NC];	/* per child: registered and not collected; seen to have ended; waited for */
hidden byte stray_post, freed_touched, double_wake_up, lost_wake_up;
#if defined(REACH_TIMED_OUT) || defined(REACH_BY_HEAP) || defined(REACH_ANY_LEFT_ONE) || defined(REACH_ALL_DONE) \
	|| defined(REACH_COLLECTED)
#define HISTORY(x)	x
byte timeouts, blocks, posts_ended, collects, any_left;
#else
#define HISTORY(x)	skip
#endif

proctype completer(byte c)
{
	byte old, n;

#ifdef BREAK_STORE_NOT_EXCHANGE
	atomic { old = word[c]; n = wait_of[c] };
	atomic { CHECK(freed_touched, !freed[c]); word[c] = CLOSED };
#else
	atomic { CHECK(freed_touched, !freed[c]); old = word[c]; n = wait_of[c]; word[c] = CLOSED };
#endif
	if
	:: old == WAITER ->	/* the node posted lies in the child */
#ifdef BREAK_READY_FROM_POST
		atomic { CHECK(double_wake_up, state == BLOCKED || state == COLLECTING); reg[c] = 0; ended[c] = 1;
			state = READY }
#else
		atomic { CHECK(freed_touched, !freed[c]); inbox!c,n }
#endif
	:: else ->
#ifdef BREAK_NODE_AFTER_FREE
		atomic { CHECK(freed_touched, !freed[c]) }
#else
		skip
#endif
	fi;
	atomic { old = 0; n = 0 }
}

#define WAITED(x)	((any && ((in[0] && x(0)) || (in[1] && x(1)) || (in[2] && x(2)))) || \
			(!any && (!in[0] || x(0)) && (!in[1] || x(1)) && (!in[2] || x(2))))
#define SEEN(i)		ended[i]
#define DONE(i)		(word[i] == CLOSED)
#define UNDER_WAY	(reg[0] || reg[1] || reg[2])

inline make_ready()
{
	CHECK(double_wake_up, state == BLOCKED || state == COLLECTING);
	state = READY
}

/* the worker takes one post out of its inbox; only a fiber that is blocked is made ready by it */
inline drain_one(guard)
{
	atomic { (guard) && len(inbox) > 0 -> inbox?c,n;
		CHECK(stray_post, n == round && reg[c]);
		reg[c] = 0; ended[c] = 1;
		if
		:: state == BLOCKED && WAITED(SEEN) -> make_ready(); HISTORY(posts_ended++)
		:: state == COLLECTING && !UNDER_WAY -> make_ready()
		:: else
		fi;
		c = 0; n = 0
	}
}

proctype worker()
{
	byte c, n, checks; bit any, timed;

	do
	:: round < ROUNDS && !(freed[0] && freed[1] && freed[2]) ->
		/* the fiber begins a wait */
		atomic {
			round++;
			c = 0;
			do
			:: c < NC && !freed[c] -> in[c] = 1; c++
			:: c < NC && (freed[c] || round < ROUNDS) -> c++
			:: c == NC -> break
			od;
			c = 0;
			if :: round < ROUNDS && (in[0] || in[1] || in[2]) -> any = 1 :: skip fi;
			if :: round < ROUNDS -> timed = 1 :: skip fi;
			if :: checks = 1 :: checks = 0 fi
		}
		do
		:: c < NC && in[c] ->
			atomic {
				if
#ifdef BREAK_REGISTER_BY_STORE
				:: true -> word[c] = WAITER; wait_of[c] = round; reg[c] = 1
#else
				:: word[c] == PENDING -> word[c] = WAITER; wait_of[c] = round; reg[c] = 1
				:: word[c] == WAITER ->		/* left there by BREAK_NO_UNREGISTER */
					reg[c] = 1
				:: word[c] == CLOSED -> ended[c] = 1
#endif
				fi;
				c++
			}
		:: c < NC && !in[c] -> c++
		:: c == NC -> break
		od;
		atomic { c = 0;
			if
			:: WAITED(SEEN)
			:: else -> state = BLOCKED; HISTORY(blocks++)
			fi
		}
		/* the worker's loop, while the fiber is blocked; a ready fiber may have to wait its turn */
		do
		:: state == RUNNING -> break
		:: state == READY -> state = RUNNING; break
		:: drain_one(state != RUNNING)
		:: atomic { state == BLOCKED && empty(inbox) && checks > 0 ->
			checks--;
			if
			:: WAITED(DONE) -> make_ready();
#ifdef REACH_BY_HEAP
				REACHED(UNDER_WAY && any == 0)
#endif
			:: else
			fi
		   }
		:: atomic { state == BLOCKED && empty(inbox) && timed -> make_ready(); HISTORY(timeouts++) }
		od;
		/* the fiber leaves the wait */
#ifndef BREAK_NO_UNREGISTER
		do
		:: c < NC ->
			atomic {
				if
				:: reg[c] && word[c] == WAITER -> word[c] = PENDING; reg[c] = 0; HISTORY(any_left++)
				:: else
				fi;
				c++
			}
		:: c == NC -> c = 0; break
		od;
#ifndef BREAK_NO_COLLECT
		if
		:: UNDER_WAY -> state = COLLECTING; HISTORY(collects++);
			do
			:: drain_one(state == COLLECTING)
			:: state == READY -> state = RUNNING; break
			od
		:: else
		fi;
#endif
#endif
		/* what has ended is freed; a plain look at the word suffices */
		atomic {
#ifdef REACH_ANY_LEFT_ONE
			REACHED(round == 3 && blocks == 3 && timeouts == 0 && any_left == 1 && posts_ended == 3)
#endif
#ifdef REACH_TIMED_OUT
			REACHED(round == 3 && timeouts == 2 && any_left > 2 && posts_ended == 1)
#endif
#ifdef REACH_COLLECTED
			REACHED(round == 3 && collects > 1)
#endif
#ifdef REACH_ALL_DONE
			REACHED(round == 3 && blocks == 3 && posts_ended == 3)
#endif
			do
			:: c < NC ->
				if
				:: in[c] && word[c] == CLOSED -> freed[c] = 1
				:: else
				fi;
				reg[c] = 0; ended[c] = 0; in[c] = 0; c++
			:: c == NC -> break
			od;
			c = 0; any = 0; timed = 0; checks = 0
		}
	:: else -> break
	od;
	state = FINISHED
}

init {
	atomic { run worker(); run completer(0); run completer(1); run completer(2) }
	timeout ->
	d_step {
		CHECK(stray_post, len(inbox) == 0 || state != FINISHED);
		CHECK(lost_wake_up, state == FINISHED && freed[0] && freed[1] && freed[2])
	}
}
