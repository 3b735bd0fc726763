/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client_wake.pml - clients' threads wait with the policy `hybrid`: they sleep on their park words
 *
 * Two threads that may end at any step wait for the same two tasks: each for any, then for all, or for all at once. They share a
 * lane, and so a park word, or each has its own. One worker completes both tasks in one turn, or two workers complete one each, in
 * a turn or outside of one. A task has two words: `done`, which its worker stores, and `sleeper`, for the mark of who is about to
 * sleep. A mark is one's own, also where the park word is not: it names the sleep, and with it the park word. The session counts the
 * sleeps that began.
 *
 *   thread   read the park word; mark each task that is not done; count the sleep; fence; look again; sleep while the word is the
 *            same; take the marks back
 *   worker, in a turn   read the count; for each task: store `done`, look at `sleeper`, with no fence between; at the turn's end:
 *            fence; if the count is another: look at each task's `sleeper` again
 *   worker, else   store `done`; fence; look at `sleeper`
 *   each time there is a mark: raise the park word, wake
 *
 * If the second look does not find a task done, its store is seen later, so the worker's fence and its second reading of the count
 * come later, too. If the first reading was before the count's step, the two differ; if not, the marks were there before the
 * worker looked for the first time.
 *
 * A task whose mark was found is looked at again as well. The mark may have been another's, who takes it back at that time, or of
 * who was woken and sleeps again: in both cases the mark was found while `done` was still in the buffer.
 *
 * Whoever finds another's mark takes its own back and looks again and again instead of sleeping: the completion wakes only who
 * marked, and the mark may be taken back, or stay for ever as its thread ended. A sleep may end for no reason (signal, time slice):
 * instead of falling asleep, which others cannot tell from that. That is a choice, and the other one must do without.
 *
 * Buffered: `done`. Neither raising the park word nor waking empties the buffer: who is woken may not see `done` yet. Marks are put
 * and taken back by read-modify-writes, the sleeps are counted by one.
 *
 * The source looks at all tasks of the turn as the model does, but wakes nobody for a mark that it has woken. Each sleep has a mark of
 * its own and has read the park word before that, so that sleep is over.
 *
 * Not in it: a task's memory that is submitted again before its worker looks at `sleeper`. That finds nothing, or a mark of the
 * next run: a wake-up that nobody needs. Nor how long a turn lasts: who is found at its end sleeps until then.
 *
 * Smaller, and nothing is lost:
 * - A look that finds a task or a wait not done may be an old one. So it is no step of its own but a choice, which is open when the
 *   next step is made: a mark may be put on a task that is done. That allows more, not less.
 * - A wait that is over by the marks is found over by the second look as well, so both go on there.
 * - A park word counts; what matters of it is whether it moved on since it was read: `seen`. So does the count of sleeps: `counted`.
 * - The second look is made right at the count: later it finds more, and that is as a sleep that ends for no reason. The park word
 *   is read right at the first mark: if it moves on before, that refuses the sleep, which is the same again.
 * - Raising the park word and waking are one step: who falls asleep in between needs no waking, as it read the new word.
 * - A turn's first store goes into the buffer when the count is read; it may stay there.
 * - A store with a fence right behind it does not go through the buffer: its worker does nothing in between.
 * - A thread ends before a step that others can see; to end before one that only looks is the same to them.
 * - The threads are alike: if one begins with any and one with all, that is the second and the first.
 *
 * Checked when all is quiet: each thread ended, or went through; none sleeps.
 *
 * red   VALUE_AFTER_LOOK     slept_on   the park word is read after the second look
 * red   VALUE_AFTER_FENCE    slept_on   the park word is read between the thread's fence and its second look
 * red   NO_FENCE_CLIENT      slept_on   no fence between the count and the second look: the count is seen later
 * red   NO_FENCE_TURN        slept_on   no fence at the turn's end, before the count is read again
 * red   NO_FENCE_ALONE       slept_on   no fence between `done` and the look at `sleeper`, outside of a turn
 * red   NO_SECOND_LOOK       slept_on   the sleep is counted, and no look after it
 * red   COUNT_FIRST          slept_on   the sleep is counted, then the tasks are marked
 * red   NOT_COUNTED          slept_on   the sleep is not counted
 * red   SEEN_LATE            slept_on   the worker reads the count for the first time at the turn's end
 * red   WOKEN_FORGOTTEN      slept_on   at the turn's end the worker leaves out the tasks whose mark it had found
 * red   LOOK_FIRST           slept_on   outside of a turn: the worker looks at `sleeper`, then stores 1
 * red   WAKE_BEFORE_BUMP     slept_on   the wake call stands before the park word's step
 * red   NO_BUMP              slept_on   the wake call without a step of the park word
 * red   ANOTHERS_MARK        slept_on   another's mark passes for one's own
 * red   SHARED_MARK          slept_on   the mark names the park word and not the sleep: one takes back what is another's
 * red   UNMARKS_ALL          slept_on   who takes his marks back takes another's with them
 * reach WOKEN                a thread slept and was woken by a worker
 * reach WOKEN_EARLY          the same, and it cannot see that worker's store yet
 * reach WOKEN_AT_TURN_END    the same, by the worker's second look
 * reach VALUE_CHANGED        the sleep was refused: the park word had moved on
 * reach SECOND_LOOK          over by the second look alone: the mark came too late for the worker, `done` for the marking
 * reach LOOKED               a thread found another's mark, and the task done later
 * reach LEFT_BEHIND          the same, and the thread of that mark had ended
 */
#include "common.inc"
#define NT	2
#define NC	2
#define NW	2
#define PARK(c)	(shared -> 0 : (c))
#ifdef BREAK_SHARED_MARK
#define MARK(c)	(1 + PARK(c))
#else
#define MARK(c)	(1 + (c))
#endif

bit done[NT];
byte sleeper[NT];	/* 0 nobody, else a mark */
byte seen[NC];		/* the park word, a counter that never wraps within one sleep: */
#define NOTHING	0	/* not read, or it does not matter any more */
#define SAME	1	/* read; it is the same since */
#define OLD	2	/* read; it has moved on since */
bit asleep[NC];
byte counted[NW];	/* the sleeps' count, for a worker in a turn: as `seen` */
bit shared;
byte n_over;		/* threads that ended or went through */
chan sb[NW] = [NT] of { bit };
hidden byte slept_on;
#ifdef BREAK_WOKEN_FORGOTTEN
bit woken[NT];
#endif
#ifdef REACH_WOKEN_AT_TURN_END
bit at_end[NW];
#endif
#ifdef BREAK_NO_FENCE_CLIENT
bit uncounted[NC];	/* the count's step is in the thread's buffer */
#endif
#ifdef REACH_SECOND_LOOK
bit missed[NT], late[NT];	/* the worker found no mark; the mark was put there after that, with `done` still in the buffer */
#define FOUND_LATE(t)	(late[t] && done[t] && sleeper[t] == MARK(c))
#endif
#ifdef REACH_LEFT_BEHIND
bit ended[NC];
#endif

/* All workers who have read the count. */
inline count_sleep()
{
	if :: counted[0] == SAME -> counted[0] = OLD :: else fi;
	if :: counted[1] == SAME -> counted[1] = OLD :: else fi
}

proctype memory()
{
	bit t;

	do
	:: d_step { sb[0]?t -> done[t] = 1; t = 0 }
	:: d_step { sb[1]?t -> done[t] = 1; t = 0 }
#ifdef BREAK_NO_FENCE_CLIENT
	:: d_step { uncounted[0] -> uncounted[0] = 0; count_sleep() }
	:: d_step { uncounted[1] -> uncounted[1] = 0; count_sleep() }
#endif
	od
}

/* All who have read the word. */
inline bump(which)
{
	if :: PARK(0) == which && seen[0] == SAME -> seen[0] = OLD :: else fi;
	if :: PARK(1) == which && seen[1] == SAME -> seen[1] = OLD :: else fi
}

/* All who sleep on the word. */
inline futex_wake(which)
{
#ifdef REACH_WOKEN
	REACHED(asleep[which]);
#endif
#ifdef REACH_WOKEN_EARLY
	REACHED(asleep[which] && !done[t]);
#endif
#ifdef REACH_WOKEN_AT_TURN_END
	REACHED(asleep[which] && at_end[w]);
#endif
	asleep[which] = 0;
	if :: shared -> asleep[1] = 0 :: else fi
}

#ifdef REACH_SECOND_LOOK
#define SET_MISSED(x)	missed[t] = x
#else
#define SET_MISSED(x)	skip
#endif

inline wake_who_sleeps()
{
	if
	:: atomic { sleeper[t] == 0 -> SET_MISSED(1) }
	:: atomic { sleeper[t] != 0 -> mark = sleeper[t]; SET_MISSED(0) };
#ifdef BREAK_WAKE_BEFORE_BUMP
		d_step { futex_wake(PARK(mark - 1)) };
		d_step { bump(PARK(mark - 1)); mark = 0 }
#else
		d_step {
#ifdef BREAK_WOKEN_FORGOTTEN
			woken[t] = 1;
#endif
#ifndef BREAK_NO_BUMP
			bump(PARK(mark - 1));
#endif
			futex_wake(PARK(mark - 1));
			mark = 0
		}
#endif
	fi
}

#ifdef BREAK_NO_FENCE_TURN
#define FENCE_TURN	true
#else
#define FENCE_TURN	empty(sb[w])
#endif

/* The tasks from `first` up to `end`. */
proctype turn(byte w, first, end)
{
	byte mark, t;

	atomic {
#ifndef BREAK_SEEN_LATE
		counted[w] = SAME;
#endif
		t = first;
		sb[w]!t
	};
	do
	:: true ->
		wake_who_sleeps();		/* the look may be before the store is seen */
		if
		:: atomic { t + 1 < end -> t++; sb[w]!t }
		:: t + 1 == end -> break
		fi
	od;
#ifdef BREAK_SEEN_LATE
	counted[w] = SAME;
#endif
	if
	:: atomic { FENCE_TURN && counted[w] == OLD -> counted[w] = NOTHING; t = first };
#ifdef REACH_WOKEN_AT_TURN_END
		at_end[w] = 1;
#endif
		do
		:: true ->
#ifdef BREAK_WOKEN_FORGOTTEN
			if :: !woken[t] -> wake_who_sleeps() :: else fi;
#else
			wake_who_sleeps();
#endif
			if
			:: atomic { t + 1 < end -> t++ }
			:: t + 1 == end -> break
			fi
		od
	:: atomic { FENCE_TURN && counted[w] == SAME -> counted[w] = NOTHING }
	fi;
	atomic { t = 0; w = 0; first = 0; end = 0 }
}

proctype alone(byte w, t)
{
	byte mark;

#ifdef BREAK_LOOK_FIRST
	wake_who_sleeps();
	done[t] = 1
#else
#ifdef BREAK_NO_FENCE_ALONE
	sb[w]!t;
#else
	done[t] = 1;
#endif
	wake_who_sleeps()
#endif
	;
	atomic { t = 0; w = 0 }
}

#define N_DONE	(done[0] + done[1])
#define IS_OVER	(N_DONE == NT || (any && N_DONE > 0))
#define NONE	NT

inline second_look()
{
#ifdef REACH_SECOND_LOOK
	REACHED(IS_OVER && (FOUND_LATE(0) || FOUND_LATE(1)));
#endif
	if
	:: IS_OVER -> seen[c] = NOTHING; goto unmark
	:: else
	fi
}

proctype client(byte c; bit any)
{
	byte i, t, others = NONE;

	do
	:: true ->
again:		if
		:: N_DONE == NT -> goto through
		:: any && N_DONE > 0 -> any = 0; goto again	/* the second wait */
		:: true
		fi;
#ifdef BREAK_COUNT_FIRST
		STEP(count_sleep());
#endif
		do
		:: i < NT && others == NONE ->
			STEP(t = i;
#if !defined(BREAK_VALUE_AFTER_LOOK) && !defined(BREAK_VALUE_AFTER_FENCE)
			     if :: i == 0 -> seen[c] = SAME :: else fi;
#endif
			     if
			     :: done[t]
			     :: sleeper[t] == 0 -> sleeper[t] = MARK(c);
#ifdef REACH_SECOND_LOOK
				late[t] = missed[t] && !done[t]
#endif
#ifdef BREAK_ANOTHERS_MARK
			     :: sleeper[t] != 0
#else
			     :: sleeper[t] != 0 -> others = t
#endif
			     fi; i++)
		:: else -> break
		od;
		atomic { i = 0; t = 0 }
		if
		:: others == NONE
		:: others != NONE -> seen[c] = NOTHING; goto unmark
		fi;
#ifdef BREAK_VALUE_AFTER_FENCE
		STEP(count_sleep());
		seen[c] = SAME;
		STEP(second_look());
#else
		STEP(
#ifdef BREAK_NO_FENCE_CLIENT
		     uncounted[c] = 1;
#elif !defined(BREAK_NOT_COUNTED) && !defined(BREAK_COUNT_FIRST)
		     count_sleep();
#endif
#ifdef BREAK_NO_SECOND_LOOK
		     skip
#else
		     second_look()
#endif
		    );
#endif
#ifdef BREAK_VALUE_AFTER_LOOK
		seen[c] = SAME;
#endif
#ifdef BREAK_NO_FENCE_CLIENT
		!uncounted[c];		/* the system call */
#endif
		if
		:: atomic { seen[c] == SAME -> asleep[c] = 1; seen[c] = NOTHING };
			asleep[c] == 0	/* an end in here changes nothing for anybody */
		:: atomic {
#ifdef REACH_VALUE_CHANGED
			REACHED(seen[c] == OLD);
#endif
			seen[c] = NOTHING }	/* the word moved on, or for no reason */
		fi;
unmark:		for (t : 0 .. NT - 1) {
			if
#ifdef BREAK_UNMARKS_ALL
			:: true -> STEP(sleeper[t] = 0)
#else
			:: atomic { sleeper[t] == MARK(c) -> sleeper[t] = 0 }
			:: sleeper[t] == MARK(c) -> goto dead
			:: sleeper[t] != MARK(c)
#endif
			fi
		}
		t = 0;
		if
		/* it looks until that changes, or it need not wait any more */
		:: atomic { others != NONE -> (done[others] || sleeper[others] == 0 || IS_OVER) };
#ifdef REACH_LOOKED
			REACHED(done[others]);
#endif
#ifdef REACH_LEFT_BEHIND
			REACHED(done[others] && ended[1 - c] && sleeper[others] != 0);
#endif
			others = NONE
		:: others == NONE
		fi
	od;
dead:
#ifdef REACH_LEFT_BEHIND
	ended[c] = 1;
#endif
through:
	atomic { seen[c] = NOTHING; i = 0; t = 0; others = NONE; any = 0; n_over++ }
}

init {
	bit any_0, any_1;

	if :: shared = 0 :: shared = 1 fi;
	if :: skip :: any_1 = 1 :: any_0 = 1; any_1 = 1 fi;	/* they are alike */
	atomic {
		run memory();
		if
		:: run turn(0, 0, NT)
		:: run turn(0, 0, 1); run turn(1, 1, 2)
		:: run turn(0, 0, 1); run alone(1, 1)
		:: run alone(0, 0); run alone(1, 1)
		fi;
		run client(0, any_0); run client(1, any_1); any_0 = 0; any_1 = 0
	}
	timeout ->
	d_step { CHECK(slept_on, n_over == NC) }
}
