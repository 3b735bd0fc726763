/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * early_end_test.c - cancel, deadlines, a client that goes: what reaches whom, and what does not (E1-E6 in early_end.h)
 *
 * The tasks are of a module of the test's own, so that a case sees who runs and says when they may end. Every case runs four
 * times: completion posting on and off, running in place on and off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chimaera/admin.h>

#include "runtime/early_end.h"
#include "runtime/ipc_manager.h"
#include "support/stage.h"

#define N_CONTAINERS 3u
#define FAN	     3u
#define N_QUEUED     8u
#define START_US     200000u /* a deadline that a task can start by on a busy machine, with a sanitizer */

enum method {
	TREE,	   /* FAN subtasks, and they again, `depth` deep; the leaves run until they shall end, or may */
	STUBBORN,  /* runs until it may end, whatever is asked of it */
	CHOOSE,	   /* two trees, of which it cancels the first */
	QUEUE,	   /* N_QUEUED subtasks in its own lane, and then keeps the worker until they shall end, or `in` ns */
	NOTE,	   /* notes that it ran */
	BROADCAST, /* a broadcast of trees */
	DETACH,	   /* a tree that nobody waits for */
	DEADLINE,  /* says its deadline, in ns from now; with depth that of a subtask, whose own is `in` us */
	WAIT,	   /* waits for a stubborn one with the timeout `in`, and then for ever */
	PERIODIC,  /* submits a periodic NOTE of an hour and waits for it */
	LATER,	   /* once it may end, calls a NOTE, whatever is asked of it itself */
	SERVE,	   /* until it is asked to end */
};

struct early_task {
	struct chi_task task;
	uint64_t in;
	uint32_t depth, reserved;
	uint64_t out;
	int64_t out2;
};

static hshm_au32 n_running, n_asked, n_noted, may_end;
static hshm_aptr its_session; /* of the task that ran last and has one */

static struct early_task *early(struct chi_task *task)
{
	return (struct early_task *)task;
}

static void make_sub(struct chi_container *container, struct early_task *sub, struct chi_domain_query query,
		     enum method method, uint32_t depth)
{
	chi_task_init(&sub->task, sizeof(*sub), chi_container_pool_id(container), query, method);
	sub->depth = depth;
}

static bool released(void)
{
	/* acquire: pairs with the release behind a look at the session, which goes with the task */
	return hshm_load_acquire(&may_end) != 0;
}

static void note_session(void)
{
	struct chi_session *session = CHI_CUR_WORKER->current->session;

	if (session)
		hshm_store_relaxed(&its_session, session); /* relaxed: the count behind it is waited for */
}

static int leaf(struct chi_run_context *context)
{
	bool asked;

	note_session();
	hshm_fetch_add_release(&n_running,
			       1); /* release: what was noted; pairs with the acquire in stage_wait_until() */
	while (!(asked = chi_cancelled(context)) && !released())
		chi_yield();
	if (asked)
		hshm_fetch_add_relaxed(&n_asked, 1);
	return asked ? -ECANCELED : 0;
}

static int tree(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct early_task subs[FAN];
	void *tasks[FAN];

	if (early(task)->depth == 0)
		return leaf(context);
	for (uint32_t i = 0; i < FAN; i++) {
		make_sub(container, &subs[i], CHI_QUERY_LOCAL_HASH(i), TREE, early(task)->depth - 1);
		tasks[i] = &subs[i];
		if (chi_submit(chi_context_client(context), tasks[i]) < 0)
			return -EBADMSG;
	}
	if (chi_wait_all(tasks, FAN, HSHM_FOREVER) < 0)
		return -EBADMSG;
	for (uint32_t i = 0; i < FAN; i++)
		if ((subs[i].task.result < 0) != chi_cancelled(context))
			return -EBADMSG;
	return chi_cancelled(context) ? -ECANCELED : 0;
}

static int stubborn(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	(void)context;
	note_session();
	hshm_fetch_add_relaxed(&n_running, 1);
	while (!released())
		chi_yield();
	return 0;
}

static int serve(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	hshm_fetch_add_relaxed(&n_running, 1);
	while (!chi_cancelled(context))
		chi_yield();
	return 0;
}

static int choose(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct early_task subs[2];

	(void)task;
	for (uint32_t i = 0; i < 2; i++) {
		make_sub(container, &subs[i], CHI_QUERY_LOCAL_HASH(i), TREE, 1);
		if (chi_submit(chi_context_client(context), &subs[i]) < 0)
			return -EBADMSG;
	}
	while (hshm_load_relaxed(&n_running) < 2 * FAN)
		chi_yield();
	chi_cancel(&subs[0]);
	if (chi_wait(&subs[0], HSHM_FOREVER) < 0 || subs[0].task.result != -ECANCELED || chi_cancelled(context) ||
	    hshm_load_relaxed(&n_asked) != FAN || chi_task_done(&subs[1]))
		return -EBADMSG;
	hshm_store_relaxed(&may_end, 1);
	return chi_wait(&subs[1], HSHM_FOREVER) < 0 ? -EBADMSG : subs[1].task.result;
}

/* out: how many of them ended with the result that `out2` says */
static int queue(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct early_task subs[N_QUEUED], *self = early(task);
	void *tasks[N_QUEUED];
	uint64_t end_ns;

	for (uint32_t i = 0; i < N_QUEUED; i++) {
		make_sub(container, &subs[i], CHI_QUERY_GLOBAL_ID(chi_container_id(container)), NOTE, 0);
		subs[i].task.deadline_us = self->depth;
		tasks[i] = &subs[i];
		if (chi_submit(chi_context_client(context), tasks[i]) < 0)
			return -EBADMSG;
	}
	hshm_fetch_add_relaxed(&n_running, 1);
	end_ns = hshm_clock_ns() + self->in; /* all are submitted: their time is over before it is */
	while (self->in ? hshm_clock_ns() < end_ns : !chi_cancelled(context))
		hshm_cpu_relax();
	if (chi_wait_all(tasks, N_QUEUED, HSHM_FOREVER) < 0)
		return -EBADMSG;
	for (uint32_t i = 0; i < N_QUEUED; i++)
		self->out += subs[i].task.result == (self->in ? -ETIMEDOUT : -ECANCELED);
	return 0;
}

static int note(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	(void)context;
	hshm_fetch_add_relaxed(&n_noted, 1);
	return 0;
}

static int broadcast(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct early_task sub;

	make_sub(container, &sub, CHI_QUERY_GLOBAL_BCAST(), TREE, early(task)->depth);
	return chi_call(chi_context_client(context), &sub);
}

static int detach(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct early_task *sub;

	(void)task;
	if (chi_task_alloc(chi_context_client(context), sizeof(*sub), chi_container_pool_id(container),
			   CHI_QUERY_LOCAL_HASH(1), TREE, &sub) < 0)
		return -EBADMSG;
	sub->task.flags = CHI_TASK_FIRE_AND_FORGET;
	if (chi_submit(chi_context_client(context), sub) < 0)
		return -EBADMSG;
	while (!chi_cancelled(context))
		chi_yield();
	return -ECANCELED;
}

static int deadline(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct early_task *self = early(task), sub;
	int ret;

	self->out = chi_context_deadline_ns(context);
	if (self->depth == 0)
		return 0;
	make_sub(container, &sub, CHI_QUERY_LOCAL_HASH(2), DEADLINE, 0);
	sub.task.deadline_us = (uint32_t)self->in;
	ret = chi_call(chi_context_client(context), &sub);
	self->out2 = (int64_t)sub.out - (int64_t)self->out;
	return ret;
}

/* out: how long after its deadline the first wait ended; out2: what it said */
static int wait_for_stubborn(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct early_task *self = early(task), sub;
	uint64_t deadline_ns = chi_context_deadline_ns(context), now_ns;

	make_sub(container, &sub, CHI_QUERY_LOCAL_HASH(1), STUBBORN, 0);
	if (chi_submit(chi_context_client(context), &sub) < 0)
		return -EBADMSG;
	self->out2 = chi_wait(&sub, self->in);
	now_ns = hshm_clock_ns();
	self->out = now_ns > deadline_ns ? now_ns - deadline_ns : 0;
	/* what is submitted from here on has no time left */
	if (self->in != HSHM_FOREVER)
		hshm_store_relaxed(&may_end, 1);
	return chi_wait(&sub, HSHM_FOREVER) < 0 ? -EBADMSG : sub.task.result;
}

static int periodic(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct early_task sub;

	(void)task;
	make_sub(container, &sub, CHI_QUERY_LOCAL_HASH(1), NOTE, 0);
	sub.task.flags = CHI_TASK_PERIODIC;
	sub.task.period_ns = 3600 * HSHM_NSEC_PER_SEC;
	return chi_call(chi_context_client(context), &sub);
}

static int later(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct early_task sub;
	int ret = stubborn(container, task, context);

	make_sub(container, &sub, CHI_QUERY_LOCAL_HASH(1), NOTE, 0);
	return ret < 0 ? ret : chi_call(chi_context_client(context), &sub);
}

#define EARLY_METHOD(number, function)                                                                        \
	{                                                                                                     \
		.name = #function, .id = (number), .task_size = sizeof(struct early_task), .run = (function), \
		.out_offset = offsetof(struct early_task, out), .out_size = 2 * sizeof(uint64_t),             \
	}

static const struct chi_method methods[] = {
	EARLY_METHOD(TREE, tree),	  EARLY_METHOD(STUBBORN, stubborn), EARLY_METHOD(CHOOSE, choose),
	EARLY_METHOD(QUEUE, queue),	  EARLY_METHOD(NOTE, note),	    EARLY_METHOD(BROADCAST, broadcast),
	EARLY_METHOD(DETACH, detach),	  EARLY_METHOD(DEADLINE, deadline), EARLY_METHOD(WAIT, wait_for_stubborn),
	EARLY_METHOD(PERIODIC, periodic), EARLY_METHOD(LATER, later),	    EARLY_METHOD(SERVE, serve),
};

static const struct chi_module module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "early_end_test",
	.version = 1,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
};

/* ---- a module whose create() and destroy() submit to the pool of the other ---- */

enum life {
	CALL_A_LEAF,	 /* and its result is theirs */
	KEEP_A_LOOP,	 /* a detached task that runs until it may end */
	KEEP_A_SERVICE,	 /* one that runs until it is asked to end */
	KEEP_A_PERIODIC, /* a detached NOTE each millisecond */
};

static hshm_au32 n_lives_failed;

static int keep(struct chi_client *its, enum life life)
{
	struct early_task *task;
	int ret = chi_task_alloc(its, sizeof(*task), pool, CHI_QUERY_LOCAL_HASH(1),
				 life == KEEP_A_LOOP	  ? STUBBORN
				 : life == KEEP_A_SERVICE ? SERVE
							  : NOTE,
				 &task);

	if (ret < 0)
		return ret;
	task->task.flags = CHI_TASK_FIRE_AND_FORGET;
	if (life == KEEP_A_PERIODIC) {
		task->task.flags |= CHI_TASK_PERIODIC;
		task->task.period_ns = HSHM_NSEC_PER_MSEC;
	}
	return chi_submit(its, task);
}

static int call_a_leaf(struct chi_client *its)
{
	struct early_task leaf;

	chi_task_init(&leaf.task, sizeof(leaf), pool, CHI_QUERY_LOCAL_HASH(1), TREE);
	leaf.depth = 0;
	return chi_call(its, &leaf);
}

static int life_create(struct chi_container *container, const void *params, uint64_t params_size)
{
	enum life life = params_size == 1 ? (enum life) * (const unsigned char *)params : KEEP_A_LOOP;

	note_session();
	return life == CALL_A_LEAF ? call_a_leaf(chi_container_client(container))
				   : keep(chi_container_client(container), life);
}

static void life_destroy(struct chi_container *container)
{
	note_session();
	if (call_a_leaf(chi_container_client(container)) < 0)
		hshm_fetch_add_relaxed(&n_lives_failed, 1);
}

static const struct chi_module life_module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "early_life",
	.version = 1,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = life_create,
	.destroy = life_destroy,
};

/* ---- start ---- */

static bool posting, in_place;
static struct chi_client *guest; /* it goes */

static int start(void **state)
{
	char config[256];

	(void)state;
	hshm_store_relaxed(&n_running, 0);
	hshm_store_relaxed(&n_asked, 0);
	hshm_store_relaxed(&n_noted, 0);
	hshm_store_relaxed(&may_end, 0);
	snprintf(config, sizeof(config),
		 "workers: { count: 3, completion_posting: %s, run_in_place: %s }\nmemory: { private_mib: 256 }\n",
		 posting ? "true" : "false", in_place ? "true" : "false");
	hshm_store_relaxed(&n_lives_failed, 0);
	if (stage_start(config, &module, N_CONTAINERS) < 0 ||
	    chi_module_register_builtin(runtime->modules, &life_module) < 0)
		return -1;
	return chi_runtime_client(runtime, &CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID), &guest);
}

static int stop(void **state)
{
	chi_client_disconnect(guest);
	return stage_stop(state);
}

static struct early_task *make_for(struct chi_client *who, enum method method, struct chi_domain_query query,
				   uint64_t in, uint32_t depth)
{
	struct early_task *task;

	assert_int_equal(chi_task_alloc(who, sizeof(*task), pool, query, method, &task), 0);
	task->in = in;
	task->depth = depth;
	return task;
}

static struct early_task *make(enum method method, struct chi_domain_query query, uint64_t in, uint32_t depth)
{
	return make_for(client, method, query, in, depth);
}

static struct early_task *submit(enum method method, uint64_t in, uint32_t depth, uint32_t deadline_us)
{
	struct early_task *task = make(method, CHI_QUERY_LOCAL_ID(0), in, depth);

	task->task.deadline_us = deadline_us;
	assert_int_equal(chi_submit(client, task), 0);
	return task;
}

static void expect_result(struct early_task *task, int result)
{
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	assert_int_equal(task->task.result, result);
}

static void finish(struct early_task *task, int result)
{
	expect_result(task, result);
	chi_task_free(client, task);
}

/* ---- cancel ---- */

/* Seen by a word that nobody announced: the walk that would have found it is the one that is not made. */
static void a_walk_that_found_nothing_is_not_made_again(void **state)
{
	struct chi_pool *its = aligned_alloc(_Alignof(struct chi_pool), sizeof(*its));
	struct chi_task tasks[4] = { 0 };
	struct chi_run_context chain[4];

	(void)state;
	assert_non_null(its);
	its->runtime = runtime;
	memset(chain, 0, sizeof(chain));
	for (uint32_t i = 0; i < 4; i++) {
		chain[i].task = &tasks[i];
		chain[i].pool = its;
		chain[i].root = &chain[0];
		chain[i].parent = i ? &chain[i - 1] : NULL;
	}
	assert_false(chi_context_asked_to_end(&chain[2]));
	hshm_store_relaxed(&tasks[1].cancel, 1);
	assert_false(chi_context_asked_to_end(&chain[3])); /* it asks no further than chain[2] */
	tasks[1].submitter = (uint64_t)(uintptr_t)&runtime->inner;
	chi_cancel(&tasks[1]);
	for (uint32_t i = 1; i < 4; i++)
		assert_true(chi_context_asked_to_end(&chain[i]));
	assert_false(chi_context_asked_to_end(&chain[0]));
	hshm_store_relaxed(&tasks[0].cancel, 1); /* as a client does it: seen all the same */
	assert_true(chi_context_asked_to_end(&chain[0]));
	free(its);
}

static void a_request_reaches_all_subtasks_on_all_workers(void **state)
{
	struct early_task *task = submit(TREE, 0, 3, 0);

	(void)state;
	stage_wait_until(&n_running, FAN * FAN * FAN);
	assert_int_equal(hshm_load_relaxed(&n_asked), 0);
	chi_cancel(task);
	finish(task, -ECANCELED);
	assert_int_equal(hshm_load_relaxed(&n_asked), FAN * FAN * FAN);
}

static void a_request_to_a_subtask_reaches_only_what_is_below_it(void **state)
{
	(void)state;
	finish(submit(CHOOSE, 0, 0, 0), 0);
	assert_int_equal(hshm_load_relaxed(&n_asked), FAN);
}

static void subtasks_that_have_not_started_never_do(void **state)
{
	struct early_task *task = submit(QUEUE, 0, 0, 0);

	(void)state;
	stage_wait_until(&n_running, 1);
	chi_cancel(task);
	expect_result(task, 0);
	assert_int_equal(task->out, N_QUEUED);
	assert_int_equal(hshm_load_relaxed(&n_noted), 0);
	chi_task_free(client, task);
}

static void a_request_passes_through_broadcasts(void **state)
{
	struct early_task *task = make(TREE, CHI_QUERY_GLOBAL_BCAST(), 0, 1);

	(void)state;
	assert_int_equal(chi_submit(client, task), 0);
	stage_wait_until(&n_running, N_CONTAINERS * FAN);
	chi_cancel(task);
	finish(task, -ECANCELED);
	assert_int_equal(hshm_load_relaxed(&n_asked), N_CONTAINERS * FAN);

	task = submit(BROADCAST, 0, 1, 0);
	stage_wait_until(&n_running, 2 * N_CONTAINERS * FAN);
	chi_cancel(task);
	finish(task, -ECANCELED);
	assert_int_equal(hshm_load_relaxed(&n_asked), 2 * N_CONTAINERS * FAN);
}

static void nothing_reaches_a_detached_task(void **state)
{
	uint64_t begin_ns = hshm_clock_ns();
	struct early_task *task = submit(DETACH, 0, 0, START_US);

	(void)state;
	stage_wait_until(&n_running, 1);
	chi_cancel(task);
	finish(task, -ECANCELED);
	/* past the deadline that was its submitter's, too */
	while (hshm_clock_ns() < begin_ns + 5 * START_US * HSHM_NSEC_PER_USEC / 4)
		chi_yield();
	hshm_store_relaxed(&may_end, 1);
	assert_int_equal(chi_flush(client), 0);
	assert_int_equal(hshm_load_relaxed(&n_asked), 0);
}

/* ---- deadlines ---- */

static void subtasks_inherit_the_sooner_deadline(void **state)
{
	struct early_task *task = submit(DEADLINE, 0, 1, 0);

	(void)state;
	expect_result(task, 0);
	assert_true(task->out == HSHM_FOREVER && task->out2 == 0);
	chi_task_free(client, task);

	task = submit(DEADLINE, 0, 1, 30000000);
	expect_result(task, 0);
	assert_in_range(task->out - hshm_clock_ns(), 29 * HSHM_NSEC_PER_SEC - TIME_MAX_NS, 30 * HSHM_NSEC_PER_SEC);
	assert_int_equal(task->out2, 0);
	chi_task_free(client, task);

	/* the subtask's own is later: 40 s */
	task = submit(DEADLINE, 40000000, 1, 30000000);
	expect_result(task, 0);
	assert_int_equal(task->out2, 0);
	chi_task_free(client, task);

	/* and sooner: 5 s */
	task = submit(DEADLINE, 5000000, 1, 30000000);
	expect_result(task, 0);
	assert_true(task->out2 < 0);
	chi_task_free(client, task);
}

static void who_has_not_started_by_then_ends_without_running(void **state)
{
	struct early_task *task = submit(QUEUE, 5 * HSHM_NSEC_PER_MSEC, 1000, 0);

	(void)state;
	expect_result(task, 0);
	assert_int_equal(task->out, N_QUEUED);
	assert_int_equal(hshm_load_relaxed(&n_noted), 0);
	chi_task_free(client, task);
}

static void who_runs_is_asked_to_end_at_the_deadline(void **state)
{
	uint64_t begin_ns = hshm_clock_ns();
	struct early_task *task = submit(TREE, 0, 2, START_US);

	(void)state;
	finish(task, -ECANCELED);
	assert_true(hshm_clock_ns() - begin_ns >= START_US * HSHM_NSEC_PER_USEC);
	/* all of them started well before, or did not start */
	assert_int_equal(hshm_load_relaxed(&n_asked), hshm_load_relaxed(&n_running));
}

static void waits_end_at_the_deadline(void **state)
{
	static const uint64_t timeouts[] = { CHI_UNTIL_DEADLINE, 100 * HSHM_NSEC_PER_SEC };

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		struct early_task *task;

		hshm_store_relaxed(&may_end, 0);
		task = submit(WAIT, timeouts[i], 0, START_US);
		expect_result(task, 0);
		assert_int_equal(task->out2, -ETIMEDOUT);
		assert_in_range(task->out, 1, TIME_MAX_NS);
		chi_task_free(client, task);
	}
}

/* What a method waits for is in its frame: only it knows whether it may leave. */
static void a_wait_for_ever_goes_on(void **state)
{
	struct early_task *task = submit(WAIT, HSHM_FOREVER, 0, START_US);

	(void)state;
	stage_wait_until(&n_running, 1);
	assert_int_equal(chi_wait(task, START_US * HSHM_NSEC_PER_USEC), -ETIMEDOUT);
	hshm_store_relaxed(&may_end, 1);
	expect_result(task, 0);
	assert_int_equal(task->out2, 0);
	assert_true(task->out > 0);
	chi_task_free(client, task);
}

/* ---- periodic tasks at rest ---- */

static void a_resting_periodic_task_ends_soon_after_its_cancel(void **state)
{
	struct early_task *task = make(NOTE, CHI_QUERY_LOCAL_ID(0), 0, 0);
	uint64_t begin_ns;

	(void)state;
	task->task.flags = CHI_TASK_PERIODIC;
	task->task.period_ns = 3600 * HSHM_NSEC_PER_SEC;
	assert_int_equal(chi_submit(client, task), 0);
	stage_wait_until(&n_noted, 1);
	assert_int_equal(chi_flush(client), 0); /* it rests */
	begin_ns = hshm_clock_ns();
	chi_cancel(task);
	finish(task, -ECANCELED);
	/* a look comes every CHI_CANCEL_LOOK_NS; the rest is for a busy machine */
	assert_true(hshm_clock_ns() - begin_ns < CHI_CANCEL_LOOK_NS + 2 * HSHM_NSEC_PER_SEC);
	assert_int_equal(hshm_load_relaxed(&n_noted), 1);
}

static void a_resting_subtask_ends_with_its_parents_request_or_deadline(void **state)
{
	struct early_task *task = submit(PERIODIC, 0, 0, 0);

	(void)state;
	stage_wait_until(&n_noted, 1);
	chi_cancel(task);
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	/* 0: it was asked before its run had ended */
	assert_true(task->task.result == -ECANCELED || task->task.result == 0);
	chi_task_free(client, task);
	finish(submit(PERIODIC, 0, 0, 300000), -ETIMEDOUT);
	assert_int_equal(hshm_load_relaxed(&n_noted), 2);
}

/* ---- a client that goes ---- */

static void guest_submits(enum method method, uint32_t depth, uint16_t flags)
{
	struct early_task *task = make_for(guest, method, CHI_QUERY_LOCAL_ID(0), 0, depth);

	task->task.flags = flags;
	assert_int_equal(chi_submit(guest, task), 0);
}

static void guest_goes(void)
{
	chi_client_disconnect(guest);
	guest = NULL;
}

/* Nothing of it is left in the runtime. */
static void wait_until_guest_is_gone(void)
{
	uint64_t end_ns = hshm_clock_ns() + TIME_MAX_NS;

	while (chi_ipc_n_sessions(runtime->ipc) > 1) {
		assert_true(hshm_clock_ns() < end_ns);
		chi_yield();
	}
}

/* A task of its is under way, so its session is there. */
static void wait_until_guest_has_ended(void)
{
	struct chi_session *session = hshm_load_relaxed(&its_session);
	uint64_t end_ns = hshm_clock_ns() + TIME_MAX_NS;

	while (!hshm_load_acquire(&session->ended)) {
		assert_true(hshm_clock_ns() < end_ns);
		chi_yield();
	}
}

static void who_lost_its_client_is_asked_but_for_what_was_given_away(void **state)
{
	struct chi_pool *its = aligned_alloc(_Alignof(struct chi_pool), sizeof(*its));
	struct chi_session session = { 0 };
	struct chi_task tasks[2] = { 0 };
	struct chi_run_context chain[2];

	(void)state;
	assert_non_null(its);
	its->runtime = runtime;
	memset(chain, 0, sizeof(chain));
	for (uint32_t i = 0; i < 2; i++)
		chain[i] = (struct chi_run_context){ .task = &tasks[i],
						     .pool = its,
						     .root = &chain[0],
						     .session = &session,
						     .parent = i ? &chain[0] : NULL };
	assert_false(chi_context_asked_to_end(&chain[1]));
	hshm_store_relaxed(&session.ended, 1);
	assert_true(chi_context_asked_to_end(&chain[0]));
	assert_true(chi_context_asked_to_end(&chain[1]));
	tasks[0].flags = CHI_TASK_FIRE_AND_FORGET;
	assert_false(chi_context_asked_to_end(&chain[0]));
	assert_false(chi_context_asked_to_end(&chain[1]));
	free(its);
}

static void tasks_end_when_their_client_is_gone(void **state)
{
	(void)state;
	guest_submits(TREE, 2, 0);
	stage_wait_until(&n_running, FAN * FAN);
	guest_goes();
	wait_until_guest_is_gone();
	assert_int_equal(hshm_load_relaxed(&n_asked), FAN * FAN);
}

static void what_was_given_away_goes_on_without_its_client(void **state)
{
	(void)state;
	guest_submits(TREE, 0, CHI_TASK_FIRE_AND_FORGET);
	guest_submits(LATER, 0, CHI_TASK_FIRE_AND_FORGET);
	stage_wait_until(&n_running, 2);
	guest_goes();
	wait_until_guest_has_ended();
	hshm_store_release(&may_end, 1); /* release: see released() */
	wait_until_guest_is_gone();
	assert_int_equal(hshm_load_relaxed(&n_asked), 0);
	assert_int_equal(hshm_load_relaxed(&n_noted), 1);
}

/* ---- what create() and destroy() submit ---- */

static uint32_t make_life(struct chi_client *who, enum life life)
{
	unsigned char param = (unsigned char)life;
	struct chi_pool_spec spec = { .module = "early_life", .params = &param, .params_size = 1 };
	uint32_t id;

	assert_true(chi_pool_create(who, &spec, &id) >= 0);
	return id;
}

static void a_pool_keeps_its_tasks_when_its_maker_is_gone(void **state)
{
	uint32_t id = make_life(guest, KEEP_A_PERIODIC), n;

	(void)state;
	guest_goes();
	wait_until_guest_is_gone();
	n = hshm_load_relaxed(&n_noted);
	stage_wait_until(&n_noted, n + 3);
	hshm_store_relaxed(&may_end, 1);
	assert_int_equal(chi_pool_destroy(client, id), 0);
}

static void a_pools_task_without_end_does_not_hold_its_makers_memory(void **state)
{
	uint32_t id = make_life(guest, KEEP_A_LOOP);

	(void)state;
	stage_wait_until(&n_running, 1);
	guest_goes();
	wait_until_guest_is_gone();
	hshm_store_relaxed(&may_end, 1);
	assert_int_equal(chi_pool_destroy(client, id), 0);
}

/* The stop waits for it: 0 says that nothing was given up. */
static void a_pools_service_ends_when_the_runtime_stops(void **state)
{
	(void)state;
	hshm_store_relaxed(&may_end, 1); /* what destroy() calls */
	make_life(client, KEEP_A_SERVICE);
	stage_wait_until(&n_running, 1);
}

/* Others may wait for that pool. */
static void a_pool_is_made_though_who_asked_is_gone(void **state)
{
	struct chi_admin_create_pool_task *task = NULL;
	unsigned char *param;
	uint32_t id;

	(void)state;
	assert_int_equal(chi_alloc(guest, 1, &param), 0);
	*param = CALL_A_LEAF;
	assert_int_equal(chi_admin_create_pool_alloc(guest, CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0), param, 1,
						     (struct chi_name){ "early_life" }, (struct chi_name){ "" }, 1, 1,
						     0, &task),
			 0);
	task->task.deadline_us = START_US;
	assert_int_equal(chi_submit(guest, task), 0);
	stage_wait_until(&n_running, 1);
	chi_cancel(task);
	guest_goes();
	wait_until_guest_has_ended();
	hshm_store_release(&may_end, 1); /* release: see released() */
	wait_until_guest_is_gone();
	assert_int_equal(hshm_load_relaxed(&n_asked), 0);
	id = make_life(client, CALL_A_LEAF);
	assert_int_equal(hshm_load_relaxed(&n_running), 1); /* it was there */
	assert_int_equal(chi_pool_destroy(client, id), 0);
}

static void a_destroy_comes_to_its_end_though_who_asked_is_gone(void **state)
{
	struct chi_admin_destroy_pool_task *task = NULL;
	uint32_t id;

	(void)state;
	hshm_store_relaxed(&may_end, 1);
	id = make_life(client, CALL_A_LEAF);
	hshm_store_relaxed(&may_end, 0);
	assert_int_equal(chi_admin_destroy_pool_alloc(guest, CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0), id, &task), 0);
	assert_int_equal(chi_submit(guest, task), 0);
	stage_wait_until(&n_running, 2);
	guest_goes();
	wait_until_guest_has_ended();
	hshm_store_release(&may_end, 1); /* release: see released() */
	wait_until_guest_is_gone();
	assert_int_equal(hshm_load_relaxed(&n_asked), 0);
	assert_int_equal(hshm_load_relaxed(&n_lives_failed), 0);
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, start, stop)
	const struct CMUnitTest tests[] = {
		CASE(a_request_reaches_all_subtasks_on_all_workers),
		CASE(a_request_to_a_subtask_reaches_only_what_is_below_it),
		CASE(subtasks_that_have_not_started_never_do),
		CASE(a_request_passes_through_broadcasts),
		CASE(a_walk_that_found_nothing_is_not_made_again),
		CASE(nothing_reaches_a_detached_task),
		CASE(subtasks_inherit_the_sooner_deadline),
		CASE(who_has_not_started_by_then_ends_without_running),
		CASE(who_runs_is_asked_to_end_at_the_deadline),
		CASE(waits_end_at_the_deadline),
		CASE(a_wait_for_ever_goes_on),
		CASE(a_resting_periodic_task_ends_soon_after_its_cancel),
		CASE(a_resting_subtask_ends_with_its_parents_request_or_deadline),
		CASE(who_lost_its_client_is_asked_but_for_what_was_given_away),
		CASE(tasks_end_when_their_client_is_gone),
		CASE(what_was_given_away_goes_on_without_its_client),
		CASE(a_pool_keeps_its_tasks_when_its_maker_is_gone),
		CASE(a_pools_task_without_end_does_not_hold_its_makers_memory),
		CASE(a_pools_service_ends_when_the_runtime_stops),
		CASE(a_pool_is_made_though_who_asked_is_gone),
		CASE(a_destroy_comes_to_its_end_though_who_asked_is_gone),
	};
	int n_failed = 0;

	for (int mode = 0; mode < 4; mode++) {
		posting = mode & 1;
		in_place = mode & 2;
		print_message("completion posting %s, run in place %s\n", posting ? "on" : "off",
			      in_place ? "on" : "off");
		n_failed += cmocka_run_group_tests(tests, NULL, NULL);
	}
	return n_failed;
}
