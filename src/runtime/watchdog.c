/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watchdog.c - tells of a worker that does not come back from a method, and has the ipc thread stand in for it
 *
 * A worker raises `beats` at each start of a method and each look for work. The same number at several looks, hang_ms
 * in all, while it does not sleep: it hangs. A look counts for two periods at most, whatever the clock says: when the
 * whole process was stopped, or got no processor, the workers had as little time as we.
 *
 *   GOING --- still for hang_ms: counted, its stack asked for ---> FOUND --- it has names, or 1 s later: told ---> TOLD
 *     ^                                                              |                                          |
 *     '------- it has gone on: what was not told is told now --------'------------- it came back: told --------'
 */
#include "runtime/watchdog.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <hshm/clock.h>

#include "runtime/log.h"
#include "runtime/running.h"
#include "runtime/stack_symbols.h"
#include "runtime/thread_stack.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"

#define LOOKS_IN_HANG 4u		       /* found a quarter late at most, once we look at this pace */
#define STACK_LOOK_NS (5 * HSHM_NSEC_PER_MSEC) /* a thread that runs answers sooner */
#define STACK_WAIT_NS HSHM_NSEC_PER_SEC /* one that sleeps in the kernel, uninterruptible, not at all; names alike */
#define HANGS_LOGGED  4u		/* a second */
#define MOVES_AT_ONCE 1024u		/* so that this thread serves others, too */
#define PERIOD_MIN_NS (1 * HSHM_NSEC_PER_MSEC)

enum watched_state { WATCHED_GOING = 0, WATCHED_FOUND, WATCHED_TOLD };

struct watched {
	enum watched_state state;
	uint64_t beats;
	uint64_t since_ns; /* when they were seen first */
	uint64_t still_ns; /* of looks that found the same */
	uint64_t found_ns;
	bool in_method;
	bool is_asked; /* for its stack */
	bool is_held_back;
	bool waits_told;		 /* that ended clients wait for it */
	const void *stays;		 /* what was left of its retirements, to know it by */
	struct chi_stack_symbols *stack; /* NULL: it has not answered */
	struct chi_running running;
};

struct chi_watchdog {
	struct chi_runtime *runtime;
	uint64_t period_ns, looked_ns;
	bool moves_lanes;
	struct chi_background *reader; /* of symbols: this thread opens no file that a module lies in */
	struct chi_log_limit limit;
	uint32_t n_workers;
	struct watched watched[];
};

/* ---- what is told ---- */

struct what {
	char text[4 * CHI_NAME_MAX + 128];
};

static struct what describe(const struct watched *watched)
{
	const struct chi_running *running = &watched->running;
	struct what what;

	if (watched->in_method)
		snprintf(what.text, sizeof(what.text), "pool '%s' (module '%s'), method '%s' (%stask %llu.0)",
			 running->pool, running->module, running->method, running->is_subtask ? "a subtask of " : "",
			 (unsigned long long)running->root);
	else
		snprintf(what.text, sizeof(what.text), "no method that it stays in (a module's monitor()?)");
	return what;
}

static unsigned long long ms(uint64_t ns)
{
	return ns / HSHM_NSEC_PER_MSEC;
}

static void log_hang(const struct chi_watchdog *watchdog, uint32_t worker_id, const struct watched *watched,
		     uint64_t now_ns)
{
	const char *no_stack = watchdog->runtime->handles_faults ? "; its thread did not answer, so no stack"
								 : "; no stack without handle_faults";
	const struct chi_stack_symbols *stack = watched->stack;

	chi_log_warn("watchdog: worker %u has not come back for %llu ms from %s%s", worker_id,
		     ms(now_ns - watched->since_ns), describe(watched).text, stack ? ", its stack:" : no_stack);
	for (uint32_t i = 0; stack && i < chi_stack_symbols_n(stack); i++)
		chi_log_warn("watchdog: worker %u: #%u %s", worker_id, i, chi_stack_symbols_text(stack, i));
}

static void tell_hang(struct chi_watchdog *watchdog, uint32_t worker_id, struct watched *watched, uint64_t now_ns)
{
	watched->state = WATCHED_TOLD;
	watched->is_held_back = !chi_log_allowed(&watchdog->limit, HANGS_LOGGED);
	if (!watched->is_held_back)
		log_hang(watchdog, worker_id, watched, now_ns);
	chi_stack_symbols_put(watched->stack);
	watched->stack = NULL;
}

/* ---- a worker ---- */

/* When there is no memory for it, it is asked for once more. */
static void take_stack(struct chi_watchdog *watchdog, struct watched *watched)
{
	struct chi_stack stack;

	if (!watched->is_asked || !chi_stack_take(&stack))
		return;
	watched->is_asked = false;
	watched->stack = chi_stack_symbols_ask(watchdog->reader, &stack);
}

static void ask_no_more(struct watched *watched)
{
	if (watched->is_asked)
		chi_stack_withdraw();
	watched->is_asked = false;
}

static void found(struct chi_worker *worker, struct watched *watched, uint64_t now_ns)
{
	watched->state = WATCHED_FOUND;
	watched->found_ns = now_ns;
	watched->in_method = chi_running_look(worker, &watched->running);
	hshm_count_add(&worker->counters->hangs, 1);
	watched->waits_told = false;
	(void)chi_lane_take_init();	       /* what is missing then fails at each take */
	hshm_store_relaxed(&worker->hangs, 1); /* relaxed: who gives away lanes goes by it, sooner or later */
}

static void came_back(struct chi_watchdog *watchdog, struct chi_worker *worker, struct watched *watched,
		      uint64_t now_ns)
{
	uint64_t ns = now_ns - watched->since_ns;

	take_stack(watchdog, watched);
	hshm_store_relaxed(&worker->hangs, 0); /* relaxed: as in found() */
	ask_no_more(watched);
	if (watched->state == WATCHED_FOUND)
		tell_hang(watchdog, worker->id, watched, now_ns);
	if (ns > hshm_load_relaxed(&worker->counters->hang_max_ns))
		hshm_store_relaxed(&worker->counters->hang_max_ns, ns); /* relaxed: a figure, ours alone to write */
	if (!watched->is_held_back)
		chi_log_warn("watchdog: worker %u came back after %llu ms from %s", worker->id, ms(ns),
			     describe(watched).text);
}

/* Its stack is asked for as soon as no other thread's is, and waited for, and so are the names. */
static bool has_stack(struct chi_watchdog *watchdog, struct chi_worker *worker, struct watched *watched)
{
	if (!watched->stack && !watched->is_asked)
		watched->is_asked = chi_stack_ask(worker->tid) == 0;
	else if (!watched->stack)
		take_stack(watchdog, watched);
	return watched->stack && chi_stack_symbols_ready(watched->stack);
}

/* Found, and not told yet. */
static void tell_once_complete(struct chi_watchdog *watchdog, struct chi_worker *worker, struct watched *watched,
			       uint64_t now_ns)
{
	if (watchdog->runtime->handles_faults && now_ns - watched->found_ns < STACK_WAIT_NS &&
	    !has_stack(watchdog, worker, watched))
		return;
	ask_no_more(watched);
	tell_hang(watchdog, worker->id, watched, now_ns);
}

/* At each look, as a lane may have left its parking lot. Returns how many went. */
static uint32_t move_lanes(struct chi_worker *worker, const struct watched *watched)
{
	uint32_t n = chi_worker_take_lanes(worker, MOVES_AT_ONCE);

	if (n && !watched->is_held_back)
		chi_log_warn("watchdog: %u lanes of worker %u go to others", n, worker->id);
	return n;
}

static uint32_t stand_in(struct chi_worker *worker, struct watched *watched)
{
	uint32_t n = chi_worker_retire_for(worker);

	watched->stays = hshm_load_relaxed(&worker->retires); /* relaxed: only compared */
	return n;
}

/* At each look, as a lane may be free by now, and whoever would have woken us may have been early. */
static void retire_for(struct chi_worker *worker, struct watched *watched)
{
	uint32_t n = stand_in(worker, watched);
	/* relaxed: what is missed is seen at the next look */
	bool all_wait = hshm_load_relaxed(&worker->retires) && (!watched->in_method || chi_lane_take_init() < 0);

	if ((n == 0 && !all_wait) || watched->state != WATCHED_TOLD || watched->waits_told)
		return;
	watched->waits_told = true;
	if (watched->is_held_back)
		return;
	if (n)
		chi_log_warn("watchdog: %u clients that ended wait for worker %u, which holds one of their lanes", n,
			     worker->id);
	else
		chi_log_warn("watchdog: all clients that end wait for worker %u, for which nobody can stand in",
			     worker->id);
}

void chi_watchdog_retire(struct chi_watchdog *watchdog)
{
	for (uint32_t i = 0; i < watchdog->n_workers; i++) {
		struct watched *watched = &watchdog->watched[i];
		struct chi_worker *worker = chi_work_orch_worker(watchdog->runtime->orch, i);

		/* relaxed: only compared. What had to stay is tried again at the next look: not at each message of any
		 * client, as it costs a barrier in all threads. */
		if (watched->state != WATCHED_GOING && hshm_load_relaxed(&worker->retires) != watched->stays)
			(void)stand_in(worker, watched);
	}
}

/* Returns whether it may hang, now or soon: it is awake. */
static bool look_at(struct chi_watchdog *watchdog, struct chi_worker *worker, struct watched *watched, uint64_t now_ns)
{
	uint64_t passed_ns = now_ns - watchdog->looked_ns;
	/* relaxed, both: what is missed is seen at the next look */
	uint64_t beats = hshm_load_relaxed(&worker->beats);
	bool awake = !hshm_load_relaxed(&worker->doorbell.sleeping) && !chi_worker_has_ended(worker);

	if (beats != watched->beats || !awake) {
		if (watched->state != WATCHED_GOING)
			came_back(watchdog, worker, watched, now_ns);
		watched->state = WATCHED_GOING;
		watched->beats = beats;
		watched->since_ns = now_ns;
		watched->still_ns = 0;
		return awake;
	}
	watched->still_ns += passed_ns < 2 * watchdog->period_ns ? passed_ns : 2 * watchdog->period_ns;
	if (watched->state == WATCHED_GOING && watched->still_ns >= watchdog->runtime->config.hang_ns)
		found(worker, watched, now_ns);
	if (watched->state == WATCHED_FOUND)
		tell_once_complete(watchdog, worker, watched, now_ns);
	return true;
}

uint64_t chi_watchdog_look(struct chi_watchdog *watchdog, uint64_t now_ns)
{
	bool any_awake = false, soon = false;

	for (uint32_t i = 0; i < watchdog->n_workers; i++) {
		struct chi_worker *worker = chi_work_orch_worker(watchdog->runtime->orch, i);
		struct watched *watched = &watchdog->watched[i];

		any_awake |= look_at(watchdog, worker, watched, now_ns);
		soon |= watched->state == WATCHED_FOUND;
		if (watched->state != WATCHED_GOING)
			retire_for(worker, watched);
		if (watchdog->moves_lanes && watched->state == WATCHED_TOLD)
			soon |= move_lanes(worker, watched) == MOVES_AT_ONCE;
	}
	watchdog->looked_ns = now_ns;
	if (soon)
		return now_ns + (watchdog->period_ns < STACK_LOOK_NS ? watchdog->period_ns : STACK_LOOK_NS);
	/* an idle runtime is looked at less often */
	return now_ns + (any_awake ? watchdog->period_ns : LOOKS_IN_HANG * watchdog->period_ns);
}

/* ---- life ---- */

int chi_watchdog_create(struct chi_runtime *runtime, struct chi_watchdog **ret_watchdog)
{
	uint32_t n = chi_work_orch_n_workers(runtime->orch);
	struct chi_watchdog *watchdog = calloc(1, sizeof(*watchdog) + n * sizeof(watchdog->watched[0]));

	if (!watchdog || chi_stack_symbols_reader(&watchdog->reader) < 0) {
		free(watchdog);
		return -ENOMEM;
	}
	watchdog->runtime = runtime;
	watchdog->n_workers = n;
	watchdog->period_ns = runtime->config.hang_ns / LOOKS_IN_HANG;
	if (watchdog->period_ns < PERIOD_MIN_NS)
		watchdog->period_ns = PERIOD_MIN_NS;
	watchdog->looked_ns = hshm_clock_ns();
	watchdog->moves_lanes = runtime->config.move_lanes;
	if (watchdog->moves_lanes && chi_lane_take_init() < 0) {
		chi_log_warn("watchdog.move_lanes: this system has no membarrier(): lanes stay where they are");
		watchdog->moves_lanes = false;
	}
	*ret_watchdog = watchdog;
	return 0;
}

void chi_watchdog_destroy(struct chi_watchdog *watchdog)
{
	if (!watchdog)
		return;
	for (uint32_t i = 0; i < watchdog->n_workers; i++) {
		ask_no_more(&watchdog->watched[i]);
		chi_stack_symbols_put(watchdog->watched[i].stack);
	}
	chi_background_destroy(watchdog->reader);
	free(watchdog);
}
