/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * admit_test.c - a task that asks for the same as the one before is run in that one's context: what is looked at anew for
 * it, what is reset, and who is never followed
 *
 * A case writes requests into clients' segments and hands their references to worker 0, as a lane's turn does, outside
 * of its loop's turns: what the step before left is there for the next.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "runtime/container.h"
#include "runtime/count.h"
#include "runtime/pool_manager.h"
#include "runtime/session.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"
#include "support/rest.h"
#include "support/stage.h"

#define N_CONTAINERS 2u
#define N_LANES	     4u /* of a container whose lanes have turns */
#define N_STEPS_MAX  1100u
#define HOUR_US	     3600000000u
#define SPIN_NS	     (50 * HSHM_NSEC_PER_USEC)
#define TIMED_IO     4096u /* a task with so many bytes is timed each time */

enum method { LOOK, LOOK_TOO, TINY, LOOK_HUGE };

enum mode {
	PLAIN,
	SCRIBBLE, /* over the header of its copy */
	LEAVE,	  /* its fiber, and comes back */
	FAIL,
	DETACH, /* a LOOK, into the same container */
	CALL,	/* two such, one after the other, and wait for them */
	SUBMIT, /* the same, into its lane; the first has a deadline */
	SPIN,
};

struct look_task {
	struct chi_task task;
	uint64_t value;
	uint32_t mode, reserved;
	struct chi_buffer buffer;
	uint64_t out; /* 2 * value */
};

/* Does not fit the memory that is kept for the next. */
struct huge_task {
	struct look_task look;
	char more[512];
};

/* What a run found. */
struct seen {
	const struct chi_run_context *context;
	struct chi_task header;
	uint64_t value, io_bytes, deadline_ns;
	const struct chi_session *session;
	uint32_t method, container, worker, timed_for, flush_epoch, n_in_flight[2];
};

static struct seen seen[N_STEPS_MAX];
static hshm_au32 n_seen;
static uint32_t n_kept_max; /* contexts for the next clients' tasks, as those saw it that came back */

/* ---- the modules ---- */

static struct look_task *look_task_of(struct chi_task *task)
{
	return (struct look_task *)task;
}

static void note(const struct look_task *self, const struct chi_run_context *context)
{
	const struct chi_pool *its = context->pool;
	struct seen *at = &seen[hshm_load_relaxed(&n_seen)];

	at->context = context;
	at->header = self->task;
	at->value = self->value;
	at->io_bytes = context->io_bytes;
	at->deadline_ns = chi_context_deadline_ns(context);
	at->session = context->session;
	at->method = context->method->id;
	at->container = chi_container_id(context->container);
	at->worker = chi_context_worker(context);
	at->timed_for = context->timed_for;
	at->flush_epoch = context->flush_epoch;
	for (uint32_t i = 0; i < 2; i++)
		at->n_in_flight[i] = (uint32_t)hshm_load_relaxed(&its->n_in_flight[i]);
	/* release: one run after the other notes; pairs with the acquire of who waits for them */
	hshm_fetch_add_release(&n_seen, 1);
}

static void scribble(struct chi_task *task)
{
	task->version = 99;
	task->size_bytes = 1;
	task->pool_id = task->method_id = UINT32_MAX;
	task->query = CHI_QUERY_LOCAL_ID(1);
	task->period_ns = UINT64_MAX;
	task->deadline_us = 1;
}

static int detach(struct chi_container *container, struct chi_run_context *context, uint64_t value)
{
	struct look_task *sub;
	int ret = chi_task_alloc(chi_context_client(context), sizeof(*sub), chi_container_pool_id(container),
				 CHI_QUERY_LOCAL_ID(chi_container_id(container)), LOOK, &sub);

	if (ret < 0)
		return ret;
	sub->task.flags = CHI_TASK_FIRE_AND_FORGET;
	sub->value = value;
	return chi_submit(chi_context_client(context), sub);
}

static int call_two(struct chi_container *container, struct chi_run_context *context)
{
	struct look_task sub;
	int ret = 0;

	for (uint32_t i = 0; ret == 0 && i < 2; i++) {
		chi_task_init(&sub.task, sizeof(sub), chi_container_pool_id(container),
			      CHI_QUERY_LOCAL_ID(chi_container_id(container)), LOOK);
		ret = chi_call(chi_context_client(context), &sub);
	}
	return ret;
}

static int submit_two(struct chi_container *container, struct chi_run_context *context)
{
	struct look_task sub;
	int ret = 0;

	for (uint32_t i = 0; ret == 0 && i < 2; i++) {
		chi_task_init(&sub.task, sizeof(sub), chi_container_pool_id(container),
			      CHI_QUERY_LOCAL_ID(chi_container_id(container)), LOOK);
		sub.task.deadline_us = i == 0 ? HOUR_US : 0;
		ret = chi_submit(chi_context_client(context), &sub);
		if (ret == 0)
			ret = chi_wait(&sub, HSHM_FOREVER);
	}
	return ret;
}

static int leave_and_look(const struct chi_run_context *context)
{
	uint32_t n;

	chi_yield();
	n = context->worker->spares[CHI_MADE_FOR_CLIENT].n;
	n_kept_max = n > n_kept_max ? n : n_kept_max;
	return 0;
}

static int look(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct look_task *self = look_task_of(task);
	uint64_t end_ns = hshm_clock_ns() + SPIN_NS;

	note(self, context);
	self->out = 2 * self->value;
	switch ((enum mode)self->mode) {
	case SCRIBBLE:
		scribble(task);
		return 0;
	case LEAVE:
		return leave_and_look(context);
	case FAIL:
		return -EIO;
	case DETACH:
		return detach(container, context, self->value + 1);
	case CALL:
		return call_two(container, context);
	case SUBMIT:
		return submit_two(container, context);
	case SPIN:
		while (hshm_clock_ns() < end_ns)
			hshm_cpu_relax();
		return 0;
	case PLAIN:
		return 0;
	}
	return -EINVAL;
}

static int tiny(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task, (void)context;
	chi_yield(); /* its memory is not for the next one */
	return 0;
}

#define LOOK_METHOD(number, text)                                                                   \
	{                                                                                           \
		.name = (text), .id = (number), .task_size = sizeof(struct look_task), .run = look, \
		.buffers_offset = offsetof(struct look_task, buffer), .n_buffers = 1,               \
		.out_offset = offsetof(struct look_task, out), .out_size = sizeof(uint64_t),        \
	}

static const struct chi_method methods[] = {
	LOOK_METHOD(LOOK, "look"),
	LOOK_METHOD(LOOK_TOO, "look_too"),
	{ .name = "tiny", .id = TINY, .task_size = sizeof(struct chi_task), .run = tiny },
	{ .name = "huge", .id = LOOK_HUGE, .task_size = sizeof(struct huge_task), .run = look },
};

static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	return chi_container_create_local_queue(container, 0, params_size ? *(const unsigned char *)params : 1, 0);
}

static int has_no_say(struct chi_container *container, enum chi_monitor_mode mode, struct chi_monitor *answer)
{
	(void)container, (void)mode, (void)answer;
	return -ENOTSUP;
}

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "look",
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = create,
};

static const struct chi_module watched_module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "watched_look",
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = create,
	.monitor = has_no_say,
};

/* ---- the stage: pools, and the clients' sessions ---- */

static struct chi_session *session, *other_session;
static struct chi_client *other_client;
static uint32_t other_pool, lanes_pool, watched_pool;

static struct chi_worker *worker_of(uint32_t i)
{
	return chi_work_orch_worker(runtime->orch, i);
}

static struct chi_session *find_session(const struct chi_session *but)
{
	struct chi_session *found = NULL;

	for (uint32_t w = 0; w < chi_work_orch_n_workers(runtime->orch); w++) {
		struct chi_worker *worker = worker_of(w);

		pthread_mutex_lock(&worker->lanes_lock);
		for (uint32_t i = 0; i < worker->n_lanes; i++)
			if (worker->lanes[i]->session && worker->lanes[i]->session != but)
				found = worker->lanes[i]->session;
		pthread_mutex_unlock(&worker->lanes_lock);
	}
	return found;
}

static int make_pool(struct chi_client *its, const char *name, const char *module_name, unsigned char n_lanes,
		     uint32_t *ret_pool)
{
	struct chi_pool_spec spec = {
		.module = module_name, .name = name, .n_containers = N_CONTAINERS, .params = &n_lanes, .params_size = 1
	};

	return chi_pool_create(its, &spec, ret_pool);
}

static int start(const char *config)
{
	hshm_store_relaxed(&n_seen, 0);
	if (stage_start(config, &module, N_CONTAINERS) < 0 ||
	    chi_module_register_builtin(runtime->modules, &watched_module) < 0)
		return -1;
	session = find_session(NULL);
	if (chi_runtime_client(runtime, NULL, &other_client) < 0 ||
	    make_pool(other_client, "other", "look", 1, &other_pool) < 0 ||
	    make_pool(client, "lanes", "look", N_LANES, &lanes_pool) < 0 ||
	    make_pool(client, "watched", "watched_look", 1, &watched_pool) < 0) {
		print_error("%s\n", chi_error_text());
		return -1;
	}
	other_session = find_session(session);
	return session && other_session ? 0 : -1;
}

static int start_one(void **state)
{
	(void)state;
	return start("workers: { count: 1 }\nmemory: { private_mib: 256 }\nclients: { memory_mib: 16 }\n");
}

static int start_two(void **state)
{
	(void)state;
	return start("workers: { count: 2 }\nmemory: { private_mib: 256 }\nclients: { memory_mib: 16 }\n");
}

static int start_lanes_only(void **state)
{
	(void)state;
	return start("workers: { count: 1, run_in_place: false }\n"
		     "memory: { private_mib: 256 }\nclients: { memory_mib: 16 }\n");
}

static int stop(void **state)
{
	chi_client_disconnect(other_client);
	return stage_stop(state);
}

/* ---- steps of a turn ---- */

struct step {
	struct chi_session *session;
	struct chi_task *task; /* in its segment */
	void (*before)(struct chi_worker *worker);
	bool admitted, followed, knew_lane, here;
	const struct chi_lane *lane; /* of all who ask so */
};

static struct step steps[N_STEPS_MAX];
static uint32_t n_steps, n_taken;

/* In the upper half of the segment, where the client's own heap does not get to. */
static void *place_in(const struct chi_session *its, uint32_t index)
{
	const struct hipc_mapping *map = &its->segment.map;

	return (char *)map->base + map->size_bytes / 2 + (size_t)index * 4 * HIPC_REF_UNIT;
}

static struct look_task *ask(struct chi_session *its, void *memory, uint32_t pool_id, struct chi_domain_query query)
{
	struct look_task *task = memory;

	chi_task_init(&task->task, sizeof(*task), pool_id, query, LOOK);
	task->value = n_steps;
	steps[n_steps++] = (struct step){ .session = its, .task = &task->task };
	return task;
}

/* The same as all that are asked for by this. */
static struct look_task *ask_alike(void)
{
	return ask(session, place_in(session, n_steps), pool, CHI_QUERY_LOCAL_ID(0));
}

static struct look_task *ask_alike_behind(void (*before)(struct chi_worker *worker))
{
	struct look_task *task = ask_alike();

	steps[n_steps - 1].before = before;
	return task;
}

static uint32_t ref_of(const struct step *step)
{
	return hipc_ref_of(&step->session->segment.map, step->task);
}

static struct chi_run_context *next_step(struct chi_turn *turn)
{
	while (n_taken < n_steps) {
		struct step *step = &steps[n_taken++];
		struct chi_run_context *context;
		struct chi_lane *lane;

		if (step->before)
			step->before(turn->worker);
		context = chi_worker_admit(turn->worker, step->session, ref_of(step));
		step->admitted = context != NULL;
		if (!context)
			continue;
		step->followed = context->by_default;
		step->knew_lane = context->lane != NULL;
		step->here = chi_worker_route_in_turn(turn->worker, context, &lane) == CHI_ROUTED_HERE;
		if (!step->here)
			continue;
		step->lane = context->lane;
		return context;
	}
	return NULL;
}

struct errand {
	struct chi_work work;
	void (*fn)(struct chi_worker *worker);
	sem_t done;
};

static void run_errand(struct chi_worker *worker, struct chi_work *work)
{
	struct errand *errand = (struct errand *)work; /* its first member */

	errand->fn(worker);
	sem_post(&errand->done);
}

static void on_worker(uint32_t worker, void (*fn)(struct chi_worker *worker))
{
	struct errand errand = { .work.fn = run_errand, .fn = fn };

	sem_init(&errand.done, 0, 0);
	chi_worker_post(worker_of(worker), &errand.work);
	while (sem_wait(&errand.done) < 0)
		;
	sem_destroy(&errand.done);
}

static void take_steps(struct chi_worker *worker)
{
	struct chi_turn turn = { .worker = worker, .next = next_step };

	chi_worker_run_turn(worker, &turn);
}

/* All that were asked for since the last time, in one turn; until they are answered. */
static void run(void)
{
	uint32_t first = n_taken;

	on_worker(0, take_steps);
	for (uint32_t i = first; i < n_steps; i++)
		while (!chi_task_done(steps[i].task))
			HSHM_THREAD_MODEL->sleep_for_us(100);
}

static int begin(int (*start_runtime)(void **state), void **state)
{
	n_steps = n_taken = 0;
	return start_runtime(state);
}

static int begin_one(void **state)
{
	return begin(start_one, state);
}

static int begin_lanes_only(void **state)
{
	return begin(start_lanes_only, state);
}

static int begin_two(void **state)
{
	return begin(start_two, state);
}

static void assert_followed(uint32_t step, bool followed)
{
	assert_true(steps[step].admitted);
	assert_int_equal(steps[step].followed, followed);
}

/* Refused, with this answer. */
static void assert_refused(uint32_t step, int error)
{
	assert_false(steps[step].admitted);
	assert_int_equal(steps[step].task->result, error);
}

static uint64_t counted(hshm_au64 *counter)
{
	return hshm_load_relaxed(counter); /* relaxed: a figure */
}

/* They stay as long as the case. */
static struct chi_pool *pool_of(uint32_t id)
{
	uint8_t epoch;
	struct chi_pool *found = chi_pool_get(runtime->pools, id, &epoch);

	assert_non_null(found);
	chi_pool_put(found, epoch);
	return found;
}

static struct chi_pool *the_pool(void)
{
	return pool_of(pool);
}

static struct chi_method_counters *counters_of(enum method method)
{
	return chi_method_counters_at(worker_of(0), the_pool()->counters_offsets[method]);
}

/* ---- the same, and what is not ---- */

static struct chi_pool *counted_pool;
static hshm_au64 left_in_flight[2];

static void look_at_counts(struct chi_worker *worker)
{
	(void)worker;
	for (uint32_t i = 0; i < 2; i++)
		hshm_store_relaxed(&left_in_flight[i], hshm_load_relaxed(&counted_pool->n_in_flight[i]));
}

static void assert_none_in_flight(void)
{
	counted_pool = the_pool();
	on_worker(0, look_at_counts);
	assert_int_equal(counted(&left_in_flight[0]), 0);
	assert_int_equal(counted(&left_in_flight[1]), 0);
}

static void what_asks_for_the_same_follows_and_has_its_own_in_and_output(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		ask_alike();
	run();
	for (uint32_t i = 0; i < 5; i++) {
		assert_followed(i, i > 0);
		assert_true(steps[i].here);
		assert_int_equal(seen[i].value, i);
		assert_int_equal(look_task_of(steps[i].task)->out, 2 * i);
		assert_int_equal(seen[i].header.id.number, 0);
		for (uint32_t j = 0; j < i; j++)
			assert_true(seen[i].header.id.root != seen[j].header.id.root);
	}
	assert_none_in_flight();
}

static void each_field_of_the_request_counts(void **state)
{
	struct chi_task *task;

	(void)state;
	for (uint32_t i = 0; i < 14; i++)
		ask_alike();
	task = steps[1].task;
	task->method_id = LOOK_TOO;
	task = steps[3].task;
	task->pool_id = other_pool;
	task = steps[5].task;
	task->query.reserved = 1;
	task = steps[7].task;
	task->query.kind = CHI_DOMAIN_GLOBAL_ID;
	task = steps[9].task;
	task->version++;
	task = steps[11].task;
	task->flags = 0x8000;
	task = steps[13].task;
	task->size_bytes -= 8;
	run();
	for (uint32_t i = 0; i < 9; i++)
		assert_followed(i, false);
	assert_int_equal(seen[1].method, LOOK_TOO);
	assert_int_equal(seen[2].method, LOOK);
	assert_int_equal(seen[3].header.pool_id, other_pool);
	assert_refused(9, -EPROTO);
	assert_refused(11, -EINVAL);
	assert_refused(13, -EMSGSIZE);
	/* what was refused was no task: the one before it is the newest still */
	assert_followed(10, true);
	assert_followed(12, true);
}

static struct look_task *ask_for(uint32_t pool_id, struct chi_domain_query query)
{
	return ask(session, place_in(session, n_steps), pool_id, query);
}

static void one_that_names_another_container_follows_and_goes_there(void **state)
{
	static const uint32_t containers[] = { 0, 1, 1, 0 };

	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		ask_for(pool, CHI_QUERY_LOCAL_ID(containers[i]));
	run();
	for (uint32_t i = 0; i < 4; i++) {
		assert_followed(i, i > 0);
		assert_int_equal(seen[i].container, containers[i]);
		assert_int_equal(seen[i].header.query.value, containers[i]);
	}
	assert_true(steps[2].knew_lane);
	assert_false(steps[1].knew_lane || steps[3].knew_lane);
	assert_none_in_flight();
}

static void one_that_names_none_follows_and_fails(void **state)
{
	(void)state;
	ask_alike();
	ask_for(pool, CHI_QUERY_LOCAL_ID(N_CONTAINERS));
	ask_alike();
	run();
	assert_int_equal(steps[1].task->result, -ENOENT);
	assert_followed(1, true);
	assert_followed(2, true);
	assert_int_equal(hshm_load_relaxed(&n_seen), 2);
	assert_int_equal(seen[1].container, 0);
	assert_none_in_flight();
}

static void one_with_another_global_id_follows_and_goes_there(void **state)
{
	static const uint64_t ids[] = { 0, 1, UINT64_C(1) << 32, 1, 0 };

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		ask_for(pool, CHI_QUERY_GLOBAL_ID(ids[i]));
	run();
	for (uint32_t i = 0; i < 5; i++) {
		assert_followed(i, i > 0);
		assert_int_equal(steps[i].task->result, ids[i] < N_CONTAINERS ? 0 : -ENOENT);
	}
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(seen[i].container, seen[i].header.query.value);
	assert_none_in_flight();
}

/* The one behind names the container of the one before it. */
static void one_that_is_refused_midway_leaves_no_container(void **state)
{
	(void)state;
	ask_for(pool, CHI_QUERY_LOCAL_ID(0));
	ask_for(pool, CHI_QUERY_LOCAL_ID(1))->buffer.flags = 0x80;
	ask_for(pool, CHI_QUERY_LOCAL_ID(1));
	run();
	assert_refused(1, -EINVAL);
	assert_followed(2, true);
	assert_false(steps[2].knew_lane);
	assert_int_equal(seen[1].container, 1);
	assert_none_in_flight();
}

static void what_is_of_high_latency_goes_to_a_queue_where_there_is_none_for_it(void **state)
{
	const struct chi_pool *its = pool_of(lanes_pool);

	(void)state;
	for (uint32_t i = 0; i < 2; i++)
		ask_for(lanes_pool, CHI_QUERY_LOCAL_HASH(1))->task.flags = CHI_TASK_HIGH_LATENCY;
	run();
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(steps[i].task->result, 0);
		assert_ptr_equal(steps[i].lane->container, its->local_table[1]);
	}
}

/* Small ones, and some that need all 64 bits. */
static uint64_t hash_of(uint32_t i)
{
	return i < 16 ? i : UINT64_MAX - i;
}

static void expect_own_lanes(struct chi_domain_query query)
{
	const struct chi_pool *its = pool_of(lanes_pool);

	for (uint32_t i = 0; i < 32; i++) {
		query.value = hash_of(i);
		ask_for(lanes_pool, query);
	}
	run();
	for (uint32_t i = 0; i < 32; i++) {
		struct chi_container *container = its->local_table[hash_of(i) % N_CONTAINERS];

		assert_followed(i, i > 0);
		assert_int_equal(seen[i].container, container->id);
		assert_ptr_equal(
			steps[i].lane,
			chi_container_lane(container, 0, chi_container_lane_by_hash(container, 0, hash_of(i))));
	}
}

static void one_with_another_hash_follows_and_goes_to_its_own_lane(void **state)
{
	(void)state;
	expect_own_lanes(CHI_QUERY_LOCAL_HASH(0));
}

static void so_does_one_with_another_global_hash(void **state)
{
	(void)state;
	expect_own_lanes(CHI_QUERY_GLOBAL_HASH(0));
}

static void a_task_of_another_session_follows_none(void **state)
{
	(void)state;
	ask_alike();
	ask(other_session, place_in(other_session, 1), pool, CHI_QUERY_LOCAL_ID(0));
	ask_alike();
	run();
	for (uint32_t i = 0; i < 3; i++) {
		assert_followed(i, false);
		assert_ptr_equal(seen[i].session, steps[i].session);
		assert_int_equal(look_task_of(steps[i].task)->out, 2 * i);
	}
}

/* Its header is inside, to the last byte. */
static void one_that_would_end_past_the_segment_is_refused(void **state)
{
	const struct hipc_mapping *map = &session->segment.map;
	struct chi_task *last = (struct chi_task *)(void *)((char *)map->base + map->size_bytes) - 1;

	(void)state;
	ask_alike();
	*last = *steps[0].task;
	steps[n_steps++] = (struct step){ .session = session, .task = last };
	ask_alike();
	run();
	assert_refused(1, -EFAULT);
	assert_followed(2, true);
}

static void drain(struct chi_worker *worker)
{
	hshm_store_relaxed(&worker->runtime->draining, 1);
}

static void drain_no_more(struct chi_worker *worker)
{
	hshm_store_relaxed(&worker->runtime->draining, 0);
}

static void a_runtime_that_stops_takes_no_more(void **state)
{
	(void)state;
	ask_alike();
	ask_alike_behind(drain);
	ask_alike_behind(drain_no_more);
	run();
	assert_refused(1, -ESHUTDOWN);
	assert_followed(2, true);
}

static void close_pool(struct chi_worker *worker)
{
	(void)worker;
	hshm_store_relaxed(&the_pool()->closing, 1);
}

static void open_pool(struct chi_worker *worker)
{
	(void)worker;
	hshm_store_relaxed(&counted_pool->closing, 0);
}

static void a_pool_that_ends_takes_no_more(void **state)
{
	(void)state;
	counted_pool = the_pool();
	ask_alike();
	ask_alike_behind(close_pool);
	ask_alike_behind(open_pool);
	run();
	assert_refused(1, -ENOENT);
	assert_followed(2, true);
}

static void flip_epoch(struct chi_worker *worker)
{
	(void)worker;
	hshm_fetch_add_relaxed(&the_pool()->flush_epoch, 1);
}

/* It outlasts its place, so that it counts for itself. */
static void one_that_comes_after_a_flush_began_counts_for_the_next(void **state)
{
	(void)state;
	ask_alike();
	ask_alike_behind(flip_epoch)->mode = LEAVE;
	run();
	assert_followed(1, true);
	assert_int_equal(seen[1].flush_epoch, 1 - seen[0].flush_epoch);
	assert_int_equal(seen[0].n_in_flight[seen[0].flush_epoch], 1);
	assert_int_equal(seen[1].n_in_flight[seen[0].flush_epoch], 0);
	assert_int_equal(seen[1].n_in_flight[seen[1].flush_epoch], 1);
	assert_none_in_flight();
}

/* ---- where it is run ---- */

static void behind_what_waits_in_the_lane_it_waits_too(void **state)
{
	struct look_task *task;

	(void)state;
	ask_alike();
	ask_alike();
	task = ask_alike();
	task->task.method_id = LOOK_HUGE;
	task->task.size_bytes = sizeof(struct huge_task);
	task->mode = DETACH;
	ask_alike();
	run();
	assert_true(steps[1].here);
	assert_followed(3, true);
	assert_false(steps[3].here);
	/* the detached one comes first */
	assert_int_equal(seen[3].header.flags, CHI_TASK_FIRE_AND_FORGET);
	assert_int_equal(seen[4].header.flags, 0);
	assert_int_equal(seen[4].value, 3);
	assert_int_equal(look_task_of(steps[3].task)->out, 6);
}

static void move_lane_to(struct chi_lane *lane, uint32_t worker)
{
	assert_int_equal(chi_work_orch_remap_lane(runtime->orch, lane, worker), 0);
	while (chi_lane_worker(lane) != worker)
		HSHM_THREAD_MODEL->sleep_for_us(100);
}

static void where_its_lane_has_gone_it_goes(void **state)
{
	struct chi_lane *lane = chi_container_lane(the_pool()->local_table[0], 0, 0);

	(void)state;
	move_lane_to(lane, 0);
	ask_alike();
	run();
	assert_true(steps[0].here);
	move_lane_to(lane, 1);
	ask_alike();
	run();
	assert_followed(1, true);
	assert_false(steps[1].here);
	assert_int_equal(seen[0].worker, 0);
	assert_int_equal(seen[1].worker, 1);
}

static void ask_twice(uint32_t pool_id, struct chi_domain_query query)
{
	for (uint32_t i = 0; i < 2; i++)
		ask_for(pool_id, query);
}

static void none_follows_where_a_module_may_say_where_tasks_go(void **state)
{
	(void)state;
	ask_twice(watched_pool, CHI_QUERY_LOCAL_ID(0));
	ask_twice(pool, CHI_QUERY_DYNAMIC());
	run();
	assert_followed(1, false);
	assert_followed(3, false);
}

static void what_follows_takes_its_turn_at_the_lanes(void **state)
{
	const struct chi_pool *its = pool_of(lanes_pool);

	(void)state;
	for (uint32_t i = 0; i < 2 * N_LANES; i++)
		ask_for(lanes_pool, CHI_QUERY_LOCAL_ID(0));
	ask_twice(lanes_pool, CHI_QUERY_LOCAL_HASH(7));
	run();
	for (uint32_t i = 1; i < 2 * N_LANES; i++) {
		assert_followed(i, true);
		assert_false(steps[i].knew_lane);
	}
	for (uint32_t i = 0; i < N_LANES; i++)
		assert_int_equal(hshm_load_relaxed(&chi_container_lane(its->local_table[0], 0, i)->n_in_place), 2);
	assert_followed(2 * N_LANES, false);
	assert_true(steps[2 * N_LANES + 1].knew_lane);
}

/* One that fails ends in its place. */
static void none_follows_a_periodic_task(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		struct look_task *task = ask_alike();

		task->task.flags = CHI_TASK_PERIODIC;
		task->task.period_ns = HSHM_NSEC_PER_SEC;
		task->mode = FAIL;
	}
	run();
	assert_followed(1, false);
	assert_int_equal(steps[1].task->result, -EIO);
}

/* ---- what is looked at, and set, anew ---- */

static void set_buffer(struct look_task *task, uint64_t size_bytes)
{
	task->buffer.ptr = hipc_ptr_of(&session->segment.map, place_in(session, N_STEPS_MAX));
	task->buffer.size_bytes = size_bytes;
	task->buffer.flags = CHI_BUFFER_IN;
}

static void its_buffers_are_checked(void **state)
{
	uint64_t n_refused = counted(&worker_of(0)->counters->tasks_refused);

	(void)state;
	set_buffer(ask_alike(), 100);
	set_buffer(ask_alike(), session->segment.map.size_bytes);
	ask_alike();
	set_buffer(ask_alike(), 100);
	look_task_of(steps[3].task)->buffer.flags = 0x80;
	set_buffer(ask_alike(), 200);
	run();
	assert_refused(1, -EFAULT);
	assert_refused(3, -EINVAL);
	assert_int_equal(counted(&counters_of(LOOK)->refused), 2);
	assert_int_equal(counted(&worker_of(0)->counters->tasks_refused), n_refused + 2);
	assert_int_equal(counted(&counters_of(LOOK)->started), 3);
	assert_int_equal(counted(&counters_of(LOOK)->tasks), 3);
	assert_int_equal(seen[0].io_bytes, 100);
	assert_int_equal(seen[1].io_bytes, 0);
	assert_int_equal(seen[2].io_bytes, 200);
}

static void the_bytes_of_the_one_before_are_not_its(void **state)
{
	(void)state;
	set_buffer(ask_alike(), 100);
	ask_alike();
	set_buffer(ask_alike(), 20);
	run();
	assert_followed(1, true);
	assert_followed(2, true);
	assert_int_equal(seen[1].io_bytes, 0);
	assert_int_equal(seen[2].io_bytes, 20);
	assert_int_equal(counted(&counters_of(LOOK)->bytes), 120);
}

static void the_deadline_of_the_one_before_is_not_its(void **state)
{
	(void)state;
	ask_alike()->task.deadline_us = HOUR_US;
	ask_alike();
	ask_alike()->task.deadline_us = HOUR_US;
	run();
	assert_followed(1, true);
	assert_followed(2, true);
	assert_true(seen[0].deadline_ns < HSHM_FOREVER);
	assert_true(seen[1].deadline_ns == HSHM_FOREVER);
	assert_true(seen[2].deadline_ns >= seen[0].deadline_ns && seen[2].deadline_ns < HSHM_FOREVER);
}

static void a_cancel_is_of_one(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		ask_alike();
	hshm_store_relaxed(&steps[1].task->cancel, 1); /* relaxed: the worker is told of it after */
	hshm_store_relaxed(&steps[2].task->cancel, 1);
	run();
	for (uint32_t i = 0; i < 4; i++) {
		assert_followed(i, i > 0);
		assert_int_equal(steps[i].task->result, i == 1 || i == 2 ? -ECANCELED : 0);
	}
	assert_int_equal(hshm_load_relaxed(&n_seen), 2);
	assert_int_equal(seen[1].value, 3);
}

/* The one before was timed; it itself does not begin. */
static void the_time_of_the_one_before_is_not_its(void **state)
{
	uint64_t time_ns;

	(void)state;
	set_buffer(ask_alike(), TIMED_IO);
	run();
	time_ns = counted(&counters_of(LOOK)->time_ns);
	set_buffer(ask_alike(), TIMED_IO);
	hshm_store_relaxed(&steps[1].task->cancel, 1); /* relaxed: the worker is told of it after */
	run();
	assert_followed(1, true);
	assert_int_equal(steps[1].task->result, -ECANCELED);
	assert_int_equal(counted(&counters_of(LOOK)->time_ns), time_ns);
}

static void a_subtask_follows_the_one_before_it_through_its_lane(void **state)
{
	uint64_t in_place = counted(&worker_of(0)->counters->tasks_in_place);

	(void)state;
	ask_alike()->mode = SUBMIT;
	run();
	assert_int_equal(hshm_load_relaxed(&n_seen), 3);
	assert_ptr_equal(seen[2].context, seen[1].context);
	assert_ptr_not_equal(seen[1].context, seen[0].context);
	assert_int_equal(seen[1].header.id.number, 1);
	assert_int_equal(seen[2].header.id.number, 2);
	assert_true(seen[1].deadline_ns != HSHM_FOREVER);
	assert_true(seen[2].deadline_ns == HSHM_FOREVER);
	assert_int_equal(counted(&worker_of(0)->counters->tasks_in_place), in_place + 1); /* the client's */
	assert_none_in_flight();
}

static void none_runs_in_place_where_all_go_through_lanes(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		ask_alike();
		ask_alike()->mode = CALL;
		run();
	}
	assert_int_equal(hshm_load_relaxed(&n_seen), 12);
	assert_int_equal(counted(&worker_of(0)->counters->tasks_in_place), 0);
	assert_none_in_flight();
}

static void its_subtasks_are_numbered_from_one(void **state)
{
	(void)state;
	/* in a turn each: one that waits lets the next begin */
	for (uint32_t i = 0; i < 2; i++) {
		ask_alike();
		ask_alike()->mode = CALL;
		run();
		assert_followed(2 * i + 1, true);
	}
	assert_int_equal(hshm_load_relaxed(&n_seen), 8);
	for (uint32_t i = 0; i < 8; i += 4)
		for (uint32_t number = 0; number < 3; number++) {
			assert_int_equal(seen[i + 1 + number].header.id.number, number);
			assert_true(seen[i + 1 + number].header.id.root == seen[i + 1].header.id.root);
		}
}

static void what_a_method_does_to_its_copy_stays_there(void **state)
{
	(void)state;
	ask_alike()->mode = SCRIBBLE;
	ask_alike()->mode = SCRIBBLE;
	ask(session, place_in(session, n_steps), pool, CHI_QUERY_LOCAL_ID(1));
	run();
	/* compared is what was asked, not what was made of it */
	assert_followed(1, true);
	assert_followed(2, true);
	assert_false(steps[2].knew_lane);
	assert_int_equal(seen[2].container, 1);
	for (uint32_t i = 0; i < 2; i++) {
		assert_memory_equal(&seen[i].header, steps[i].task, offsetof(struct chi_task, id));
		assert_int_equal(seen[i].header.deadline_us, 0);
		assert_int_equal(seen[i].container, 0);
		assert_int_equal(steps[i].task->result, 0);
	}
}

/* ---- which runs are timed ---- */

static void is_short(struct chi_worker *worker)
{
	worker->sample_was_short = worker->samples_few = true;
	hshm_store_relaxed(&the_pool()->estimates[LOOK].base_ns, 1500);
}

static void is_short_after_a_long_one(struct chi_worker *worker)
{
	worker->sample_was_short = worker->samples_few = false;
	hshm_store_relaxed(&the_pool()->estimates[LOOK].base_ns, 1500);
}

static void is_long(struct chi_worker *worker)
{
	worker->sample_was_short = worker->samples_few = true;
	hshm_store_relaxed(&the_pool()->estimates[LOOK].base_ns, 3000);
}

static void is_unknown(struct chi_worker *worker)
{
	worker->sample_was_short = worker->samples_few = true;
	hshm_store_relaxed(&the_pool()->estimates[LOOK].base_ns, 0);
}

/* Each of them stands for as many as there are of its kind. */
static void expect_timed(void (*before)(struct chi_worker *worker), uint32_t every)
{
	uint32_t first = hshm_load_relaxed(&n_seen), n_timed = 0;
	uint64_t time_ns = counted(&counters_of(LOOK)->time_ns);

	n_steps = n_taken = 0;
	for (uint32_t i = 0; i < 256; i++)
		ask_alike_behind(before)->mode = SPIN;
	run();
	for (uint32_t i = first; i < first + 256; i++) {
		assert_true(seen[i].timed_for == 0 || seen[i].timed_for == every);
		n_timed += seen[i].timed_for != 0;
	}
	assert_int_equal(n_timed, 256 / every);
	assert_true(counted(&counters_of(LOOK)->time_ns) - time_ns >= 256 * SPIN_NS);
}

static void of_short_methods_one_in_256_is_timed_of_others_one_in_16(void **state)
{
	(void)state;
	expect_timed(is_short, 256);
	expect_timed(is_short_after_a_long_one, 16);
	expect_timed(is_long, 16);
	expect_timed(is_unknown, 16);
}

static void with_much_data_each_is_timed_for_itself(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 8; i++)
		set_buffer(ask_alike_behind(is_short), TIMED_IO);
	run();
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(seen[i].timed_for, 1);
}

/* ---- who sleeps ---- */

/* a mark: the number of the sleep, and where */
#define SLEEP(number) (UINT64_C(number) << 32 | chi_client_park_offset(0) / sizeof(hshm_au32))

static hshm_au32 *parking_word(void)
{
	return (hshm_au32 *)((char *)session->segment.map.base + chi_client_park_offset(0));
}

static void mark_the_first(struct chi_worker *worker)
{
	(void)worker;
	assert_true(chi_task_done(steps[0].task));
	hshm_store_relaxed(&steps[0].task->sleeper, SLEEP(2));
}

static void mark_and_count(struct chi_worker *worker)
{
	mark_the_first(worker);
	hshm_fetch_add_release(chi_client_sleeps_of(&session->segment.map), 1);
}

static void count_alone(struct chi_worker *worker)
{
	(void)worker;
	hshm_fetch_add_release(chi_client_sleeps_of(&session->segment.map), 1);
}

/* How often somebody was woken by a turn of two tasks, between which that is done. */
static uint32_t woken_by_a_turn(void (*between)(struct chi_worker *worker), bool first_is_marked)
{
	hshm_au32 *word = parking_word(); /* now: after the run the session may go */
	uint32_t before = hshm_load_relaxed(word);

	n_steps = n_taken = 0;
	ask_alike();
	if (first_is_marked)
		hshm_store_relaxed(&steps[0].task->sleeper, SLEEP(1));
	ask_alike_behind(between);
	run();
	return hshm_load_relaxed(word) - before;
}

static void who_marks_a_task_as_it_ends_is_woken_at_the_turns_end(void **state)
{
	(void)state;
	assert_int_equal(woken_by_a_turn(mark_and_count, false), 1);
	/* not counted, he has looked before his mark was there, or will do so again */
	assert_int_equal(woken_by_a_turn(mark_the_first, false), 0);
	/* he who was woken as it ended is not woken again, but for another sleep */
	assert_int_equal(woken_by_a_turn(count_alone, true), 1);
	assert_int_equal(woken_by_a_turn(mark_and_count, true), 2);
}

static void more_tasks_than_are_kept_in_mind_are_all_looked_at_again(void **state)
{
	hshm_au32 *word = parking_word();
	uint32_t before = hshm_load_relaxed(word);

	(void)state;
	n_steps = n_taken = 0;
	ask_alike();
	ask_alike_behind(mark_and_count);
	for (uint32_t i = 0; i < 2 * CHI_ENDED_MAX; i++)
		ask_alike();
	run();
	assert_int_equal(hshm_load_relaxed(word) - before, 1);
}

/* ---- who claims ---- */

static void *call_from_another_thread(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)chi_flush(client);
}

static bool are_shared;

static void look_at_claims(struct chi_worker *worker)
{
	(void)worker;
	are_shared = hshm_load_relaxed(&session->claims_shared);
}

static bool are_shared_after_a_second_lane(void)
{
	pthread_t thread;
	void *ret;

	on_worker(0, look_at_claims);
	assert_false(are_shared);
	assert_int_equal(pthread_create(&thread, NULL, call_from_another_thread, NULL), 0);
	assert_int_equal(pthread_join(thread, &ret), 0);
	assert_null(ret);
	on_worker(0, look_at_claims);
	return are_shared;
}

static void several_lanes_share_their_claims(void **state)
{
	(void)state;
	assert_true(are_shared_after_a_second_lane());
}

static void several_lanes_of_one_worker_do_not(void **state)
{
	(void)state;
	assert_false(are_shared_after_a_second_lane());
}

/* ---- the memory for the next ---- */

static uint32_t n_kept[CHI_MAKES];
static const struct chi_run_context *kept;

static void look_for_spares(struct chi_worker *worker)
{
	kept = worker->spares[CHI_MADE_FOR_CLIENT].newest;
	for (uint32_t i = 0; i < CHI_MAKES; i++)
		n_kept[i] = worker->spares[i].n;
}

static void expect_rest_of(uint32_t worker)
{
	wait_until_rests(worker_of(worker));
	on_worker(worker, look_for_spares);
	assert_int_equal(n_kept[CHI_MADE_FOR_CLIENT], 1);
	assert_int_equal(n_kept[CHI_MADE_FOR_SUBTASK], 0);
}

static void expect_what_rests(void)
{
	for (uint32_t i = 0; i < chi_work_orch_n_workers(runtime->orch); i++)
		expect_rest_of(i);
}

static void a_worker_at_rest_has_memory_for_the_next_and_no_more(void **state)
{
	(void)state;
	expect_what_rests();
	ask_alike()->mode = LEAVE; /* it is not over when its turn is */
	ask_alike()->mode = DETACH;
	run();
	expect_what_rests();
	for (uint32_t i = 0; i < 3; i++)
		ask_alike()->mode = LEAVE;
	run();
	expect_rest_of(0);
	assert_ptr_equal(kept, seen[hshm_load_relaxed(&n_seen) - 1].context); /* the newest */
}

static void a_worker_keeps_so_much_memory_for_the_next(void **state)
{
	(void)state;
	n_kept_max = 0;
	for (uint32_t i = 0; i < CHI_SPARES_MAX + 10; i++)
		ask_alike()->mode = LEAVE;
	run();
	assert_int_equal(n_kept_max, CHI_SPARES_MAX);
}

static void a_task_that_is_refused_leaves_its_memory_for_the_next(void **state)
{
	(void)state;
	expect_what_rests();
	ask_alike();
	set_buffer(ask_alike(), session->segment.map.size_bytes);
	run();
	assert_refused(1, -EFAULT);
	expect_what_rests();
}

int main(void)
{
#define CASE(name)     cmocka_unit_test_setup_teardown(name, begin_one, stop)
#define CASE_TWO(name) cmocka_unit_test_setup_teardown(name, begin_two, stop)
	const struct CMUnitTest tests[] = {
		CASE(what_asks_for_the_same_follows_and_has_its_own_in_and_output),
		CASE(each_field_of_the_request_counts),
		CASE(one_that_names_another_container_follows_and_goes_there),
		CASE(one_that_names_none_follows_and_fails),
		CASE(one_with_another_global_id_follows_and_goes_there),
		CASE(one_that_is_refused_midway_leaves_no_container),
		CASE(what_is_of_high_latency_goes_to_a_queue_where_there_is_none_for_it),
		CASE(one_with_another_hash_follows_and_goes_to_its_own_lane),
		CASE(so_does_one_with_another_global_hash),
		CASE(a_task_of_another_session_follows_none),
		CASE(one_that_would_end_past_the_segment_is_refused),
		CASE(a_runtime_that_stops_takes_no_more),
		CASE(a_pool_that_ends_takes_no_more),
		CASE(one_that_comes_after_a_flush_began_counts_for_the_next),
		CASE(behind_what_waits_in_the_lane_it_waits_too),
		CASE_TWO(where_its_lane_has_gone_it_goes),
		CASE(none_follows_where_a_module_may_say_where_tasks_go),
		CASE(what_follows_takes_its_turn_at_the_lanes),
		CASE(none_follows_a_periodic_task),
		CASE(its_buffers_are_checked),
		CASE(the_bytes_of_the_one_before_are_not_its),
		CASE(the_deadline_of_the_one_before_is_not_its),
		CASE(a_cancel_is_of_one),
		CASE(the_time_of_the_one_before_is_not_its),
		CASE(its_subtasks_are_numbered_from_one),
		CASE(a_subtask_follows_the_one_before_it_through_its_lane),
		cmocka_unit_test_setup_teardown(none_runs_in_place_where_all_go_through_lanes, begin_lanes_only, stop),
		CASE(what_a_method_does_to_its_copy_stays_there),
		CASE(of_short_methods_one_in_256_is_timed_of_others_one_in_16),
		CASE(with_much_data_each_is_timed_for_itself),
		CASE(who_marks_a_task_as_it_ends_is_woken_at_the_turns_end),
		CASE(more_tasks_than_are_kept_in_mind_are_all_looked_at_again),
		CASE_TWO(several_lanes_share_their_claims),
		CASE(several_lanes_of_one_worker_do_not),
		CASE_TWO(a_worker_at_rest_has_memory_for_the_next_and_no_more),
		CASE(a_worker_keeps_so_much_memory_for_the_next),
		CASE(a_task_that_is_refused_leaves_its_memory_for_the_next),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
