/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * context_wait.c - how a task waits without blocking its worker
 *
 * The seed's way: ask monitor(EST_LOAD) how long the subtask will take; put this task into the worker's waiting queue,
 * a min heap, under that time; mark it blocked; leave. At the end of each iteration the worker checks the heap's
 * minimum: complete, it goes on; else it is put back under a later time, doubling the delay of those that are overdue.
 *
 * Besides (completion_posting): the waiting task's address stands in each child's completion word, and the completion
 * posts to our worker's inbox, or tells us at once if it is on our worker (run_context.c, C1-C4).
 *
 * W1  `wait` and all in it are touched only by the worker's thread.
 * W2  Ready is made only by the heap's check or by a post: drained from the inbox, or seen at once, as the child ended
 *     here.
 * W3  A wait is left only when each registered word was taken back, or its post has been seen: n_posted == n_due.
 */
#include "runtime/context_wait.h"

#include <errno.h>
#include <hshm/clock.h>

#include "runtime/container.h"
#include "runtime/early_end.h"
#include "runtime/pool_manager.h"
#include "runtime/worker.h"
#include "task/submitter.h"

#define DELAY_MIN_NS 1000u
/* Without posts, a chain of waits would double the delay at each link: it is capped, and a long wait polls at 1 kHz. */
#define DELAY_MAX_UNPOSTED_NS HSHM_NSEC_PER_MSEC
/* A periodic task whose lane is full when it is due looks again so much later. */
#define FULL_LANE_LOOK_NS (100 * HSHM_NSEC_PER_USEC)

#define NOT_BY_POSTS UINT32_MAX /* more than there can be */

struct chi_wait {
	void *const *tasks; /* none: only for the time to pass */
	uint32_t n_tasks;
	uint32_t n_seen_done; /* ALL: those before it are done */
	enum chi_wait_mode mode;
	uint64_t deadline_ns;
	uint64_t delay_ns; /* what an overdue check doubles */
	uint32_t n_registered;
	uint32_t n_posted;
	uint32_t n_wanted; /* posts that end the blocking; NOT_BY_POSTS: the heap's check does */
	bool timed_out;
	hshm_au32 *claimed; /* NULL, or who does it makes the task ready: the timeout, or somebody else by a post */
};

/* ---- what we wait for ---- */

static bool is_satisfied(struct chi_wait *wait)
{
	if (wait->mode == CHI_WAIT_FOR_ALL) {
		while (wait->n_seen_done < wait->n_tasks && chi_task_done(wait->tasks[wait->n_seen_done]))
			wait->n_seen_done++;
		return wait->n_tasks && wait->n_seen_done == wait->n_tasks;
	}
	for (uint32_t i = 0; i < wait->n_tasks; i++)
		if (chi_task_done(wait->tasks[i]))
			return true;
	return false;
}

static uint64_t estimate_in(const struct chi_pool *pool, const struct chi_task *task)
{
	struct chi_monitor monitor = { .task = task };

	if (pool->n_local && chi_pool_method(pool, task->method_id) &&
	    chi_container_monitor(pool->local_table[0], CHI_MONITOR_EST_LOAD, &monitor) == 0)
		return monitor.estimate_ns;
	return CHI_ESTIMATE_UNKNOWN_NS;
}

/* kEstLoad: how long will this subtask take? Asked of the container the pool would choose; the learned fit decides. */
static uint64_t estimate_task(struct chi_worker *worker, const struct chi_task *task)
{
	struct chi_pool *own = worker->current->pool, *pool;
	uint64_t estimate_ns;
	uint8_t epoch;

	if (own->id == task->pool_id) /* who asks is in it: it stays */
		return estimate_in(own, task);
	pool = chi_pool_get_uncounted(worker->runtime->pools, task->pool_id, &epoch);
	if (!pool)
		return CHI_ESTIMATE_UNKNOWN_NS;
	estimate_ns = estimate_in(pool, task);
	chi_pool_put(pool, epoch);
	return estimate_ns;
}

/* One answer for both: of a method without buffers, in the own pool, whose module has no monitor to look into tasks. */
static bool is_estimated_alike(const struct chi_pool *own, const struct chi_task *a, const struct chi_task *b)
{
	const struct chi_method *method;

	if (a->pool_id != own->id || b->pool_id != own->id || a->method_id != b->method_id || !own->n_local ||
	    own->module->table->monitor)
		return false;
	method = chi_pool_method(own, a->method_id);
	return method && method->n_buffers == 0;
}

static uint64_t estimate_wait(struct chi_worker *worker, const struct chi_wait *wait)
{
	uint64_t longest = 0, shortest = UINT64_MAX;

	for (uint32_t i = 0; i < wait->n_tasks; i++) {
		uint64_t ns;

		if (i && is_estimated_alike(worker->current->pool, wait->tasks[i], wait->tasks[i - 1]))
			continue;
		ns = estimate_task(worker, wait->tasks[i]);
		longest = ns > longest ? ns : longest;
		shortest = ns < shortest ? ns : shortest;
	}
	return wait->mode == CHI_WAIT_FOR_ALL ? longest : shortest;
}

/* ---- registering with the children (posting only) ---- */

static bool can_register(const struct chi_task *task)
{
	/* a client's task, waited for inside its own process: its word is in shared memory and never gets an address */
	return chi_task_submitter(task)->ops == &chi_inner_client_ops;
}

static int register_waiter(struct chi_run_context *context, struct chi_wait *wait)
{
	for (uint32_t i = 0; i < wait->n_tasks; i++) {
		struct chi_task *task = wait->tasks[i];
		uint64_t expected = CHI_COMPLETION_PENDING;

		if (!can_register(task))
			continue;
		/* release: the wait is set up before the completer may learn of us; pairs with its exchange */
		if (hshm_cas_release(&task->completion, &expected, (uint64_t)(uintptr_t)context))
			wait->n_registered++;
		else if (expected != CHI_COMPLETION_DONE && expected != (uint64_t)(uintptr_t)context)
			return -EBUSY; /* another task waits for it; our own mark: it stands twice in the array */
	}
	return 0;
}

/* Take the words back; returns how many posts are still due: those whose children completed meanwhile. */
static uint32_t unregister_waiter(struct chi_run_context *context, struct chi_wait *wait)
{
	uint32_t n_due = wait->n_registered;

	for (uint32_t i = 0; i < wait->n_tasks; i++) {
		uint64_t expected = (uint64_t)(uintptr_t)context;

		if (!can_register(wait->tasks[i]))
			continue;
		/* relaxed: nothing is published by leaving; failing, the post carries the order */
		if (hshm_cas_relaxed(&((struct chi_task *)wait->tasks[i])->completion, &expected,
				     CHI_COMPLETION_PENDING))
			n_due--;
	}
	return n_due;
}

static void collect_posts(struct chi_run_context *context, struct chi_wait *wait, uint32_t n_due)
{
	wait->n_wanted = n_due;
	while (wait->n_posted < n_due)
		chi_context_block(context); /* W3; the completer is between its exchange and its post: soon */
}

void chi_wait_posted(struct chi_worker *worker, struct chi_run_context *waiter)
{
	struct chi_wait *wait = waiter->wait;

	wait->n_posted++;
	if (!waiter->blocked || wait->n_posted < wait->n_wanted)
		return;
	hshm_min_heap_remove(&worker->waiting, &waiter->heap_node);
	hshm_count_add(&worker->counters->resumes_posted, 1);
	chi_worker_make_ready(worker, waiter);
}

/* ---- blocking in the heap ---- */

static int block_in_heap(struct chi_worker *worker, struct chi_run_context *context, uint64_t estimate_ns)
{
	struct chi_wait *wait = context->wait;
	uint64_t due_ns = worker->now_ns + estimate_ns; /* an old clock: it is looked at the sooner */
	int ret;

	wait->delay_ns = estimate_ns > DELAY_MIN_NS ? estimate_ns : DELAY_MIN_NS;
	ret = hshm_min_heap_insert(&worker->waiting, &context->heap_node,
				   due_ns < wait->deadline_ns ? due_ns : wait->deadline_ns);
	if (ret < 0)
		return ret;
	if (wait->n_tasks)
		hshm_count_add(&worker->counters->waits, 1);
	chi_context_block(context);
	return wait->timed_out ? -ETIMEDOUT : 0;
}

/* Every timeout but HSHM_FOREVER ends at the task's deadline, too. What is waited for lies in the method's frame, and
 * "for ever" is its word that it counts on it; its subtasks have the deadline as well. */
static uint64_t end_of_wait(const struct chi_run_context *context, uint64_t timeout_ns)
{
	uint64_t end_ns = hshm_deadline_ns(timeout_ns);

	return timeout_ns != HSHM_FOREVER && context->deadline_ns && context->deadline_ns < end_ns
		       ? context->deadline_ns
		       : end_ns;
}

int chi_worker_wait(struct chi_worker *worker, void *const *tasks, uint32_t n_tasks, enum chi_wait_mode mode,
		    uint64_t timeout_ns)
{
	struct chi_run_context *context = worker->current;
	struct chi_wait wait = {
		.tasks = tasks, .n_tasks = n_tasks, .mode = mode, .deadline_ns = end_of_wait(context, timeout_ns)
	};
	uint64_t estimate_ns = estimate_wait(worker, &wait);
	int ret = 0;

	wait.n_wanted = mode == CHI_WAIT_FOR_ANY ? 1 : NOT_BY_POSTS;
	context->wait = &wait;
	if (worker->runtime->config.completion_posting)
		ret = register_waiter(context, &wait);
	if (mode == CHI_WAIT_FOR_ALL && wait.n_registered)
		wait.n_wanted = wait.n_registered;
	/* Again, when the posts are in but a task that could not be registered is not done: then the heap's check finds
	 * it. */
	while (ret == 0 && !is_satisfied(&wait))
		ret = block_in_heap(worker, context, estimate_ns);
	if (wait.n_posted < wait.n_registered) /* else all posts have been seen, and no word is left to take back */
		collect_posts(context, &wait, unregister_waiter(context, &wait));
	if (ret == -ETIMEDOUT && is_satisfied(&wait))
		ret = 0;
	context->wait = NULL;
	return ret;
}

static void put_back_later(struct chi_worker *worker, struct chi_run_context *context, uint64_t now_ns)
{
	struct chi_wait *wait = context->wait;
	uint64_t due_ns;

	wait->delay_ns *= 2;
	if (!worker->runtime->config.completion_posting && wait->delay_ns > DELAY_MAX_UNPOSTED_NS)
		wait->delay_ns = DELAY_MAX_UNPOSTED_NS;
	due_ns = now_ns + wait->delay_ns;
	hshm_min_heap_update(&worker->waiting, &context->heap_node,
			     due_ns < wait->deadline_ns ? due_ns : wait->deadline_ns);
}

/* ---- periodic tasks ----
 *
 * Between its runs one rests in the heap, with no wait: until it is due, or until it is time to look whether it shall
 * end: who cancels a task only sets a word, in a segment that nobody watches. All looks fall on the same moments.
 */

static uint64_t due_or_next_look(const struct chi_run_context *context, uint64_t now_ns)
{
	uint64_t look_ns = (now_ns / CHI_CANCEL_LOOK_NS + 1) * CHI_CANCEL_LOOK_NS;

	return context->due_ns < look_ns ? context->due_ns : look_ns;
}

static void leave_rest(struct chi_worker *worker, struct chi_run_context *context)
{
	hshm_min_heap_remove(&worker->waiting, &context->heap_node);
	chi_pool_resume(context->pool, &context->flush_epoch);
	context->state = CHI_CONTEXT_QUEUED;
}

static int rest_until(struct chi_worker *worker, struct chi_run_context *context, uint64_t look_ns)
{
	int ret = hshm_min_heap_insert(&worker->waiting, &context->heap_node, look_ns);

	if (ret == 0)
		chi_pool_rest(context->pool, context->flush_epoch);
	return ret;
}

/* What it was for is ending. */
static bool ends_with_others(const struct chi_worker *worker, const struct chi_run_context *context)
{
	/* relaxed, all: set before the request for a look, which was taken with acquire; or seen at the next look */
	return hshm_load_relaxed(&worker->runtime->draining) || hshm_load_relaxed(&context->pool->closing) ||
	       (context->session && hshm_load_relaxed(&context->session->ended));
}

static bool look_at_resting(struct chi_worker *worker, struct chi_run_context *context)
{
	int early = ends_with_others(worker, context) ? -ECANCELED : chi_context_early_end(context);
	struct chi_lane *full;

	if (early == 0 && context->due_ns > worker->now_ns) {
		hshm_min_heap_update(&worker->waiting, &context->heap_node, due_or_next_look(context, worker->now_ns));
		return hshm_min_heap_min(&worker->waiting)->key <= worker->now_ns; /* the next look */
	}
	leave_rest(worker, context);
	if (early < 0)
		chi_context_complete(worker, context, early);
	else if (chi_worker_route(worker, context, &full) < 0)
		/* the lane orders the starts, also this one. It cannot fail: the heap has the place it just left. */
		(void)rest_until(worker, context, worker->now_ns + FULL_LANE_LOOK_NS);
	return true;
}

/* The first of the times last + k * period that is not over yet; the missed ones are left out. */
static uint64_t next_due(struct chi_worker *worker, uint64_t last_ns, uint64_t period_ns, uint64_t now_ns)
{
	uint64_t n_periods = 1 + (now_ns > last_ns ? (now_ns - last_ns - 1) / period_ns : 0), due_ns;

	hshm_count_add(&worker->counters->periodic_missed, n_periods - 1);
	if (__builtin_mul_overflow(n_periods, period_ns, &due_ns) || __builtin_add_overflow(last_ns, due_ns, &due_ns))
		return HSHM_FOREVER;
	return due_ns;
}

int chi_worker_put_periodic(struct chi_worker *worker, struct chi_run_context *context)
{
	uint64_t now_ns = hshm_clock_ns(), last_ns = context->due_ns ? context->due_ns : context->started_ns;

	context->due_ns = next_due(worker, last_ns, context->task->period_ns, now_ns);
	chi_context_set_deadline(context, context->due_ns);
	context->wait = NULL;
	context->started_ns = 0; /* that run is over, and timed */
	return rest_until(worker, context, due_or_next_look(context, now_ns));
}

void chi_worker_expire_periodic(struct chi_worker *worker)
{
	uint32_t i = 0;

	while (i < worker->waiting.n_entries) {
		struct hshm_min_heap_node *node = worker->waiting.entries[i].node;
		struct chi_run_context *context =
			(struct chi_run_context *)((char *)node - offsetof(struct chi_run_context, heap_node));

		if (context->wait || !ends_with_others(worker, context)) {
			i++;
			continue;
		}
		leave_rest(worker, context);
		/* Another entry stands at i now; look there again. One that comes to a place before i, as who waited
		 * for this one leaves the heap, too, is found by its own next look. */
		chi_context_complete(worker, context, -ECANCELED);
	}
}

/* ---- the worker's check ---- */

/* Pop the minimum and check it; returns whether a task was made ready or started. */
bool chi_worker_check_waiting(struct chi_worker *worker)
{
	const struct hshm_min_heap_entry *min = hshm_min_heap_min(&worker->waiting);
	struct chi_run_context *context;
	uint64_t key;

	if (!min)
		return false;
	key = min->key;
	context = (struct chi_run_context *)((char *)min->node - offsetof(struct chi_run_context, heap_node));
	if (!context->wait)
		return key <= worker->now_ns && look_at_resting(worker, context);
	if (is_satisfied(context->wait)) {
		hshm_count_add(&worker->counters->resumes_heap, 1);
	} else if (context->wait->deadline_ns <= worker->now_ns) {
		if (context->wait->claimed && !chi_claim(context->wait->claimed)) {
			hshm_min_heap_remove(&worker->waiting, &context->heap_node);
			return true; /* its post is on the way */
		}
		context->wait->timed_out = true;
		if (context->wait->n_tasks)
			hshm_count_add(&worker->counters->timeouts, 1);
	} else {
		if (key <= worker->now_ns)
			put_back_later(worker, context, worker->now_ns);
		return false;
	}
	hshm_min_heap_remove(&worker->waiting, &context->heap_node);
	chi_worker_make_ready(worker, context);
	return true;
}

/* ---- waiting for something that is no task ---- */

/* Any one of none is never done: its time ends it, or who makes the context ready. */
static struct chi_wait wait_for_no_task(uint64_t deadline_ns)
{
	return (struct chi_wait){ .mode = CHI_WAIT_FOR_ANY, .n_wanted = NOT_BY_POSTS, .deadline_ns = deadline_ns };
}

int chi_context_block_for(uint64_t timeout_ns, hshm_au32 *claimed)
{
	struct chi_worker *worker = CHI_CUR_WORKER;
	struct chi_run_context *context = worker->current;
	struct chi_wait wait = wait_for_no_task(end_of_wait(context, timeout_ns));

	if (timeout_ns != HSHM_FOREVER &&
	    hshm_min_heap_insert(&worker->waiting, &context->heap_node, wait.deadline_ns) < 0 && chi_claim(claimed))
		return -ENOMEM;
	wait.claimed = claimed;
	context->wait = &wait;
	chi_context_block(context);
	context->wait = NULL;
	return wait.timed_out ? -ETIMEDOUT : 0;
}

void chi_context_sleep(uint64_t ns)
{
	struct chi_worker *worker = CHI_CUR_WORKER;
	struct chi_run_context *context = worker->current;
	struct chi_wait wait = wait_for_no_task(hshm_deadline_ns(ns));

	context->wait = &wait;
	if (block_in_heap(worker, context, ns) == -ENOMEM)
		chi_worker_yield(worker); /* too little, but others go on meanwhile; its callers look again */
	context->wait = NULL;
}

void chi_worker_yield(struct chi_worker *worker)
{
	struct chi_run_context *context = worker->current;

	hshm_count_add(&worker->counters->yields, 1);
	worker->now_ns = hshm_clock_ns(); /* who yields takes long, perhaps: chi_worker_took_long() */
	chi_worker_make_yielded(worker, context);
	chi_context_leave(context);
}

static void event_happened(struct chi_worker *worker, struct chi_work *work)
{
	struct chi_context_event *event = (struct chi_context_event *)work; /* its first member */

	event->set = true;
	if (event->waiting)
		chi_worker_make_ready(worker, event->context);
}

void chi_context_event_init(struct chi_context_event *event)
{
	event->work.fn = event_happened;
	event->context = CHI_CUR_WORKER->current;
	event->set = event->waiting = false;
}

void chi_context_event_wait(struct chi_context_event *event)
{
	if (event->set)
		return;
	event->waiting = true;
	chi_context_block(event->context);
}

void chi_context_event_set(struct chi_context_event *event)
{
	chi_worker_post(event->context->worker, &event->work);
}
