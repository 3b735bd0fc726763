/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * turn.c - the tasks of a lane's turn, one after the other on one fiber
 *
 * A task that never waits costs no switch: the fiber that ran it runs the next. One that waits keeps the fiber, as its
 * method's frames are there, and another fiber goes on with the turn.
 *
 * F1  worker->runner is the fiber that has the turn; NULL: the worker's own loop runs. A task that leaves its fiber
 *     takes it out of the turn: runner = NULL (chi_context_leave()).
 * F2  Whoever comes back from a method and is not the runner any more touches nothing of the turn, which may be over.
 *     Its task is completed by who resumed it.
 * F3  A fiber starts no other: what is routed on it besides the turn's own tasks goes to lanes, or runs on it (F4).
 * F4  A task that submits another only to wait for it (chi_call()) runs that as a function, on its own stack, if it may
 *     run in place and there is room. If that one waits, the fiber leaves with both, and who resumes it goes on with
 *     that one. The fiber's argument is the task that it is at; `below` leads to those that called it. In one iteration
 *     of the worker's loop there are as many calls, of all its tasks, as a turn may have tasks, and for as long.
 *
 * What each task would take and give back, the turn takes once for all that end in their place: a count in their pool
 * (G3 in pool_entry.c), and one in their session, which the lane has anyway. So it is with the fence between a client's
 * task's end and the look whether somebody sleeps for it (W3 in wait.c).
 */
#include "runtime/pool_manager.h"
#include "runtime/worker.h"

static void go_on(void *arg)
{
	struct chi_turn *turn = arg;

	do {
		if (!chi_context_run_here(turn->worker, turn->context))
			return; /* F2 */
		turn->context = turn->next(turn);
	} while (turn->context);
}

/* Returns whether the turn goes on. */
static bool run_on_fiber(struct chi_worker *worker, struct chi_turn *turn)
{
	struct chi_fiber *fiber;
	bool over;

	if (chi_fiber_get(worker->fibers, &fiber) < 0) {
		chi_context_start(worker, turn->context); /* it says what is missing, and ends the task */
		return true;
	}
	worker->runner = fiber;
	chi_fiber_start(fiber, go_on, turn);
	over = worker->runner == fiber;
	worker->runner = NULL;
	if (over)
		chi_fiber_put(worker->fibers, fiber);
	else
		chi_context_set_running(worker, NULL);
	return !over;
}

void chi_worker_run_turn(struct chi_worker *worker, struct chi_turn *turn)
{
	do
		turn->context = turn->next(turn);
	while (turn->context && run_on_fiber(worker, turn));
	chi_client_tasks_told(worker);
	chi_pool_let_go(&worker->hold);
}
