/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work.c - bursts, waits of all kinds, blocked parents, large buffers, fire-and-forget, periodic, callbacks
 */
#include "work.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <chimaera/modules/compress.h>
#include <hshm/thread_model.h>

#include "modules/probe.h"

#define CROWD_PACKS   16u
#define CROWD_BLOCKED 500u
#define CROWD_RESTING 3500u

/* ---- steps, each with its phase ---- */

static int submit(struct worker *worker, void *task)
{
	int ret;

	enter_phase(worker->thread, PHASE_SUBMITTING);
	while ((ret = chi_submit(worker->client, task)) == -EAGAIN)
		chi_yield();
	if (ret == 0)
		count(&worker->thread->n_submitted, 1);
	else
		worker->lost(worker, "submit", ret);
	return ret;
}

/* An end was seen. */
static void ended(struct worker *worker, uint64_t n)
{
	count(&worker->thread->n_done, n);
	enter_phase(worker->thread, PHASE_READING);
}

static int await(struct worker *worker, void *task, const char *what)
{
	int ret;

	enter_phase(worker->thread, PHASE_WAITING);
	ret = chi_wait(task, ANSWER_LATE_NS);
	if (ret < 0)
		worker->lost(worker, what, ret);
	else
		ended(worker, 1);
	return ret;
}

static int make(struct worker *worker, uint32_t method, uint32_t container, struct probe_task **ret_task)
{
	uint32_t size = method == PROBE_NOOP ? sizeof(struct chi_task) : sizeof(struct probe_task);
	int ret;

	enter_phase(worker->thread, PHASE_FILLING);
	ret = chi_task_alloc(worker->client, size, worker->probe_pool, CHI_QUERY_LOCAL_ID(container), method, ret_task);
	if (ret < 0)
		worker->lost(worker, "allocate", ret);
	else if (rng_below(&worker->rng, 4) == 0)
		(*ret_task)->task.flags |= CHI_TASK_HIGH_LATENCY;
	return ret;
}

static uint32_t any_container(struct worker *worker)
{
	return (uint32_t)rng_below(&worker->rng, WORK_CONTAINERS);
}

/* ---- bursts of small tasks ---- */

struct burst {
	uint32_t n;
	void *tasks[WORK_BURST_MAX];
};

static int make_burst(struct worker *worker, struct burst *burst)
{
	uint32_t n = 1 + (uint32_t)rng_below(&worker->rng, WORK_BURST_MAX);

	for (burst->n = 0; burst->n < n; burst->n++) {
		struct probe_task *task;
		int ret = make(worker, PROBE_ADD, any_container(worker), &task);

		if (ret < 0)
			return ret;
		task->in = rng_next(&worker->rng);
		burst->tasks[burst->n] = task;
	}
	return 0;
}

static int submit_burst(struct worker *worker, struct burst *burst)
{
	bool at_once = rng_below(&worker->rng, 2);

	for (uint32_t i = 0; i < burst->n;) {
		int ret = at_once ? chi_submit_many(worker->client, burst->tasks + i, burst->n - i)
				  : submit(worker, burst->tasks[i]);

		if (ret == -EAGAIN)
			continue;
		if (ret < 0) {
			if (at_once)
				worker->lost(worker, "submit many", ret);
			return ret;
		}
		if (at_once)
			count(&worker->thread->n_submitted, (uint64_t)ret);
		i += at_once ? (uint32_t)ret : 1;
	}
	worker->n_adds += burst->n;
	return 0;
}

static void check_add(struct worker *worker, const struct probe_task *task)
{
	worker->answer(worker,
		       task->task.result == 0 && task->out == task->in + 1 && task->out2 == task->task.query.value,
		       "add");
}

static int wait_each(struct worker *worker, struct burst *burst)
{
	for (uint32_t i = 0; i < burst->n; i++) {
		int ret = await(worker, burst->tasks[i], "wait");

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int wait_all(struct worker *worker, struct burst *burst)
{
	int ret;

	enter_phase(worker->thread, PHASE_WAITING);
	ret = chi_wait_all(burst->tasks, burst->n, ANSWER_LATE_NS);
	if (ret < 0)
		worker->lost(worker, "wait all", ret);
	else
		ended(worker, burst->n);
	return ret;
}

/* One after the other, as they end; what has ended goes to the front. */
static int wait_any(struct worker *worker, struct burst *burst)
{
	for (uint32_t n_ended = 0; n_ended < burst->n; n_ended++) {
		void *first;
		int ret;

		enter_phase(worker->thread, PHASE_WAITING);
		ret = chi_wait_any(burst->tasks + n_ended, burst->n - n_ended, ANSWER_LATE_NS);
		if (ret < 0) {
			worker->lost(worker, "wait any", ret);
			return ret;
		}
		ended(worker, 1);
		first = burst->tasks[n_ended];
		burst->tasks[n_ended] = burst->tasks[n_ended + (uint32_t)ret];
		burst->tasks[n_ended + (uint32_t)ret] = first;
	}
	return 0;
}

/* Short waits that time out, until it is done. */
static int wait_in_pieces(struct worker *worker, struct burst *burst)
{
	uint64_t late_ns = hshm_deadline_ns(ANSWER_LATE_NS);

	for (uint32_t i = 0; i < burst->n; i++) {
		int ret;

		enter_phase(worker->thread, PHASE_WAITING);
		do
			ret = chi_wait(burst->tasks[i], 20 * HSHM_NSEC_PER_USEC);
		while (ret == -ETIMEDOUT && hshm_clock_ns() < late_ns);
		if (ret < 0) {
			worker->lost(worker, "wait with a timeout", ret);
			return ret;
		}
		ended(worker, 1);
	}
	return 0;
}

static int burst(struct worker *worker)
{
	static int (*const waits[])(struct worker *, struct burst *) = { wait_each, wait_all, wait_any,
									 wait_in_pieces };
	struct burst own;
	int ret = make_burst(worker, &own);

	if (ret == 0)
		ret = submit_burst(worker, &own);
	if (ret == 0)
		ret = waits[rng_below(&worker->rng, sizeof(waits) / sizeof(waits[0]))](worker, &own);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < own.n; i++) {
		check_add(worker, own.tasks[i]);
		chi_task_free(worker->client, own.tasks[i]);
	}
	return 0;
}

/* ---- one task, alone ---- */

static int one(struct worker *worker, struct probe_task *task, bool (*is_right)(const struct probe_task *task),
	       const char *what)
{
	int ret = submit(worker, task);

	if (ret == 0)
		ret = await(worker, task, what);
	if (ret < 0)
		return ret;
	worker->answer(worker, task->task.result == 0 && is_right(task), what);
	chi_task_free(worker->client, task);
	return 0;
}

static bool out_is_count(const struct probe_task *task)
{
	return task->out == task->count;
}

static bool is_sum_of_fan(const struct probe_task *task)
{
	return task->out == task->count * (task->count + 1) / 2;
}

static bool is_any(const struct probe_task *task)
{
	(void)task;
	return true;
}

/* A parent that waits for its children, one after the other or one below the other. */
static int nest(struct worker *worker)
{
	uint32_t method = rng_below(&worker->rng, 2) ? PROBE_NEST : PROBE_DEEP;
	struct probe_task *task;
	int ret = make(worker, method, any_container(worker), &task);

	if (ret < 0)
		return ret;
	task->count = 1 + rng_below(&worker->rng, 16);
	return one(worker, task, out_is_count, "nest");
}

/* A parent that waits for all of its children, or for any. */
static int fan(struct worker *worker)
{
	struct probe_task *task;
	int ret = make(worker, PROBE_FAN, any_container(worker), &task);

	if (ret < 0)
		return ret;
	task->count = 1 + rng_below(&worker->rng, 32);
	task->in = rng_below(&worker->rng, 2);
	worker->n_adds += task->count;
	return one(worker, task, is_sum_of_fan, "fan");
}

/* Blocked for longer than most victims live. */
static int block(struct worker *worker)
{
	struct probe_task *task;
	int ret = make(worker, PROBE_BLOCK, any_container(worker), &task);

	if (ret < 0)
		return ret;
	task->in = rng_below(&worker->rng, 20) * HSHM_NSEC_PER_MSEC;
	return one(worker, task, is_any, "block");
}

/* ---- given away, again and again, told by a callback ---- */

static int give_away(struct worker *worker)
{
	uint32_t n = 1 + (uint32_t)rng_below(&worker->rng, 32);

	for (uint32_t i = 0; i < n; i++) {
		struct probe_task *task;
		int ret = make(worker, PROBE_ADD, any_container(worker), &task);

		if (ret < 0)
			return ret;
		task->task.flags |= CHI_TASK_FIRE_AND_FORGET;
		ret = submit(worker, task);
		if (ret < 0)
			return ret;
		count(&worker->thread->n_done, 1); /* nobody sees its end: it does not count as in flight */
		worker->n_adds++;
	}
	return 0;
}

static int again_and_again(struct worker *worker)
{
	struct probe_task *task;
	int ret = make(worker, PROBE_NOOP, any_container(worker), &task);

	if (ret < 0)
		return ret;
	task->task.flags |= CHI_TASK_PERIODIC;
	task->task.period_ns = (1 + rng_below(&worker->rng, 20)) * 50 * HSHM_NSEC_PER_USEC;
	ret = submit(worker, task);
	if (ret < 0)
		return ret;
	count(&worker->thread->n_done, 1); /* at rest most of the time */
	ret = burst(worker);
	if (ret < 0)
		return ret;
	chi_cancel(task);
	count(&worker->thread->n_submitted, 1);
	ret = await(worker, task, "cancel of a periodic task");
	if (ret < 0)
		return ret;
	/* 0: it was just in a run, which went to its end */
	worker->answer(worker, task->task.result == -ECANCELED || task->task.result == 0, "periodic");
	chi_task_free(worker->client, task);
	return 0;
}

/* Another thread of this process may dispatch them. */
struct calls {
	struct worker *worker;
	hshm_au32 n;
};

static void on_end(void *memory, int result, void *arg)
{
	struct probe_task *task = memory;
	struct calls *calls = arg;

	count(&calls->worker->thread->n_done, 1);
	calls->worker->answer(calls->worker, result == 0 && task->out == task->in + 1, "callback");
	chi_task_free(calls->worker->client, task);
	/* release: pairs with the acquire in wait_for_calls(): the last use of what is on its thread's stack */
	hshm_fetch_add_release(&calls->n, 1);
}

static int submit_calls(struct worker *worker, struct calls *calls, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct probe_task *task;
		int ret = make(worker, PROBE_ADD, any_container(worker), &task);

		if (ret < 0)
			return ret;
		task->in = i;
		enter_phase(worker->thread, PHASE_SUBMITTING);
		while ((ret = chi_submit_notify(worker->client, task, on_end, calls)) == -EAGAIN)
			chi_yield();
		if (ret < 0) {
			worker->lost(worker, "submit with a callback", ret);
			return ret;
		}
		count(&worker->thread->n_submitted, 1);
		worker->n_adds++;
	}
	return 0;
}

static int wait_for_calls(struct worker *worker, struct calls *calls, uint32_t n)
{
	struct pollfd event = { .fd = chi_client_event_fd(worker->client), .events = POLLIN };
	uint64_t late_ns = hshm_deadline_ns(ANSWER_LATE_NS);

	enter_phase(worker->thread, PHASE_WAITING);
	/* acquire: see on_end() */
	while (hshm_load_acquire(&calls->n) < n) {
		int ret = poll(&event, 1, worker->alone ? (int)(ANSWER_LATE_NS / HSHM_NSEC_PER_MSEC) : 1);

		ret = ret < 0 && errno != EINTR ? -errno : chi_client_dispatch(worker->client, 0);
		if (ret >= 0 && hshm_clock_ns() > late_ns)
			ret = -ETIMEDOUT;
		if (ret < 0) {
			worker->lost(worker, "callback", ret);
			return ret;
		}
	}
	enter_phase(worker->thread, PHASE_READING);
	return 0;
}

static int by_callback(struct worker *worker)
{
	uint32_t n = 1 + (uint32_t)rng_below(&worker->rng, 16);
	struct calls calls = { .worker = worker };
	int ret = submit_calls(worker, &calls, n);

	return ret < 0 ? ret : wait_for_calls(worker, &calls, n);
}

/* Each priority has a lane of its own. */
int work_every_channel(struct worker *worker)
{
	int ret = 0;

	for (uint32_t prio = 0; ret == 0 && prio < 2; prio++) {
		struct probe_task *task;

		ret = make(worker, PROBE_NOOP, 0, &task);
		if (ret < 0)
			break;
		task->task.flags = prio ? CHI_TASK_HIGH_LATENCY : 0;
		ret = one(worker, task, is_any, "first task");
	}
	return ret < 0 ? ret : by_callback(worker);
}

/* Handed in, and never looked at again. */
int work_leave_behind(struct worker *worker)
{
	struct burst left;
	struct probe_task *blocked;
	int ret = make_burst(worker, &left);

	if (ret == 0)
		ret = submit_burst(worker, &left);
	if (ret == 0)
		count(&worker->thread->n_done, left.n); /* nobody sees their end */
	if (ret == 0)
		ret = make(worker, PROBE_BLOCK, any_container(worker), &blocked);
	if (ret < 0)
		return ret;
	blocked->in = rng_below(&worker->rng, 50) * HSHM_NSEC_PER_MSEC;
	return submit(worker, blocked);
}

/* ---- large buffers: what is in them says what has to be in them ---- */

/* The first word is the seed of the others, the second their number. */
static void fill_pattern(uint64_t *words, uint64_t n, uint64_t seed)
{
	struct rng rng = { seed };

	words[0] = seed;
	words[1] = n;
	/* half of it random, so that zstd has something to do */
	for (uint64_t i = 2; i < n; i++)
		words[i] = i & 1 ? rng_next(&rng) : seed;
}

static bool pattern_is_whole(const uint64_t *words, uint64_t n)
{
	struct rng rng = { words[0] };

	if (words[1] != n)
		return false;
	for (uint64_t i = 2; i < n; i++) {
		if (words[i] != (i & 1 ? rng_next(&rng) : words[0]))
			return false;
	}
	return true;
}

struct lent {
	uint64_t *in, *out;
	uint64_t n_words, bytes, out_bytes;
};

static void release(struct worker *worker, struct lent *lent)
{
	chi_free(worker->client, lent->in);
	chi_free(worker->client, lent->out);
}

static int borrow(struct worker *worker, struct lent *lent)
{
	int ret;

	enter_phase(worker->thread, PHASE_FILLING);
	*lent = (struct lent){ .n_words = 512 + rng_below(&worker->rng, WORK_LARGE_MAX / sizeof(uint64_t) - 512) };
	lent->bytes = lent->n_words * sizeof(uint64_t);
	lent->out_bytes = chi_compress_bound_bytes(lent->bytes);
	ret = chi_alloc(worker->client, lent->bytes, &lent->in);
	if (ret == 0)
		ret = chi_alloc(worker->client, lent->out_bytes, &lent->out);
	if (ret < 0) {
		release(worker, lent);
		worker->lost(worker, "allocate a buffer", ret);
		return ret;
	}
	fill_pattern(lent->in, lent->n_words, rng_next(&worker->rng));
	return 0;
}

/* On an error the buffers stay lent. */
static int one_large(struct worker *worker, struct chi_task *task, const char *what)
{
	int ret = submit(worker, task);

	return ret == 0 ? await(worker, task, what) : ret;
}

static int copy(struct worker *worker)
{
	struct probe_task *task;
	struct lent lent;
	int ret = borrow(worker, &lent);

	if (ret < 0)
		return ret;
	ret = make(worker, PROBE_COPY, any_container(worker), &task);
	if (ret < 0)
		return ret;
	if (chi_buffer_set(worker->client, &task->buffers[0], lent.in, lent.bytes, CHI_BUFFER_IN) < 0 ||
	    chi_buffer_set(worker->client, &task->buffers[1], lent.out, lent.out_bytes, CHI_BUFFER_OUT) < 0)
		return -EFAULT;
	ret = one_large(worker, &task->task, "copy");
	if (ret < 0)
		return ret;
	worker->answer(worker,
		       task->task.result == 0 && lent.out[0] == lent.in[0] && pattern_is_whole(lent.out, lent.n_words),
		       "copy");
	chi_task_free(worker->client, task);
	release(worker, &lent);
	return 0;
}

static int pack(struct worker *worker)
{
	struct chi_compress_task *task = NULL;
	struct lent lent;
	uint64_t packed;
	int ret = borrow(worker, &lent);

	if (ret < 0)
		return ret;
	ret = chi_compress_alloc(worker->client, worker->compress_pool, CHI_QUERY_LOCAL_HASH(lent.in[0]), lent.in,
				 lent.bytes, lent.out, lent.out_bytes, 1, 0, &task);
	if (ret == 0)
		ret = one_large(worker, &task->task, "compress");
	if (ret < 0)
		return ret;
	packed = task->out_bytes;
	worker->answer(worker, task->task.result == 0 && packed < lent.bytes, "compress");
	chi_task_free(worker->client, task);
	memset(lent.in, 0, lent.bytes);
	ret = chi_decompress_alloc(worker->client, worker->compress_pool, CHI_QUERY_LOCAL_HASH(packed), lent.out,
				   packed, lent.in, lent.bytes, &task);
	if (ret == 0)
		ret = one_large(worker, &task->task, "decompress");
	if (ret < 0)
		return ret;
	worker->answer(worker,
		       task->task.result == 0 && task->out_bytes == lent.bytes &&
			       pattern_is_whole(lent.in, lent.n_words),
		       "decompress");
	chi_task_free(worker->client, task);
	release(worker, &lent);
	return 0;
}

int work_crowd(struct worker *worker)
{
	static void *tasks[CROWD_PACKS + CROWD_BLOCKED + CROWD_RESTING];
	uint32_t n = 0;
	int ret = 0;

	for (; ret == 0 && n < CROWD_PACKS; n++) {
		struct chi_compress_task *task = NULL;
		struct lent lent;

		ret = borrow(worker, &lent);
		if (ret == 0)
			ret = chi_compress_alloc(worker->client, worker->compress_pool, CHI_QUERY_LOCAL_HASH(n),
						 lent.in, lent.bytes, lent.out, lent.out_bytes, 1, 0, &task);
		tasks[n] = task;
	}
	for (; ret == 0 && n < CROWD_PACKS + CROWD_BLOCKED; n++) {
		struct probe_task *task;

		ret = make(worker, PROBE_BLOCK, n % WORK_CONTAINERS, &task);
		if (ret == 0)
			task->in = 100 * HSHM_NSEC_PER_MSEC;
		tasks[n] = task;
	}
	/* they have a run context each, and no fiber */
	for (; ret == 0 && n < CROWD_PACKS + CROWD_BLOCKED + CROWD_RESTING; n++) {
		struct probe_task *task;

		ret = make(worker, PROBE_ADD, n % WORK_CONTAINERS, &task);
		if (ret == 0) {
			task->task.flags |= CHI_TASK_PERIODIC;
			task->task.period_ns = HSHM_NSEC_PER_SEC;
		}
		tasks[n] = task;
	}
	for (uint32_t i = 0; ret == 0 && i < n; i++)
		ret = submit(worker, tasks[i]);
	for (uint32_t i = CROWD_PACKS + CROWD_BLOCKED; ret == 0 && i < n; i++)
		chi_cancel(tasks[i]);
	return ret < 0 ? ret : chi_wait_all(tasks, n, HSHM_FOREVER);
}

void work_key(const char *prefix, uint32_t index, struct chi_blob_key *ret_key)
{
	char text[64];

	snprintf(text, sizeof(text), "%s-%u", prefix, index);
	if (chi_blob_key_set(ret_key, text, strlen(text)) < 0)
		ret_key->size = 0;
}

/* Other threads of a victim, and a put of the one before it that is still under way, may have put what is there: something
 * whole it is all the same. */
static bool got_what_was_put(const struct worker *worker, const struct chi_blob_task *task, const struct lent *lent)
{
	if (!worker->alone && task->task.result == -ENOSPC)
		return true;
	return task->task.result == 0 && pattern_is_whole(lent->out, task->size.size_bytes / sizeof(uint64_t)) &&
	       (!worker->alone || lent->out[0] == lent->in[0]);
}

static int store(struct worker *worker)
{
	struct chi_blob_task *task = NULL;
	struct chi_blob_key key;
	struct lent lent;
	int ret = borrow(worker, &lent);

	if (ret < 0)
		return ret;
	work_key(worker->key_prefix, (uint32_t)rng_below(&worker->rng, VICTIM_KEYS), &key);
	ret = chi_blob_put_alloc(worker->client, worker->blob_pool, chi_blob_query(&key), lent.in, lent.bytes, key,
				 &task);
	if (ret == 0)
		ret = one_large(worker, &task->task, "put");
	if (ret < 0)
		return ret;
	worker->answer(worker, task->task.result >= 0, "put");
	chi_task_free(worker->client, task);
	ret = chi_blob_get_alloc(worker->client, worker->blob_pool, chi_blob_query(&key), lent.out, lent.out_bytes, key,
				 &task);
	if (ret == 0)
		ret = one_large(worker, &task->task, "get");
	if (ret < 0)
		return ret;
	worker->answer(worker, got_what_was_put(worker, task, &lent), "get");
	chi_task_free(worker->client, task);
	release(worker, &lent);
	return 0;
}

static int idle(struct worker *worker)
{
	enter_phase(worker->thread, PHASE_IDLE);
	HSHM_THREAD_MODEL->sleep_for_us(rng_below(&worker->rng, 200));
	return 0;
}

/* ---- who does what ---- */

const struct work work_of_victims[] = {
	{ "burst", 30, burst },		{ "nest", 8, nest },	       { "fan", 8, fan },
	{ "block", 12, block },		{ "give away", 8, give_away }, { "again", 8, again_and_again },
	{ "callback", 6, by_callback }, { "copy", 8, copy },	       { "pack", 2, pack },
	{ "store", 3, store },		{ "idle", 7, idle },
};
const uint32_t n_work_of_victims = sizeof(work_of_victims) / sizeof(work_of_victims[0]);

const struct work work_of_steady[] = {
	{ "burst", 40, burst }, { "nest", 10, nest }, { "fan", 10, fan },    { "give away", 5, give_away },
	{ "copy", 10, copy },	{ "pack", 2, pack },  { "store", 3, store }, { "callback", 10, by_callback },
};
const uint32_t n_work_of_steady = sizeof(work_of_steady) / sizeof(work_of_steady[0]);

int work_any(struct worker *worker, const struct work *list, uint32_t n)
{
	uint64_t sum = 0, at;

	for (uint32_t i = 0; i < n; i++)
		sum += list[i].weight;
	at = rng_below(&worker->rng, sum);
	for (uint32_t i = 0; i < n; i++) {
		if (at < list[i].weight)
			return list[i].run(worker);
		at -= list[i].weight;
	}
	return 0;
}

int work_open(struct worker *worker, const char *probe_pool)
{
	struct chi_pool_spec spec = { .module = "probe", .name = probe_pool, .n_containers = WORK_CONTAINERS };
	int ret = chi_pool_create(worker->client, &spec, &worker->probe_pool);

	if (ret >= 0)
		ret = chi_compress_open(worker->client, WORK_CONTAINERS, &worker->compress_pool);
	if (ret >= 0)
		ret = chi_blob_open(worker->client, NULL, WORK_CONTAINERS, NULL, &worker->blob_pool);
	return ret < 0 ? ret : 0;
}
