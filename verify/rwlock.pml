/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rwlock.pml - the fibers' lock: one word, a stack of waiters, handed over in order; chi_mutex is one with writers alone
 *
 * word: {newest, LINE, WRITER, readers}. Three fibers on three workers ask twice each, as a reader or a writer, whichever. The
 * word's every change is a read-modify-write, `next` is published by the CAS that pushes, fifo and `next` travel with
 * the ownership: no fence to lose, no buffers.
 *
 * Checked: a writer alone; who waits gets the lock in the order of the pushes, and nobody passes him; nobody waits for ever.
 *
 * red   LOCK_BY_STORE       two_owners    a writer loads a free word, then stores WRITER
 * red   UNLOCK_BY_STORE     lost_waiter   the last stores a free word where it should compare
 * red   READER_JOINS        passed_by     a reader joins readers although somebody waits
 * red   NO_LINE             passed_by     LINE is not kept: the word does not tell of the fifo
 * red   LAST_STAYS_READER   passed_by     the last reader hands over without making itself the writer
 * red   LAST_FREES          lost_waiter   the last reader frees the word although somebody waits
 * red   ALL_HEIRS_READ      two_owners    whoever is next in the fifo enters with the readers
 * red   PUSH_BY_STORE       out_of_order  a waiter pushes itself by a store
 * red   TAKE_BY_STORE       passed_by     the stack is loaded, then cleared by a store
 * red   NEWEST_FIRST        out_of_order  the stack is not turned round
 * reach TOGETHER            two readers were handed the lock at once
 * reach BOTH_KINDS          a writer, handed the lock by a reader, hands it to a reader
 * reach FREED               all done, the word free, at least three waits
 */
#include "common.inc"
#define NF	3
#define TIMES	2
#define NONE	0
#define FIBER(i)	((i) + 1)	/* a fiber as a value of newest and next */

/* the word */
byte newest, readers;
bit line, writer;

byte next[NF];			/* the waiter below in the stack, as FIBER(), or NONE */
bit wants_read[NF];		/* of a waiter */
bit given[NF];			/* the post that hands over */
chan fifo = [NF] of { byte };	/* of who hands over */
chan order = [NF] of { byte };	/* ghost: all who wait, in the order of their push */
byte in_read, in_write, waits, over;
hidden byte two_owners, out_of_order, lost_waiter, passed_by;
#ifdef REACH_BOTH_KINDS
bit by_reader[NF];
#endif

#ifdef BREAK_NO_LINE
#define WAITED_FOR	(newest != NONE)
#else
#define WAITED_FOR	(newest != NONE || line)
#endif
#define FREE		(newest == NONE && !line && !writer && readers == 0)
#ifdef BREAK_READER_JOINS
#define CAN_ENTER(r)	(FREE || (r && !writer))
#else
#define CAN_ENTER(r)	(FREE || (r && !writer && !WAITED_FOR))
#endif

inline enter(r)
{
	if
	:: r -> in_read++
	:: else -> in_write++
	fi;
	CHECK(two_owners, in_write == 0 || (in_write == 1 && in_read == 0))
}

inline leave(r)
{
	d_step {
		if
		:: r -> in_read--
		:: else -> in_write--
		fi
	}
}

proctype fiber(byte me)
{
	byte k, old, s, f, o, n;
	bit r, held;
	chan turned = [NF] of { byte };

	do
	:: k < TIMES ->
		if
		:: r = 0
		:: r = 1
		fi;
		/* lock */
		do
#ifdef BREAK_LOCK_BY_STORE
		:: !r && FREE -> atomic { writer = 1; enter(r); break }
		:: atomic { r && CAN_ENTER(r) -> readers++; enter(r); break }
#else
		:: atomic {
			CAN_ENTER(r) ->
			CHECK(passed_by, len(order) == 0);
			if
			:: r -> readers++
			:: else -> writer = 1
			fi;
			enter(r);
			break
		   }
#endif
		:: atomic { !CAN_ENTER(r) -> old = newest; next[me] = old; wants_read[me] = r };
			if
#ifdef BREAK_PUSH_BY_STORE
			:: atomic { !CAN_ENTER(r) -> newest = FIBER(me); order!me };
#else
			/* the CAS compares the whole word; where only the holders changed, a second try would do the same */
			:: atomic { newest == old && !CAN_ENTER(r) -> newest = FIBER(me); order!me };
#endif
#ifdef REACH_FREED
				waits++;
#endif
				atomic { given[me] -> given[me] = 0; enter(r) };
				break
#ifdef BREAK_PUSH_BY_STORE
			:: CAN_ENTER(r)
#else
			:: newest != old || CAN_ENTER(r)
#endif
			fi
		od;
		/* unlock */
		leave(r);
		held = 0;
		if
		:: atomic { readers > 1 -> readers-- }
		:: readers <= 1 ->
			if
#ifdef BREAK_UNLOCK_BY_STORE
			:: !WAITED_FOR -> atomic { newest = NONE; line = 0; readers = 0; writer = 0 }
#else
			:: atomic { readers <= 1 && !WAITED_FOR -> readers = 0; writer = 0; line = 0 }
#endif
#ifdef BREAK_LAST_FREES
			:: atomic { readers == 1 && WAITED_FOR -> readers = 0 }
			:: atomic { writer && WAITED_FOR -> held = 1 }
#elif defined(BREAK_LAST_STAYS_READER)
			:: atomic { readers <= 1 && WAITED_FOR -> held = 1 }
#else
			:: atomic { readers <= 1 && WAITED_FOR -> readers = 0; writer = 1; held = 1 }
#endif
			:: atomic { readers > 1 -> readers-- }	/* one came meanwhile */
			fi
		fi;
		if
		:: held ->
			/* the fifo is empty: the whole stack, turned round */
			if
			:: len(fifo) == 0 ->
#ifdef BREAK_TAKE_BY_STORE
				s = newest;
				newest = NONE;
#else
				atomic { s = newest; newest = NONE };
#endif
				d_step {
					do
					:: s != NONE -> turned!(s - 1); s = next[s - 1]
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
				}
			:: else
			fi;
			/* the heirs: one writer, or all readers before the next */
			atomic {
				n = 0;
				fifo?f;
				turned!f;
				if
#ifdef BREAK_ALL_HEIRS_READ
				:: true ->
#else
				:: wants_read[f] ->
#endif
					n = 1;
					do
#ifdef BREAK_ALL_HEIRS_READ
					:: len(fifo) > 0 -> fifo?f; turned!f; n++
					:: else -> break
#else
					:: len(fifo) > 0 ->
						fifo?<f>;
						if
						:: wants_read[f] -> fifo?f; turned!f; n++
						:: else -> break
						fi
					:: else -> break
#endif
					od
				:: else
				fi;
				/* publish */
				line = (len(fifo) > 0);
				readers = n;
				writer = (n == 0);
#ifdef REACH_TOGETHER
				REACHED(n == 2);
#endif
				/* they have it: they are not passed by any more */
				n = len(turned);
				do
				:: n > 0 ->
					turned?f; order?o; turned!f; n--;
					CHECK(out_of_order, f == o)
				:: else -> break
				od;
				n = 0; f = 0; o = 0
			};
			/* post them, one by one */
			do
			:: atomic {
				len(turned) > 0 ->
				turned?f;
#ifdef REACH_BOTH_KINDS
				REACHED(!r && by_reader[me] && wants_read[f]);
				by_reader[f] = r && !wants_read[f];
#endif
				given[f] = 1;
				f = 0
			   }
			:: len(turned) == 0 -> break
			od
		:: else
		fi;
		atomic {
			old = 0; held = 0; r = 0; k++;
#ifdef REACH_BOTH_KINDS
			by_reader[me] = 0
#endif
		}
	:: else -> break
	od;
	over++
}

init {
	atomic { run fiber(0); run fiber(1); run fiber(2) }
	timeout ->
	d_step {
#ifdef REACH_FREED
		REACHED(FREE && over == NF && waits >= 3);
#endif
#ifndef BREAK_LOCK_BY_STORE	/* breaks this as well; here to show that two_owners can fail */
		CHECK(lost_waiter, over == NF && FREE && len(order) == 0)
#else
		skip
#endif
	}
}
