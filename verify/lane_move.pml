/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane_move.pml - a container lane goes from one worker to the other and back, while two producers that may end at any step
 * fill it
 *
 * container_lane.pml with two workers. The owner moves the lane between two batches, whenever it likes, also out of its
 * sleep (a request was posted): its flag cleared; the new word {generation + 1, queued, the other}; the lane to the other's active
 * queue; the other's doorbell. Who finds a lane that is not his own passes it on. A batch is a task taken, then started.
 *
 * Buffered: ring push, push to an active queue, mark; the workers' words. Sleeping and waking are one step each: their fences are
 * worker_sleep.pml's and container_lane.pml's matter.
 *
 * Checked when all is quiet: every enqueue that returned was taken; at any time: the lane is in one run list, once; the tasks
 * start in the order of the ring.
 *
 * red   IN_BATCH           out_of_order  the lane is moved between taking a task and starting it
 * red   FLAG_KEPT          lost_task     the old owner leaves its in_run_list set: the new one drops the lane as a duplicate
 * red   NO_OWNER_TEST      lane_twice    who finds the lane runs it, whoever's it is
 * red   NOT_LISTED         lost_task     the lane is not put into the new owner's active queue
 * red   AS_IDLE            lost_task     the new word is idle, and the lane is listed only if the old owner saw work in it
 * red   NOT_RUNG           lost_task     the new owner's doorbell is not rung
 * red   STRAY_DROPPED      lost_task     the lane is listed before the word is stored, and who finds a stray drops it
 * red   NO_GENERATION      lost_task     neither idle nor a move is a new generation: a late mark takes
 * red   NO_SECOND_LOOK     lost_task     the worker does not look again after it stored the idle word
 * red   NO_FENCE_IDLE      lost_task     worker: no fence between idle word and second look
 * reach WORD_AFTER_PUSH    the lane listed before the word, a stray passed on: harmless, and all were taken
 * reach STRAY              a stray was passed on
 * reach STALE_MARK         a producer's mark failed since the lane had gone to the other worker
 * reach THERE_AND_BACK     both moves happened, both tasks were taken, both workers sleep
 * reach WOKEN_FOR_LANE     a sleeping worker was woken by a move
 */
#include "common.inc"
#define NP	2
#define NW	2
#define W(w)	(NP + (w))	/* a worker's buffer */

mtype = { RING, ACTIVE, MARK, WORD };
chan sb[NP + NW] = [4] of { mtype, byte };

/* the word; of the generation the model keeps what a mark's CAS asks: is it still the one this producer saw? */
byte owner;
bit queued, fresh[NP];
bit sleeping[NW], bell[NW];
byte ring;			/* tasks in the ring, the oldest at place 1 */
byte place[NP];
bit owed[NP];			/* the enqueue returned and its task is not taken yet */
byte listed[NW];		/* entries for the lane in each active queue */
byte run_list[NW];		/* times the lane is in a run list */
bit in_run_list;		/* the lane's flag: its owner's memory */
byte moves;			/* that may still be asked for */
byte taken, started;		/* tasks taken from the ring; the number of the last that started */
byte turn;			/* the producers are alike: let them begin in order, nothing is lost */
#if defined(REACH_THERE_AND_BACK) || defined(REACH_WORD_AFTER_PUSH)
byte n_moved;
#endif
hidden byte lost_task, lane_twice, out_of_order;

inline pop()
{
	ring--;
	d_step {
		for (i : 0 .. NP - 1) {
			if
			:: place[i] == 1 -> owed[i] = 0
			:: else
			fi;
			place[i] = (place[i] > 0 -> place[i] - 1 : 0)
		}
		i = 0
	}
}

/* arg: of a producer, the worker it saw in the word; WORD: queued << 1 | owner */
inline apply(p, op, arg)
{
	if
	:: op == RING -> ring++; place[p] = ring
	:: op == ACTIVE -> listed[arg]++
	:: op == MARK ->
		if
#ifdef BREAK_NO_GENERATION
		:: !queued && owner == arg -> queued = 1
#else
		:: !queued && owner == arg && fresh[p] -> queued = 1
#endif
		:: else ->
#ifdef REACH_STALE_MARK
			REACHED(owner != arg)
#else
			skip
#endif
		fi;
		fresh[p] = 0
	:: op == WORD -> queued = arg >> 1; owner = arg & 1; fresh[0] = 0; fresh[1] = 0
	fi;
	op = 0; arg = 0
}

proctype memory()
{
	mtype op; byte arg;

	do
	:: d_step { sb[0]?op,arg -> apply(0, op, arg) }
	:: d_step { sb[1]?op,arg -> apply(1, op, arg) }
	:: d_step { sb[2]?op,arg -> apply(2, op, arg) }
	:: d_step { sb[3]?op,arg -> apply(3, op, arg) }
	od
}

proctype producer(byte p)
{
	bit q; byte w;

	atomic { turn == p -> turn++ };
	STEP(sb[p]!RING,0);
	STEP(empty(sb[p]); q = queued; w = owner; fresh[p] = !q);
	if
	:: !q ->
		STEP(sb[p]!ACTIVE,w);
		STEP(sb[p]!MARK,w)
	:: else
	fi;
	STEP(empty(sb[p]); bell[w] = bell[w] || sleeping[w]);
	owed[p] = (nempty(sb[p]) || place[p] > 0);
dead:	atomic { q = 0; w = 0 }
}

/* the owner hands the lane over; it is between two batches */
inline move()
{
	atomic {
		moves--;
#if defined(REACH_THERE_AND_BACK) || defined(REACH_WORD_AFTER_PUSH)
		n_moved++;
#endif
		run_list[me] = 0;
#ifndef BREAK_FLAG_KEPT
		in_run_list = 0;
#endif
#ifdef BREAK_AS_IDLE
		s = (ring > 0)
#endif
	};
#if defined(BREAK_AS_IDLE)
	sb[W(me)]!WORD,(1 - me);
	if
	:: s -> s = 0; sb[W(me)]!ACTIVE,(1 - me)
	:: else
	fi;
#elif defined(BREAK_STRAY_DROPPED) || defined(REACH_WORD_AFTER_PUSH)
	sb[W(me)]!ACTIVE,(1 - me);
	sb[W(me)]!WORD,(2 + 1 - me);
#elif defined(BREAK_NOT_LISTED)
	sb[W(me)]!WORD,(2 + 1 - me);
#else
	sb[W(me)]!WORD,(2 + 1 - me);
	sb[W(me)]!ACTIVE,(1 - me);
#endif
#ifdef BREAK_NOT_RUNG
	empty(sb[W(me)])
#else
	atomic { empty(sb[W(me)]) -> bell[1 - me] = bell[1 - me] || sleeping[1 - me] }
#endif
}

proctype worker(byte me)
{
	byte i, task; bit s;

	do
	:: atomic { listed[me] > 0 ->		/* active queue's turn */
		listed[me]--;
		if
#ifndef BREAK_NO_OWNER_TEST
		:: owner != me ->
#ifdef REACH_STRAY
			REACHED(1);
#endif
#ifndef BREAK_STRAY_DROPPED
			s = 1			/* pass it on */
#else
			skip
#endif
#endif
#ifdef BREAK_NO_OWNER_TEST
		:: run_list[me] > 0
#else
		:: owner == me && in_run_list
#endif
		:: else ->
			in_run_list = 1;
			run_list[me]++;
			CHECK(lane_twice, run_list[0] + run_list[1] <= 1)
		fi
	   };
		if
		:: s ->
			atomic { s = 0; sb[W(me)]!ACTIVE,(1 - me) };
			atomic { empty(sb[W(me)]) -> bell[1 - me] = bell[1 - me] || sleeping[1 - me] }
		:: else
		fi
	:: run_list[me] > 0 ->			/* run list's turn: a batch of one */
		if
		:: atomic { ring > 0 -> pop(); taken++; task = taken };
#ifdef BREAK_IN_BATCH
			if
			:: moves > 0 -> move()
			:: 1
			fi;
#endif
			atomic { CHECK(out_of_order, task == started + 1); started = task; task = 0 }
		:: atomic { ring == 0 -> sb[W(me)]!WORD,me };
#ifdef BREAK_NO_SECOND_LOOK
			empty(sb[W(me)]);
			atomic { in_run_list = 0; run_list[me] = 0 }
#else
			if
#ifdef BREAK_NO_FENCE_IDLE
			:: atomic { ring == 0 -> in_run_list = 0; run_list[me] = 0 }; empty(sb[W(me)])
			:: ring > 0
#else
			:: atomic { empty(sb[W(me)]) && ring == 0 -> in_run_list = 0; run_list[me] = 0 }
			:: empty(sb[W(me)]) && ring > 0
#endif
			fi
#endif
		fi
#ifndef BREAK_IN_BATCH
	:: moves > 0 && owner == me && empty(sb[W(me)]) -> move()
#endif
	:: atomic { listed[me] == 0 && run_list[me] == 0 && empty(sb[W(me)]) -> sleeping[me] = 1 };
		if
		:: atomic { bell[me] -> bell[me] = 0; sleeping[me] = 0;
#ifdef REACH_WOKEN_FOR_LANE
			REACHED(listed[me] > 0 && owner == me && ring == 0)
#endif
		   }
		:: atomic { moves > 0 && owner == me -> sleeping[me] = 0 }	/* a request to move was posted */
		fi
	od
}

init {
	byte i;

	atomic {
		if
		:: moves = 0
		:: moves = 1
		:: moves = 2
		fi;
		run memory(); run worker(0); run worker(1);
		for (i : 0 .. NP - 1) { run producer(i) }
	}
	timeout ->
	d_step {
#if defined(REACH_THERE_AND_BACK) || defined(REACH_WORD_AFTER_PUSH)
		REACHED(taken == NP && sleeping[0] && sleeping[1] && n_moved == 2);
#endif
		for (i : 0 .. NP - 1) {
			CHECK(lost_task, !owed[i])
		}
	}
}
