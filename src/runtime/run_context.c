/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run_context.c - the life of a task inside the runtime: start, block, resume, complete
 *
 * Completion of a task submitted inside the runtime (verify/completion.pml). Its completion word holds 0, the address
 * of the one waiting context, or CHI_COMPLETION_DONE:
 *
 * C1  One exchange completes the task and learns of the waiter. After it the task's memory is the submitter's again and
 *     is not touched.
 * C2  A waiter found is told once: this context, as a work, is posted to the waiter's worker, which frees it there. If
 *     that is the worker itself, it does so at once.
 * C3  A waiter leaves its wait only when each child's word was taken back or its post was seen: no post goes astray.
 * C4  The count of the parent's children falls after the exchange: the parent's stack, where the child may lie, lives
 *     as long.
 * C5  Most end on the worker of their parent, which counts them in a word of its own: up as each starts, down as one
 *     ends there. n_children, which others share, begins at 0 and goes down as one ends elsewhere. When the parent
 *     joins it adds its own count to that: from then on n_children says how many are left, all go down there, and who
 *     brings it to 0 is the last (verify/children.pml).
 */
#include <assert.h>
#include <errno.h>
#include <hshm/clock.h>
#include <linux/futex.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/container.h"
#include "runtime/context_wait.h"
#include "runtime/count.h"
#include "runtime/early_end.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include "runtime/pool_manager.h"
#include "runtime/sanitizer.h"
#include "runtime/session.h"
#include "runtime/task_arena.h"
#include "runtime/worker.h"

/* Which tasks are timed for the learned estimate: all with that much data, and one in so many others; of methods that
 * are known to be short fewer, as two looks at the clock take 50 ns. */
#define TIMED_IO_BYTES	  4096u
#define TIMED_EVERY	  16u
#define TIMED_SHORT_EVERY 256u
#define SHORT_NS	  2000u

#define SLEEPERS_WOKEN 64 /* by one completion */

int chi_context_alloc(struct chi_runtime *runtime, uint32_t task_bytes, struct chi_run_context **ret_context)
{
	void *memory;
	int ret = hshm_heap_alloc(runtime->heap, sizeof(struct chi_run_context) + task_bytes, &memory);

	if (ret < 0)
		return ret;
	chi_clear_lines(memory, sizeof(struct chi_run_context));
	*ret_context = memory;
	(*ret_context)->root = *ret_context;
	return 0;
}

int chi_context_alloc_made(struct chi_worker *worker, enum chi_context_make make, struct chi_run_context **ret_context)
{
	static const uint32_t task_bytes[CHI_MAKES] = { [CHI_MADE_FOR_CLIENT] = CHI_MADE_TASK_BYTES };
	struct chi_run_context *context = worker->spares[make].newest;

	if (context) {
		chi_context_take_spare(worker, context);
		chi_clear_lines(context, sizeof(*context));
		context->root = context;
	} else {
		int ret = chi_context_alloc(worker->runtime, task_bytes[make], &context);

		if (ret < 0)
			return ret;
		/* Many are under way, or will be. Before its time, as each atomic waits for all stores before it. */
		hshm_heap_prefetch_next(worker->runtime->heap, sizeof(*context) + task_bytes[make],
					sizeof(*context) + (task_bytes[make] ? sizeof(struct chi_task) : 0));
	}
	context->make = make;
	*ret_context = context;
	return 0;
}

void chi_context_free(struct chi_run_context *context)
{
	hshm_heap_free(context->pool->runtime->heap, context);
}

void chi_context_join_parent(struct chi_run_context *context)
{
	assert(context->parent->worker == CHI_CUR_WORKER && !context->parent->joins); /* C5 */
	context->parent->n_own_children++;
}

void chi_context_keep(struct chi_worker *worker, struct chi_run_context *context)
{
	if (context->in_place && context->parent)
		chi_context_join_parent(context);
	context->in_place = false;
	if (!context->is_held)
		return;
	context->is_held = false;
	if (context->parent) {
		chi_pool_get_again(context->pool, context->flush_epoch);
		return;
	}
	assert(worker->hold.pool == context->pool);
	chi_pool_hand_over(&worker->hold);
	chi_session_get_context(context->session);
}

void chi_context_leave_memory(struct chi_worker *worker, struct chi_run_context *context)
{
	struct chi_spares *spares = &worker->spares[context->make];

	if (context->make == CHI_MADE_ODDLY || spares->n == CHI_SPARES_MAX) {
		hshm_heap_free(worker->runtime->heap, context);
		return;
	}
	context->next = spares->newest;
	spares->newest = context;
	spares->n++;
}

static void free_spares(struct chi_worker *worker, enum chi_context_make make)
{
	struct chi_run_context *context;

	while ((context = worker->spares[make].newest)) {
		chi_context_take_spare(worker, context);
		hshm_heap_free(worker->runtime->heap, context);
	}
}

void chi_context_rest_spares(struct chi_worker *worker)
{
	struct chi_run_context *newest = worker->spares[CHI_MADE_FOR_CLIENT].newest;

	if (newest)
		chi_context_take_spare(worker, newest);
	chi_context_free_spares(worker);
	if (newest || chi_context_alloc_made(worker, CHI_MADE_FOR_CLIENT, &newest) == 0)
		chi_context_leave_memory(worker, newest);
}

void chi_context_free_spares(struct chi_worker *worker)
{
	free_spares(worker, CHI_MADE_FOR_CLIENT);
	free_spares(worker, CHI_MADE_FOR_SUBTASK);
}

/* ---- completion ---- */

static void write_outputs(struct chi_run_context *context, struct chi_task *shared)
{
	const struct chi_method *method = context->method;

	if (method->out_size)
		memcpy((char *)shared + method->out_offset, (char *)context->task + method->out_offset,
		       method->out_size);
}

/*
 * A client marked the task as one it sleeps for: raise its parking word and wake it. Which word is the client's say:
 * only parking words are taken. How many sleep there, too: a thousand are woken in 8 ms, so no more than those who can
 * share a lane in good order; whoever is left over looks by himself (wait.c).
 */
static __attribute__((noinline)) void wake_client(struct chi_session *session, uint32_t park_ref)
{
	uint64_t offset = (uint64_t)park_ref * sizeof(uint32_t);
	hshm_au32 *word;

	if (offset < chi_client_park_offset(0) || offset >= chi_client_park_offset(session->queue.queue.n_lanes))
		return;
	word = (hshm_au32 *)((char *)session->segment.map.base + offset);
	hshm_fence_acquire(); /* the mark before, the step after: pairs with the release in mark_sleeping() (W2) */
	/* relaxed: the kernel compares it under its own lock */
	hshm_fetch_add_relaxed(word, 1);
	syscall(SYS_futex, &word->v, FUTEX_WAKE, SLEEPERS_WOKEN, NULL, NULL, 0);
	if (CHI_CUR_WORKER)
		hshm_count_add(&CHI_CUR_WORKER->counters->client_wakeups, 1);
}

/*
 * A client with an event loop (verify/client_events.pml): the task goes to the head of the client's list, its
 * completion word gets the link to the one before, and a byte is sent if the client is about to sleep. Until that word
 * is stored the client cannot go on past this task in its list; it is told when it can.
 */
static __attribute__((noinline)) void announce(struct chi_session *session, uint32_t ref, struct chi_task *shared)
{
	struct chi_client_events *events = chi_client_events_of(&session->segment.map);
	/* acq_rel: one order for all who join the list. What it was is the client's business. */
	uint32_t before = hshm_exchange_acq_rel(&events->ended, ref);

	/* release: outputs and result before the word; pairs with the acquire in walk() of the client's events.c */
	hshm_store_release(&shared->completion, chi_completion_listed(before));
	hshm_fence_seq_cst(); /* the word before, the look at `armed` after (Dekker with the client's arm()) */
	/* relaxed: ordered by the fence. The exchange, acq_rel: of those who end now one sends. */
	if (hshm_load_relaxed(&events->armed) && hshm_exchange_acq_rel(&events->armed, 0))
		chi_session_send_event(session);
}

/* Before the completion: from then on the client may submit the same memory again. And the claim before the result: it
 * is our own memory, and the client's line may be on its way. */
static inline void answer(struct chi_session *session, uint32_t ref, struct chi_task *shared, int result)
{
	chi_session_release(session, ref);
	shared->result = result;
	chi_sanitizer_to_client(session);
}

/* The mark of who sleeps for the task; 0: nobody does. The memory is the client's again: what stands there may be
 * another task's, whose sleeper looks and sleeps on, or rubbish. */
static inline uint64_t sleeper_of(const struct chi_task *shared)
{
	return chi_sanitizer_late_look(&shared->sleeper);
}

void chi_client_task_done(struct chi_session *session, uint32_t ref, struct chi_task *shared, uint16_t flags,
			  int result)
{
	uint64_t mark;

	answer(session, ref, shared, result);
	if (flags & CHI_TASK_NOTIFY) {
		announce(session, ref, shared);
		return;
	}
	/* release: outputs and result before the word; pairs with the acquire in chi_task_done() */
	hshm_store_release(&shared->completion, CHI_COMPLETION_DONE);
	hshm_fence_seq_cst(); /* W1 in wait.c */
	mark = sleeper_of(shared);
	if (mark)
		wake_client(session, (uint32_t)mark);
}

/* W3 in wait.c: those of a turn share the fence. */
static inline void done_in_turn(struct chi_worker *worker, struct chi_session *session, uint32_t ref,
				struct chi_task *shared, int result)
{
	struct chi_ended *ended = &worker->ended_tasks;
	uint64_t mark;

	if (ended->session != session || ended->n == CHI_ENDED_MAX) {
		chi_client_tasks_told(worker);
		ended->session = session;
		/* acquire: who had been counted has marked, and is found by the looks that follow */
		ended->n_sleeps = hshm_load_acquire(chi_client_sleeps_of(&session->segment.map));
	}
	answer(session, ref, shared, result);
	/* release: as in chi_client_task_done() */
	hshm_store_release(&shared->completion, CHI_COMPLETION_DONE);
	mark = sleeper_of(shared);
	ended->tasks[ended->n].ref = ref;
	ended->tasks[ended->n++].woken = mark;
	if (mark)
		wake_client(session, (uint32_t)mark);
}

/* Who was woken as a task ended may sleep again, or another: the completion was not to be seen yet. That is another
 * sleep, with a mark of its own. */
static __attribute__((noinline)) void look_again(const struct chi_ended *ended)
{
	for (uint32_t i = 0; i < ended->n; i++) {
		uint64_t mark = sleeper_of(chi_session_task(ended->session, ended->tasks[i].ref));

		if (mark && mark != ended->tasks[i].woken)
			wake_client(ended->session, (uint32_t)mark);
	}
}

void chi_client_tasks_told(struct chi_worker *worker)
{
	struct chi_ended *ended = &worker->ended_tasks;

	if (!ended->session)
		return;
	hshm_fence_seq_cst(); /* the completions before, the look at the count after: W1 in wait.c */
	/* acquire: who is counted has marked */
	if (hshm_load_acquire(chi_client_sleeps_of(&ended->session->segment.map)) != ended->n_sleeps)
		look_again(ended);
	ended->session = NULL;
	ended->n = 0;
}

/* Returns its place in the client's segment. */
static inline struct chi_task *begin_answer(struct chi_worker *worker, struct chi_run_context *context)
{
	struct chi_task *shared = chi_session_task(context->session, context->client_ref);

	/* before the completion: who waited for the task finds it counted */
	hshm_count_add(&chi_client_counters(worker, context->session)->ended, 1);
	write_outputs(context, shared);
	return shared;
}

static void complete_client_task(struct chi_worker *worker, struct chi_run_context *context, int result)
{
	struct chi_task *shared = begin_answer(worker, context);

	chi_client_task_done(context->session, context->client_ref, shared, context->task->flags, result);
}

/* Parent and waiter live on the submitter's side: load what is needed of the context before it may be freed (C2). */
static void child_ended(struct chi_worker *worker, struct chi_run_context *parent)
{
	uint32_t before;

	if (!parent)
		return;
	if (parent->worker == worker && !parent->joins) { /* C5: what is read second, and changed, is our thread's */
		assert(CHI_CUR_WORKER == worker);
		parent->n_own_children--;
		return;
	}
	/* acq_rel: what the child did happens before the parent's end; C4 */
	before = hshm_fetch_sub_acq_rel(&parent->n_children, 1);
	if (before == 1)
		chi_worker_post(parent->worker, &parent->work);
}

static void child_posted(struct chi_worker *worker, struct chi_work *work);

/* Returns whether the context was posted, and so is not ours any more. */
static bool complete_inner_task(struct chi_run_context *context, int result)
{
	struct chi_task *task = context->task;
	uint64_t before;

	task->result = result;
	if (task->flags & CHI_TASK_FIRE_AND_FORGET) {
		hshm_heap_free(context->pool->runtime->module_heap, task);
		return false;
	}
	/* acq_rel: the result before the word, for whoever finds it done; the waiter's setup after it (C1) */
	before = hshm_exchange_acq_rel(&task->completion, CHI_COMPLETION_DONE);
	if (before == CHI_COMPLETION_PENDING)
		return false;
	context->waiter = (struct chi_run_context *)(uintptr_t)before;
	context->work.fn = child_posted;
	return true;
}

/* C2. A waiter of our own is told at once. */
static void tell_waiter(struct chi_worker *worker, struct chi_run_context *context)
{
	struct chi_run_context *waiter = context->waiter;

	if (waiter->worker != worker) {
		chi_worker_post(waiter->worker, &context->work);
		return;
	}
	chi_context_leave_memory(worker, context);
	chi_wait_posted(worker, waiter);
}

static __attribute__((noinline)) void learn(struct chi_worker *worker, struct chi_run_context *context, int result)
{
	uint64_t ns;

	worker->now_ns = hshm_clock_ns();
	ns = worker->now_ns - context->started_ns;
	worker->sample_was_short = ns < SHORT_NS;
	chi_count_time(worker, context, ns, context->timed_for);
	if (result >= 0)
		chi_estimate_learn(&context->pool->estimates[context->method->id], context->io_bytes, ns);
}

static bool goes_on_periodic(struct chi_worker *worker, struct chi_run_context *context, int result)
{
	/* relaxed, all: flags without data; who sets one asks for a look (chi_worker_ask_expire()) that finds what
	 * rests by then */
	return (context->task->flags & CHI_TASK_PERIODIC) && result >= 0 && context->fiber == NULL &&
	       context->state == CHI_CONTEXT_ENDED && !chi_context_asked_to_end(context) &&
	       !hshm_load_relaxed(&worker->runtime->draining) && !hshm_load_relaxed(&context->pool->closing) &&
	       !(context->session && hshm_load_relaxed(&context->session->ended));
}

static void leave_session(struct chi_session *session, bool is_root)
{
	if (session && is_root)
		chi_session_put_context(session);
	else if (session)
		chi_session_put(session);
}

static __attribute__((noinline)) void complete(struct chi_worker *worker, struct chi_run_context *context, int result)
{
	struct chi_run_context *parent = context->parent;
	struct chi_session *session = context->session;
	struct chi_pool *pool = context->pool;
	uint8_t flush_epoch = context->flush_epoch;
	bool is_root = context->client_ref != 0, posted = false, is_held, in_place;

	if (goes_on_periodic(worker, context, result)) {
		chi_context_keep(worker, context);
		if (chi_worker_put_periodic(worker, context) == 0) {
			chi_count_started(worker, context); /* its next run */
			return;
		}
	}
	is_held = context->is_held; /* now: its memory may go before they are asked for */
	in_place = context->in_place;
	if (context->counts_as_load) /* relaxed: a load figure */
		hshm_fetch_sub_relaxed(&context->container->n_outstanding, 1);
	context->counts_as_load = false;
	context->result = result;
	if (context->broadcast) {
		chi_broadcast_part_done(context);
		return;
	}
	if (is_root)
		complete_client_task(worker, context, result);
	else
		posted = complete_inner_task(context, result);
	if (posted)
		tell_waiter(worker, context);
	else
		chi_context_leave_memory(worker, context);
	if (!is_held && !parent)
		leave_session(session, is_root);
	/* the pool may be taken apart once its count is 0: last but for the parent, which counts in a pool of its
	 * own */
	if (!is_held)
		chi_pool_put(pool, flush_epoch);
	if (!in_place)
		child_ended(worker, parent);
}

void chi_context_complete(struct chi_worker *worker, struct chi_run_context *context, int result)
{
	chi_count_run(worker, context, result);
	if (context->started_ns)
		learn(worker, context, result);
	if (!context->is_held || !context->client_ref ||
	    (context->task->flags & (CHI_TASK_PERIODIC | CHI_TASK_NOTIFY))) {
		complete(worker, context, result);
		return;
	}
	/* most: the turn counts for it, and nobody else knows it */
	done_in_turn(worker, context->session, context->client_ref, begin_answer(worker, context), result);
	chi_context_leave_memory(worker, context);
}

/* ---- running ---- */

static void join_children(struct chi_run_context *context)
{
	uint32_t before;

	if (context->n_own_children == 0) /* C5: all have ended, and here: who ends elsewhere does not lower it */
		return;
	context->joins = true;
	/* acq_rel: what the children did happens before our end; pairs with child_ended() */
	before = hshm_fetch_add_acq_rel(&context->n_children, context->n_own_children);

	if (before + context->n_own_children != 0)
		chi_context_block(context); /* the last child posts context->work */
}

static void work_makes_ready(struct chi_worker *worker, struct chi_work *work)
{
	struct chi_run_context *context =
		(struct chi_run_context *)((char *)work - offsetof(struct chi_run_context, work));

	hshm_min_heap_remove(&worker->waiting, &context->heap_node); /* it is there if it waited with a timeout */
	chi_worker_make_ready(worker, context);
}

static void run_method(struct chi_run_context *context)
{
	const struct chi_module *module = context->pool->module->table;
	chi_method_fn run = module->run ? module->run : context->method->run;

	context->result = run(context->container, context->task, context);
	join_children(context);
	context->state = CHI_CONTEXT_ENDED;
}

static void fiber_main(void *arg)
{
	run_method(arg);
}

void chi_context_set_running(struct chi_worker *worker, struct chi_run_context *context)
{
	worker->current = context;
	chi_fault_current = context;
	if (context)
		hshm_count_add(&worker->beats, 1);
	/* release: what the task is; pairs with the acquires in running.c and lane_take.c */
	hshm_store_release(&worker->running, context);
	if (context)
		return;
	hshm_fence_compiler(); /* "I am out of the method" before "are lanes being taken?": T1 in lane_take.c */
	/* acquire: pairs with the release there; what was done to our lists */
	if (__builtin_expect(hshm_load_acquire(&worker->taking), 0))
		chi_worker_await_taker(worker);
}

static void method_ended(struct chi_worker *worker, struct chi_run_context *context)
{
	context->fiber = NULL;
	if (context->arena)
		chi_task_arena_free(context);
	chi_context_complete(worker, context, context->result);
}

/* The fiber has ended or left, in the task that started it, or in one that was called from there. */
static void fiber_left(struct chi_worker *worker, struct chi_fiber *fiber)
{
	struct chi_run_context *context = chi_fiber_arg(fiber);

	chi_context_set_running(worker, NULL);
	if (!chi_fiber_ended(fiber))
		return; /* whoever ends the task's wait makes it ready; or it let others go first */
	chi_fiber_put(worker->fibers, fiber);
	method_ended(worker, context);
}

/* When the kernel refused a mapping, fiber.c has said so. */
static void log_no_fiber(const struct chi_worker *worker, const struct chi_run_context *context)
{
	uint32_t fibers_max = worker->runtime->config.fibers_max;
	struct chi_fiber_stats stats;

	chi_fiber_pool_get_stats(worker->fibers, &stats);
	if (stats.n_idle || stats.n_made < fibers_max || !chi_log_allowed(&worker->runtime->log_limits.no_fiber, 1))
		return;
	chi_log_warn(
		"worker %u has begun %u tasks, which is fibers.max: a task of pool '%s' (module '%s'), method '%s' is "
		"refused (-EAGAIN)",
		worker->id, fibers_max, context->pool->name, context->pool->module->name, context->method->name);
}

static bool is_short(const struct chi_run_context *context)
{
	const struct chi_estimate *estimate = &context->pool->estimates[context->method->id];
	uint64_t base_ns = hshm_load_relaxed(&estimate->base_ns); /* relaxed: a figure; 0: unknown */

	return base_ns != 0 && base_ns < SHORT_NS;
}

/* For how many it shall be timed; 0: it is not. One rule for each TIMED_SHORT_EVERY runs, whatever they turn out to
 * take: so what they stand for adds up. */
static uint32_t shall_time(struct chi_worker *worker, const struct chi_run_context *context)
{
	if (context->io_bytes >= TIMED_IO_BYTES)
		return 1;
	if (context->task->flags & CHI_TASK_PERIODIC)
		return TIMED_EVERY;
	if (++worker->n_sampled % TIMED_EVERY != 0)
		return 0;
	if (worker->n_sampled % TIMED_SHORT_EVERY == 0)
		worker->samples_few = worker->sample_was_short;
	if (!worker->samples_few || !is_short(context))
		return TIMED_EVERY;
	return worker->n_sampled % TIMED_SHORT_EVERY == 0 ? TIMED_SHORT_EVERY : 0;
}

static void begin(struct chi_worker *worker, struct chi_run_context *context, struct chi_fiber *fiber)
{
	context->fiber = fiber;
	context->timed_for = shall_time(worker, context);
	context->started_ns = context->timed_for ? hshm_clock_ns() : 0;
	context->state = CHI_CONTEXT_RUNNING;
	/* relaxed: only this worker sets it between runs */
	hshm_store_relaxed(&context->n_children, 0);
	context->n_own_children = 0;
	context->joins = false;
	chi_context_set_running(worker, context);
}

/* Returns 0, or why it ends before it begins. */
static int prepare(struct chi_worker *worker, struct chi_run_context *context)
{
	context->worker = worker;
	context->work.fn = work_makes_ready;
	return chi_context_early_end(context);
}

void chi_context_start(struct chi_worker *worker, struct chi_run_context *context)
{
	struct chi_fiber *fiber;
	int ret = prepare(worker, context);

	if (ret == 0) {
		ret = chi_fiber_get(worker->fibers, &fiber);
		if (ret < 0)
			log_no_fiber(worker, context);
	}
	if (ret < 0) {
		chi_context_complete(worker, context, ret);
		return;
	}
	begin(worker, context, fiber);
	chi_fiber_start(fiber, fiber_main, context);
	fiber_left(worker, fiber);
}

static void run_on_stack_of(struct chi_worker *worker, struct chi_run_context *caller, struct chi_run_context *context)
{
	struct chi_fiber *fiber = caller->fiber;

	context->below = caller;
	begin(worker, context, fiber);
	run_method(context);
	chi_fiber_check(fiber);
	chi_fiber_set_arg(fiber, caller);
	chi_context_set_running(worker, NULL);
	chi_fault_current = caller; /* whose stack this is */
	method_ended(worker, context);
}

void chi_context_call(struct chi_worker *worker, struct chi_run_context *caller, struct chi_run_context *context)
{
	int ret = prepare(worker, context), saved_errno = errno;

	if (ret < 0)
		chi_context_complete(worker, context, ret);
	else
		run_on_stack_of(worker, caller, context);
	errno = saved_errno;
	chi_context_set_running(worker, caller);
}

bool chi_context_run_here(struct chi_worker *worker, struct chi_run_context *context)
{
	struct chi_fiber *fiber = worker->runner;
	int ret = prepare(worker, context);

	if (ret < 0) {
		chi_context_complete(worker, context, ret);
		return true;
	}
	begin(worker, context, fiber);
	run_method(context);
	if (worker->runner != fiber) /* F1: as long as it is a task's it is nobody's runner */
		return false;
	chi_fiber_check(fiber);
	chi_context_set_running(worker, NULL);
	method_ended(worker, context);
	return true;
}

void chi_context_resume(struct chi_worker *worker, struct chi_run_context *context)
{
	struct chi_fiber *fiber = context->fiber;

	context->state = CHI_CONTEXT_RUNNING;
	chi_context_set_running(worker, context);
	chi_fiber_resume(fiber);
	fiber_left(worker, fiber);
}

void chi_context_count_load(struct chi_run_context *context)
{
	/* Of one container nobody asks the load. While the pool is made others may come: what the first one's create()
	 * has submitted is then left out, until it blocks. */
	if (context->counts_as_load || context->pool->n_local == 1)
		return;
	context->counts_as_load = true;
	/* relaxed: a load figure */
	hshm_fetch_add_relaxed(&context->container->n_outstanding, 1);
}

void chi_context_block(struct chi_run_context *context)
{
	chi_context_count_load(context);
	context->blocked = true;
	chi_context_leave(context);
}

void chi_context_leave(struct chi_run_context *context)
{
	struct chi_worker *worker = context->worker;

	chi_context_keep(worker, context);
	if (worker->runner == context->fiber) { /* F1 */
		worker->runner = NULL;
		if (chi_worker_turn_goes_on(worker))
			chi_fiber_pool_prefetch(worker->fibers); /* the next task needs another */
	}
	chi_fiber_set_arg(context->fiber, context);
	chi_fiber_leave(context->fiber);
}

/* ---- the post of an ended child (C2) ---- */

static void child_posted(struct chi_worker *worker, struct chi_work *work)
{
	struct chi_run_context *child =
		(struct chi_run_context *)((char *)work - offsetof(struct chi_run_context, work));
	struct chi_run_context *waiter = child->waiter;

	chi_context_leave_memory(worker, child);
	chi_wait_posted(worker, waiter);
}

static const struct chi_run_context *waiter_of(const struct chi_work *work)
{
	if (!work || work->fn != child_posted)
		return NULL;
	return ((const struct chi_run_context *)((const char *)work - offsetof(struct chi_run_context, work)))->waiter;
}

/* The waiter lies in the heap, and what it waits for on its stack: a step for each. */
void chi_context_prefetch_posts(const struct chi_work *work)
{
	const struct chi_run_context *first = waiter_of(work), *second = work ? waiter_of(work->next) : NULL;

	if (second)
		chi_prefetch_lines(second, sizeof(*second));
	if (first)
		hshm_prefetch_write(first->wait);
}

/* ---- what a method may ask ---- */

struct chi_client *chi_context_client(struct chi_run_context *context)
{
	return &context->pool->runtime->inner;
}

void *chi_context_buffer(struct chi_run_context *context, const struct chi_buffer *buffer)
{
	if (hipc_ptr_is_null(buffer->ptr))
		return NULL;
	if (context->client_ref)
		return hipc_ptr_translate(&context->session->segment.map, buffer->ptr, buffer->size_bytes);
	return (void *)(uintptr_t)hipc_ptr_offset(buffer->ptr);
}

bool chi_cancelled(const struct chi_run_context *context)
{
	/* what it notes is its own (E4) */
	return chi_context_early_end((struct chi_run_context *)(uintptr_t)context) < 0 ||
	       chi_context_serves_what_stops(context);
}

uint64_t chi_context_deadline_ns(const struct chi_run_context *context)
{
	return context->deadline_ns ? context->deadline_ns : HSHM_FOREVER;
}

uint64_t chi_context_due_ns(const struct chi_run_context *context)
{
	return context->due_ns;
}

uint32_t chi_context_worker(const struct chi_run_context *context)
{
	return context->worker->id;
}
