/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reclaim.pml - a client's segment goes with the last who may touch it, and not before
 *
 * Two sessions, one after the other in the same slot. Each client pushes up to two tasks into its lane and hangs up when it
 * likes. A reference each: of the connection (ipc_session.c), of the open lane (make_lane(), free_lane()), of each run
 * context (chi_session_get_context() in admit.c, chi_session_put_context()), of an I/O of a device that a task began and did
 * not wait for (today no module begins one; one that does holds chi_session_get() until the kernel is through). The last
 * chi_session_put() hands the session to the ipc thread, which unmaps it and frees its slot (chi_ipc_session_close()).
 *
 * The lanes' worker takes references and makes contexts; two more workers run them. An answer is a store through the buffer:
 * put waits for it (acq_rel).
 *
 * Checked: nobody touches a session or its segment before it is there or after it is gone; who drops the last reference is the
 * last; while an answer is under way the slot, and so the numbers that a task's pointers name, are this client's and not the
 * next one's; when all is quiet, whoever hung up is gone and the slot is free.
 *
 * red   CONTEXT_NOT_COUNTED  touched    a run context takes no reference
 * red   IO_NOT_COUNTED       touched    an I/O takes none: the kernel writes into what is unmapped
 * red   PUT_BEFORE_ANSWER    touched    the context's reference goes before its answer is written
 * red   PUT_RELAXED          touched    put does not wait for the stores before it
 * red   PUT_BEFORE_LOOK      touched    the reference goes with the count, before the look at the parking lot
 * red   LANE_NOT_AWAITED     revived    the lane's reference goes at the hang-up, while its worker may have it
 * red   PUT_BY_STORE         kept       put is a load and a store
 * red   SLOT_FREE_EARLY      confused   the slot, and with it the numbers of client and segment, is given away at the hang-up
 * red   CONNECTION_KEPT      kept       the connection's reference stays
 * reach REUSED         both sessions were there and are gone
 * reach LATE_ANSWER    an answer was written after the hang-up was seen
 * reach IO_LAST        an I/O held the last reference
 * reach CONTEXT_LAST   a context did
 */
#include "common.inc"
#define NS	2	/* sessions */
#define TASKS	2
#define IOS	1

byte there[NS];			/* 0 not yet, 1 mapped, 2 gone */
byte uses[NS], slot, n_made;	/* slot: session + 1; 0: free */
byte ring[NS], pushed[NS];
bit hung_up[NS], ended[NS], retire[NS], retired[NS], reclaimed[NS], freed[NS];
byte n_ios;
byte n_free_late;		/* for reach: who dropped the last reference, 1 context, 2 I/O */
chan runs = [NS * TASKS] of { byte };
chan ios = [IOS] of { byte };
chan sb[2] = [1] of { byte };	/* of the two that run contexts */
hidden byte touched, kept, confused, revived;

#define TOUCH(s)	CHECK(touched, there[s] == 1)

/* chi_session_put(), one step */
#define PUT(s)	uses[s]--; if :: uses[s] == 0 -> reclaimed[s] = 1 :: else fi

proctype memory()
{
	byte s;

	do
	:: d_step { sb[0]?s -> TOUCH(s);
#ifdef REACH_LATE_ANSWER
		REACHED(ended[s]);
#endif
		s = 0 }
	:: d_step { sb[1]?s -> TOUCH(s); s = 0 }
	od
}

/* it writes nothing that the others go by but the ring */
proctype client(byte s)
{
	do
	:: atomic { there[s] == 1 && !hung_up[s] && pushed[s] < TASKS -> ring[s]++; pushed[s]++ }
	:: atomic { there[s] == 1 && !hung_up[s] -> hung_up[s] = 1; break }
	od
}

proctype ipc()
{
	byte s;

	do
	/* chi_ipc_session_open(), and its lane */
	:: atomic { n_made < NS && slot == 0 -> there[n_made] = 1; uses[n_made] = 2; slot = n_made + 1; n_made++ }
	:: atomic { hung_up[0] && !ended[0] -> s = 0 } goto end_it
	:: atomic { hung_up[1] && !ended[1] -> s = 1 } goto end_it
	:: atomic { retired[0] && !freed[0] -> freed[0] = 1; s = 0 } goto free_it
	:: atomic { retired[1] && !freed[1] -> freed[1] = 1; s = 1 } goto free_it
	:: atomic { reclaimed[0] && there[0] == 1 -> s = 0 } goto close_it
	:: atomic { reclaimed[1] && there[1] == 1 -> s = 1 } goto close_it

end_it:		/* chi_ipc_session_end() */
		ended[s] = 1;
#ifdef BREAK_SLOT_FREE_EARLY
		slot = 0;
#endif
#ifdef BREAK_LANE_NOT_AWAITED
		atomic { retired[s] = 1; s = 0 }
#else
		atomic { retire[s] = 1; s = 0 }
#endif
		goto next;

free_it:	/* chi_ipc_session_retired(): the lane's, then the connection's */
		atomic { TOUCH(s); PUT(s) }
#ifndef BREAK_CONNECTION_KEPT
		atomic { TOUCH(s); PUT(s) }
#endif
		s = 0;
		goto next;

close_it:	/* chi_ipc_session_close() */
		atomic {
			CHECK(revived, uses[s] == 0);
			there[s] = 2; slot = (slot == s + 1 -> 0 : slot);
#ifdef REACH_IO_LAST
			REACHED(n_free_late == 2);
#endif
#ifdef REACH_CONTEXT_LAST
			REACHED(n_free_late == 1);
#endif
			s = 0
		}
next:		skip
	od
}

/* The owner of the lanes: turns, and between two of them a retirement. */
proctype worker()
{
	byte s;

	do
	:: atomic { ring[0] > 0 && there[0] != 0 && !retire[0] -> s = 0 } goto turn
	:: atomic { ring[1] > 0 && there[1] != 0 && !retire[1] -> s = 1 } goto turn
	/* chi_worker_drop_lane(), lanes_retired() */
	:: atomic { retire[0] && !retired[0] -> retired[0] = 1 } goto next
	:: atomic { retire[1] && !retired[1] -> retired[1] = 1 } goto next

turn:		if
		:: ended[s]		/* is_ended(): dropped where it is found */
#ifdef BREAK_LANE_NOT_AWAITED
			-> ring[s] = 0
#else
			-> (retire[s])
#endif
		:: !ended[s] ->
			/* chi_worker_admit(): the slot, the task, the claim */
			atomic { TOUCH(s); ring[s]-- }
#ifdef BREAK_CONTEXT_NOT_COUNTED
			atomic { TOUCH(s); runs!s }
#else
			atomic { TOUCH(s); uses[s]++; runs!s }
#endif
		fi;
		s = 0;
next:		skip
	od
}

proctype runner(byte b)
{
	byte s, u;

	do
	:: runs?s ->
		/* the method may begin an I/O */
		if
		:: atomic { n_ios < IOS -> n_ios++; TOUCH(s);
#ifndef BREAK_IO_NOT_COUNTED
			uses[s]++;
#endif
			ios!s }
		:: skip
		fi;
#ifdef BREAK_PUT_BEFORE_ANSWER
		atomic { PUT(s) }
#endif
		/* chi_client_task_done(): outputs, result, word */
		CHECK(confused, slot == s + 1);
		sb[b]!s;
		/* chi_session_put_context(): the count falls, then the look, then the reference */
#if !defined(BREAK_PUT_RELAXED) && !defined(BREAK_PUT_BEFORE_ANSWER)
		empty(sb[b]);
#endif
#ifdef BREAK_PUT_BEFORE_LOOK
		atomic { TOUCH(s); PUT(s) }
		atomic { TOUCH(s); s = 0 }
#elif defined(BREAK_CONTEXT_NOT_COUNTED) || defined(BREAK_PUT_BEFORE_ANSWER)
		s = 0
#elif defined(BREAK_PUT_BY_STORE)
		atomic { TOUCH(s); u = uses[s] }
		atomic { TOUCH(s); uses[s] = u - 1; if :: u == 1 -> reclaimed[s] = 1 :: else fi; u = 0; s = 0 }
#else
		TOUCH(s);	/* the look at the lot */
		atomic { TOUCH(s); PUT(s);
#ifdef REACH_CONTEXT_LAST
			if :: uses[s] == 0 -> n_free_late = 1 :: else fi;
#endif
			s = 0 }
#endif
	od
}

/* The kernel writes when it likes; who hears of it puts. */
proctype device()
{
	byte s;

	do
	:: ios?s ->
		TOUCH(s);
#ifndef BREAK_IO_NOT_COUNTED
		atomic { TOUCH(s); PUT(s);
#ifdef REACH_IO_LAST
			if :: uses[s] == 0 -> n_free_late = 2 :: else fi;
#endif
			s = 0 }
#else
		s = 0
#endif
	od
}

init {
	byte i;

	atomic { run memory(); run ipc(); run worker(); run runner(0); run runner(1); run device();
		 for (i : 0 .. NS - 1) { run client(i) } }
	timeout ->
	d_step {
#ifdef REACH_REUSED
		REACHED(there[0] == 2 && there[1] == 2 && pushed[1] > 0);
#endif
		for (i : 0 .. NS - 1) {
			CHECK(kept, !hung_up[i] || there[i] == 2)
		}
		CHECK(kept, slot == 0 || !hung_up[slot - 1])
	}
}
