/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe.c - the test module (probe.h)
 */
#include "probe.h"

#include <chimaera/module.h>
#include <errno.h>
#include <hshm/thread_model.h>
#include <stdlib.h>
#include <string.h>

struct state {
	hshm_au64 n_added;
	hshm_au32 gate_open;
	hshm_au64 n_at_gate;
	struct chi_mutex mutex;
	uint64_t locked;   /* under the mutex, not atomic */
	uint64_t n_pieces; /* for a pool of one worker */
	uint64_t inside;   /* under the mutex: must be 0 on entry */
	hshm_au64 next_in_order;
	hshm_au64 n_out_of_order;
	struct probe_task left; /* by PROBE_LEAVE: it outlives the method, not the task */
};

static struct probe_task *probe(struct chi_task *task)
{
	return (struct probe_task *)task;
}

static int make_sub(struct chi_container *container, struct probe_task *sub, uint32_t method, uint64_t in)
{
	chi_task_init(&sub->task, method == PROBE_NOOP ? sizeof(struct chi_task) : sizeof(*sub),
		      chi_container_pool_id(container), CHI_QUERY_LOCAL_HASH(in), method);
	if (method != PROBE_NOOP)
		sub->in = in;
	return 0;
}

static int noop(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	(void)context;
	return 0;
}

static int nest(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct probe_task *self = probe(task);
	uint64_t n = self->count ? self->count : 1;

	for (uint64_t i = 0; i < n; i++) {
		struct chi_task sub;
		int ret;

		chi_task_init(&sub, sizeof(sub), chi_container_pool_id(container), CHI_QUERY_LOCAL_HASH(self->in),
			      PROBE_NOOP);
		ret = chi_call(chi_context_client(context), &sub);
		if (ret < 0)
			return ret;
	}
	self->out = n;
	return 0;
}

/* out: the sum of the answers; out2: the index that wait_any gave, if asked (in != 0) */
static int fan(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct probe_task *self = probe(task);
	struct chi_client *client = chi_context_client(context);
	uint32_t n = (uint32_t)self->count;
	struct probe_task *subs = calloc(n, sizeof(*subs));
	void **tasks = calloc(n, sizeof(*tasks));
	uint32_t n_submitted = 0;
	int ret = subs && tasks ? 0 : -ENOMEM;

	for (; ret == 0 && n_submitted < n; n_submitted++) {
		make_sub(container, &subs[n_submitted], PROBE_ADD, n_submitted);
		tasks[n_submitted] = &subs[n_submitted];
		ret = chi_submit(client, &subs[n_submitted]);
		if (ret < 0)
			break;
	}
	if (ret == 0 && self->in) {
		ret = chi_wait_any(tasks, n, HSHM_FOREVER);
		self->out2 = (uint64_t)ret;
		ret = ret < 0 ? ret : chi_task_done(tasks[ret]) ? 0 : -EBADMSG;
	}
	if (n_submitted) {
		int waited = chi_wait_all(tasks, n_submitted, HSHM_FOREVER);

		ret = ret < 0 ? ret : waited;
	}
	for (uint32_t i = 0; ret == 0 && i < n; i++)
		self->out += subs[i].out;
	free(subs);
	free(tasks);
	return ret;
}

static int add(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct state *state = chi_container_state(container);

	(void)context;
	hshm_fetch_add_relaxed(&state->n_added, 1); /* relaxed: a count */
	probe(task)->out = probe(task)->in + 1;
	probe(task)->out2 = chi_container_id(container);
	return 0;
}

static int fail(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)context;
	return -(int)probe(task)->in;
}

static int gate_wait(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct state *state = chi_container_state(container);
	int ret = 0;

	hshm_fetch_add_relaxed(&state->n_at_gate, 1); /* relaxed: a count */
	/* acquire: pairs with the release in gate_open() */
	while (!ret && !hshm_load_acquire(&state->gate_open)) {
		if (!probe(task)->count && chi_cancelled(context))
			ret = -ECANCELED;
		else
			chi_yield();
	}
	hshm_fetch_sub_relaxed(&state->n_at_gate, 1); /* relaxed: a count */
	return ret;
}

static int gate_open(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct state *state = chi_container_state(container);

	(void)context;
	hshm_store_release(&state->gate_open, probe(task)->in != 0); /* release: pairs with gate_wait() */
	return 0;
}

static int locked(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct state *state = chi_container_state(container);

	(void)context;
	for (uint64_t i = 0; i < probe(task)->count; i++) {
		chi_mutex_lock(&state->mutex);
		if (state->inside++ != 0) {
			chi_mutex_unlock(&state->mutex);
			return -EBADMSG;
		}
		chi_yield();
		state->locked++;
		state->inside--;
		chi_mutex_unlock(&state->mutex);
	}
	return 0;
}

static int spin(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	uint64_t end_ns = hshm_clock_ns() + probe(task)->in;
	hshm_au32 *begun = chi_context_buffer(context, &probe(task)->buffers[0]);

	(void)container;
	if (begun)
		hshm_store_release(begun, 1 + chi_context_worker(context)); /* release: an event for who waits for it */
	while (hshm_clock_ns() < end_ns)
		hshm_cpu_relax();
	return 0;
}

static int occupy(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	hshm_au32 *begun = chi_context_buffer(context, &probe(task)->buffers[0]);

	(void)container;
	if (begun)
		hshm_store_release(begun, 1 + chi_context_worker(context)); /* release: an event for who waits for it */
	HSHM_THREAD_MODEL->sleep_for_us(probe(task)->in / HSHM_NSEC_PER_USEC);
	return 0;
}

static int block(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct chi_mutex mutex = { 0 };
	struct chi_cond never = { 0 };
	int ret;

	(void)container, (void)context;
	chi_mutex_lock(&mutex);
	ret = chi_cond_wait(&never, &mutex, probe(task)->in);
	chi_mutex_unlock(&mutex);
	return ret == -ETIMEDOUT ? 0 : ret;
}

static int hold(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	hshm_au32 *word = chi_context_buffer(context, &probe(task)->buffers[0]);

	(void)container;
	if (!word)
		return -EINVAL;
	hshm_store_release(word, 1 + chi_context_worker(context)); /* release: an event for who waits for it */
	while (hshm_load_acquire(word))				   /* acquire: pairs with the client's store */
		HSHM_THREAD_MODEL->sleep_for_us(200);
	return 0;
}

__attribute__((noinline)) static uint64_t overflow_frames(uint64_t n)
{
	volatile unsigned char frame[1024];

	memset((void *)(uintptr_t)frame, (int)n, sizeof(frame));
	return n == UINT64_MAX ? 0 : overflow_frames(n + 1) + frame[n % sizeof(frame)];
}

static int overflow(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)context;
	probe(task)->out = overflow_frames(0);
	return 0;
}

static int copy(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct probe_task *self = probe(task);
	const void *from = chi_context_buffer(context, &self->buffers[0]);
	void *to = chi_context_buffer(context, &self->buffers[1]);

	(void)container;
	if (!from || !to || self->buffers[0].size_bytes > self->buffers[1].size_bytes)
		return -EINVAL;
	memmove(to, from, self->buffers[0].size_bytes); /* a liar's may overlap */
	self->out = self->buffers[0].size_bytes;
	return 0;
}

static int sum(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)context;
	probe(task)->out = chi_container_id(container);
	probe(task)->out2 = 1;
	return probe(task)->in == chi_container_id(container) + 1 ? -EDOM : 0;
}

static void fold_sum(struct chi_task *into, const struct chi_task *from)
{
	probe(into)->out += ((const struct probe_task *)from)->out;
	probe(into)->out2 += ((const struct probe_task *)from)->out2;
}

/* out: how many waits timed out (1 expected) */
static int timeout(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct probe_task *self = probe(task), sub;
	struct state *state = chi_container_state(container);
	int ret;

	chi_task_init(&sub.task, sizeof(sub), chi_container_pool_id(container),
		      CHI_QUERY_GLOBAL_ID(chi_container_id(container)), PROBE_GATE_WAIT);
	ret = chi_submit(chi_context_client(context), &sub);
	if (ret < 0)
		return ret;
	while (chi_wait(&sub, self->in) == -ETIMEDOUT) {
		self->out++;
		hshm_store_release(&state->gate_open, 1); /* release: pairs with gate_wait() */
	}
	return sub.task.result;
}

static int deep(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct probe_task *self = probe(task), sub;
	int ret;

	if (self->count <= 1) {
		self->out = 1;
		return 0;
	}
	chi_task_init(&sub.task, sizeof(sub), chi_container_pool_id(container), CHI_QUERY_LOCAL_HASH(self->count),
		      PROBE_DEEP);
	sub.count = self->count - 1;
	ret = chi_call(chi_context_client(context), &sub);
	self->out = sub.out + 1;
	return ret;
}

static int detach(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct chi_client *client = chi_context_client(context);

	for (uint64_t i = 0; i < probe(task)->count; i++) {
		struct probe_task *sub;
		int ret = chi_task_alloc(client, sizeof(*sub), chi_container_pool_id(container),
					 CHI_QUERY_GLOBAL_ID(chi_container_id(container)), PROBE_ADD, &sub);

		if (ret < 0)
			return ret;
		sub->task.flags = CHI_TASK_FIRE_AND_FORGET;
		ret = chi_submit(client, sub);
		if (ret < 0) {
			chi_task_free(client, sub);
			return ret;
		}
	}
	return 0;
}

static int flood(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct probe_task *self = probe(task);
	struct chi_client *client = chi_context_client(context);
	struct probe_task *subs = calloc(self->count, sizeof(*subs));
	int ret = subs ? 0 : -ENOMEM;
	uint64_t n = 0;

	for (; ret == 0 && n < self->count; n++) {
		chi_task_init(&subs[n].task, sizeof(subs[n]), chi_container_pool_id(container),
			      CHI_QUERY_GLOBAL_ID(self->in), PROBE_ADD);
		ret = chi_submit(client, &subs[n]);
		if (ret < 0)
			break;
	}
	for (uint64_t i = 0; i < n; i++) {
		int waited = chi_wait(&subs[i], HSHM_FOREVER);

		ret = ret < 0 ? ret : waited < 0 ? waited : subs[i].task.result;
	}
	self->out = n;
	free(subs);
	return ret;
}

static int order(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct state *state = chi_container_state(container);

	(void)context;
	/* relaxed: one lane, one worker: the starts are in one thread */
	if (hshm_fetch_add_relaxed(&state->next_in_order, 1) != probe(task)->in)
		hshm_fetch_add_relaxed(&state->n_out_of_order, 1);
	if (probe(task)->count)
		chi_yield(); /* being overtaken after the start is allowed */
	return 0;
}

static int counts(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct state *state = chi_container_state(container);
	struct probe_task *self = probe(task);

	(void)context;
	self->out = self->in == 1   ? state->locked
		    : self->in == 2 ? hshm_load_relaxed(&state->n_out_of_order)
		    : self->in == 3 ? hshm_load_relaxed(&state->n_at_gate)
				    : hshm_load_relaxed(&state->n_added); /* relaxed: counts */
	return 0;
}

static int leave(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct state *state = chi_container_state(container);

	(void)task;
	chi_task_init(&state->left.task, sizeof(state->left), chi_container_pool_id(container),
		      CHI_QUERY_GLOBAL_ID(chi_container_id(container)), PROBE_GATE_WAIT);
	return chi_submit(chi_context_client(context), &state->left);
}

static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	struct state *state = calloc(1, sizeof(*state));

	if (!state)
		return -ENOMEM;
	/* a parameter of one byte: how many lanes queue 0 shall have */
	if (params_size == 1) {
		int ret = chi_container_create_local_queue(container, 0, *(const unsigned char *)params, 0);

		if (ret < 0) {
			free(state);
			return ret;
		}
	}
	chi_container_set_state(container, state);
	return 0;
}

static int pieces(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct state *state = chi_container_state(container);
	struct probe_task *self = probe(task);

	for (uint64_t i = 0; i < self->count && !chi_cancelled(context); i++) {
		uint64_t until_ns = hshm_deadline_ns(self->in);

		while (hshm_clock_ns() < until_ns)
			;
		state->n_pieces++;
		chi_yield();
	}
	self->out = state->n_pieces;
	return 0;
}

static int call_spins(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	int ret = 0;

	for (uint64_t i = 0; i < probe(task)->count && ret == 0; i++) {
		struct probe_task sub;

		make_sub(container, &sub, PROBE_SPIN, probe(task)->in);
		sub.task.query = CHI_QUERY_LOCAL_ID(0);
		ret = chi_call(chi_context_client(context), &sub);
	}
	return ret;
}

static int among_pieces(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct state *state = chi_container_state(container);
	uint64_t before = state->n_pieces;
	struct probe_task sub;
	int ret;

	make_sub(container, &sub, PROBE_PIECES, probe(task)->in);
	sub.count = 0;
	ret = chi_call(chi_context_client(context), &sub);
	probe(task)->out = sub.out - before;
	probe(task)->out2 = state->n_pieces - before;
	return ret;
}

static void destroy(struct chi_container *container)
{
	free(chi_container_state(container));
}

#define PROBE_METHOD(number, function)                                                                        \
	{                                                                                                     \
		.name = #function, .id = (number), .task_size = sizeof(struct probe_task), .run = (function), \
		.buffers_offset = offsetof(struct probe_task, buffers), .n_buffers = 2,                       \
		.out_offset = offsetof(struct probe_task, out), .out_size = 2 * sizeof(uint64_t),             \
	}

static const struct chi_method methods[] = {
	{ .name = "noop", .id = PROBE_NOOP, .task_size = sizeof(struct chi_task), .run = noop },
	PROBE_METHOD(PROBE_NEST, nest),
	PROBE_METHOD(PROBE_FAN, fan),
	PROBE_METHOD(PROBE_ADD, add),
	PROBE_METHOD(PROBE_FAIL, fail),
	PROBE_METHOD(PROBE_GATE_WAIT, gate_wait),
	PROBE_METHOD(PROBE_GATE_OPEN, gate_open),
	PROBE_METHOD(PROBE_LOCKED, locked),
	PROBE_METHOD(PROBE_SPIN, spin),
	PROBE_METHOD(PROBE_OVERFLOW, overflow),
	PROBE_METHOD(PROBE_COPY, copy),
	{
		.name = "sum",
		.id = PROBE_SUM,
		.task_size = sizeof(struct probe_task),
		.run = sum,
		.buffers_offset = offsetof(struct probe_task, buffers),
		.n_buffers = 2,
		.out_offset = offsetof(struct probe_task, out),
		.out_size = 2 * sizeof(uint64_t),
		.fold = fold_sum,
	},
	PROBE_METHOD(PROBE_TIMEOUT, timeout),
	PROBE_METHOD(PROBE_DEEP, deep),
	PROBE_METHOD(PROBE_DETACH, detach),
	PROBE_METHOD(PROBE_FLOOD, flood),
	PROBE_METHOD(PROBE_ORDER, order),
	PROBE_METHOD(PROBE_COUNTS, counts),
	PROBE_METHOD(PROBE_LEAVE, leave),
	PROBE_METHOD(PROBE_OCCUPY, occupy),
	PROBE_METHOD(PROBE_HOLD, hold),
	PROBE_METHOD(PROBE_BLOCK, block),
	PROBE_METHOD(PROBE_PIECES, pieces),
	PROBE_METHOD(PROBE_CALL_SPINS, call_spins),
	PROBE_METHOD(PROBE_AMONG_PIECES, among_pieces),
};

static const struct chi_module probe_module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "probe",
	.version = 1,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = create,
	.destroy = destroy,
};

CHI_MODULE(probe_module);
