/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mutex.pml - the fibers' mutex: one word, a stack of waiters, handed over in order
 *
 * word: FREE, HELD, or the newest waiter of a stack (held). Three fibers on three workers, each locks twice. The owner
 * keeps the waiters it took from the stack in a FIFO of its own. The word's every change is a read-modify-write,
 * `next` is published by the CAS that pushes, the FIFO and `next` travel with the ownership: no fence to lose, no buffers.
 *
 * Checked: one owner at a time; waiters get the mutex in the order they were pushed; nobody waits for ever.
 *
 * red   LOCK_BY_STORE       two_owners    lock loads FREE, then stores HELD
 * red   UNLOCK_BY_STORE     lost_waiter   unlock stores FREE where it should compare
 * red   LOAD_THEN_STORE     lost_waiter   the stack is loaded, then the word set to HELD by a store
 * red   PUSH_BY_STORE       out_of_order  a waiter pushes itself by a store
 * red   TAKE_LEAVES_FREE    lost_waiter   the exchange that takes the stack leaves FREE
 * red   NEWEST_FIRST        out_of_order  the stack is not reversed
 * reach HANDED_OVER         a waiter was handed the mutex out of a FIFO of two
 * reach FREED               all done, the word FREE, at least three waits
 */
#include "common.inc"
#define NF	3
#define TIMES	2
#define FREE	0
#define HELD	1
#define FIBER(i)	((i) + 2)	/* a fiber as a value of the word */

byte word;
byte next[NF];			/* the waiter below in the stack, as FIBER(), or HELD: none */
bit given[NF];			/* the post that hands over */
chan fifo = [NF] of { byte };	/* the owner's */
chan order = [NF] of { byte };	/* ghost: all who wait, in the order of their push */
byte owners, waits, over;
hidden byte two_owners, out_of_order, lost_waiter;

inline enter()
{
	owners++;
	CHECK(two_owners, owners == 1)
}

inline leave()
{
	owners--
}

inline hand_over()
{
	atomic {
		fifo?f;
		order?o;
		CHECK(out_of_order, f == o);
#ifdef REACH_HANDED_OVER
		REACHED(len(fifo) == 1);
#endif
		given[f] = 1;
		f = 0; o = 0
	}
}

proctype fiber(byte me)
{
	byte k, old, s, f, o;
	chan turned = [NF] of { byte };

	do
	:: k < TIMES ->
		/* lock */
		do
#ifdef BREAK_LOCK_BY_STORE
		:: word == FREE -> atomic { word = HELD; enter(); break }
#else
		:: atomic { word == FREE -> word = HELD; enter(); break }	/* CAS FREE -> HELD */
#endif
		:: atomic { word != FREE -> old = word };
			next[me] = old;
			if
#ifdef BREAK_PUSH_BY_STORE
			:: atomic { word != FREE -> word = FIBER(me); order!me };
#else
			:: atomic { word == old -> word = FIBER(me); order!me };
#endif
#ifdef REACH_FREED
				waits++;
#endif
				atomic { given[me] -> given[me] = 0; enter() };
				break
#ifndef BREAK_PUSH_BY_STORE
			:: word != old
#else
			:: word == FREE
#endif
			fi
		od;
		/* unlock */
		leave();
		if
		:: len(fifo) > 0 -> hand_over()
		:: len(fifo) == 0 ->
			if
#ifdef BREAK_UNLOCK_BY_STORE
			:: word == HELD -> word = FREE
#else
			:: atomic { word == HELD -> word = FREE }
#endif
			:: word > HELD ->
#if defined(BREAK_LOAD_THEN_STORE)
				s = word;
				word = HELD;
#elif defined(BREAK_TAKE_LEAVES_FREE)
				atomic { s = word; word = FREE };
#else
				atomic { s = word; word = HELD };
#endif
				/* newest first; the FIFO wants them turned round */
				d_step {
					do
					:: s > HELD -> turned!(s - 2); old = s; s = next[s - 2]
					:: else -> break
					od;
#ifdef BREAK_NEWEST_FIRST
					do
					:: len(turned) > 0 -> turned?f; fifo!f
					:: else -> break
					od;
#else
					do
					:: len(turned) > 0 ->
						o = len(turned);
						do
						:: o > 1 -> turned?f; turned!f; o--
						:: else -> break
						od;
						turned?f; fifo!f
					:: else -> break
					od;
#endif
					f = 0; o = 0; s = 0; old = 0
				};
				hand_over()
			fi
		fi;
		atomic { old = 0; k++ }
	:: else -> break
	od;
	over++
}

init {
	atomic { run fiber(0); run fiber(1); run fiber(2) }
	timeout ->
	d_step {
#ifdef REACH_FREED
		REACHED(word == FREE && waits >= 3);
#endif
#ifndef BREAK_LOCK_BY_STORE	/* breaks this as well; here to show that two_owners can fail */
		CHECK(lost_waiter, over == NF && word == FREE && len(order) == 0)
#else
		skip
#endif
	}
}
