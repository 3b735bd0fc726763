/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * processes.c - a steady client's and a victim's life at the runtime
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/probe.h"
#include "runtime_service.h"
#include "work.h"

#define REST_NS (5 * HSHM_NSEC_PER_SEC)

/* ---- steady ---- */

struct steady {
	struct stage *stage;
	struct steady_slot *slot;
	struct worker worker;
	struct thread_slot thread;
	struct processor_waits waits;
	bool rested; /* the pools of the store went meanwhile */
};

static void steady_found(struct worker *worker, bool right, const char *what)
{
	struct steady *steady = worker->arg;

	steady_answer(steady->stage, steady->slot, &steady->waits, right, what);
}

static void steady_missed(struct worker *worker, const char *what, int error)
{
	struct steady *steady = worker->arg;

	steady_lost(steady->slot, what, error);
}

/* Each of its adds ran once: none was lost, none ran twice. */
static void check_runs(struct steady *steady)
{
	struct worker *worker = &steady->worker;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < WORK_CONTAINERS; i++) {
		struct probe_task *task;
		int ret = chi_task_alloc(worker->client, sizeof(*task), worker->probe_pool, CHI_QUERY_LOCAL_ID(i),
					 PROBE_COUNTS, &task);

		if (ret == 0)
			ret = chi_call(worker->client, task);
		if (ret < 0) {
			steady_missed(worker, "counts", ret);
			return;
		}
		sum += task->out;
		chi_task_free(worker->client, task);
	}
	steady_found(worker, sum == worker->n_adds, "a task did not run once");
}

/* Before a measure: nothing of it is in flight. */
static void settle(void *arg)
{
	struct steady *steady = arg;
	int ret = chi_flush(steady->worker.client);

	if (ret < 0)
		steady_missed(&steady->worker, "flush", ret);
	steady_no_gap(steady->slot);
	check_runs(steady);
	steady->rested = true;
}

static int go_on(struct steady *steady, const char *pool)
{
	if (steady->rested) {
		int ret = work_open(&steady->worker, pool);

		if (ret < 0) {
			steady_missed(&steady->worker, "open the pools again", ret);
			return ret;
		}
		steady_no_gap(steady->slot);
	}
	steady->rested = false;
	/* when something is lost, what is lent stays lent: no more from this client */
	return work_any(&steady->worker, work_of_steady, n_work_of_steady);
}

int runtime_steady(struct stage *stage, uint32_t index)
{
	/* a steady client that spins would leave the others no processor */
	static const uint32_t policies[] = { CHI_WAIT_SLEEP, CHI_WAIT_HYBRID };
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = RUNTIME_NAME, .wait_policy = policies[index % 2]);
	struct steady_slot *slot = &stage->steady[index];
	struct steady steady = { .stage = stage, .slot = slot };
	struct worker *worker = &steady.worker;
	char pool[32];
	int ret;

	*worker = (struct worker){ .thread = &steady.thread,
				   .alone = true,
				   .rng = { stage->seed ^ (UINT64_C(1000) + index) },
				   .answer = steady_found,
				   .lost = steady_missed,
				   .arg = &steady };
	snprintf(worker->key_prefix, sizeof(worker->key_prefix), "steady-%u", index);
	snprintf(pool, sizeof(pool), "steady-%u", index);
	ret = chi_client_connect(&opts, &worker->client);
	if (ret == 0)
		ret = work_open(worker, pool);
	if (ret == 0)
		ret = work_every_channel(worker);
	if (ret < 0) {
		steady_lost(slot, "connect", ret);
		return EXIT_FAILURE;
	}
	processor_watch(&steady.waits, runtime_service_pid(), "chi-worker");
	while (steady_goes_on(stage, slot, settle, &steady)) {
		if (go_on(&steady, pool) < 0)
			return EXIT_FAILURE;
	}
	chi_client_disconnect(worker->client);
	return EXIT_SUCCESS;
}

/* ---- victims ---- */

struct victim_thread {
	struct victim_slot *slot;
	struct worker worker;
	pthread_t thread;
};

static void victim_found(struct worker *worker, bool right, const char *what)
{
	struct victim_slot *slot = worker->arg;

	count(right ? &slot->n_right : &slot->n_wrong, 1);
	if (!right)
		snprintf(slot->text, sizeof(slot->text), "wrong answer: %s", what);
	hshm_store_relaxed(&slot->flows, 1); /* relaxed: the driver's clock starts */
}

static void victim_missed(struct worker *worker, const char *what, int error)
{
	struct victim_slot *slot = worker->arg;

	snprintf(slot->text, sizeof(slot->text), "lost: %s: %s (%s)", what, strerror(-error), chi_error_text());
	slot->error = error;
}

static void *victim_thread(void *arg)
{
	struct victim_thread *self = arg;

	for (uint32_t round = 0; round < self->slot->plan.rounds && !self->slot->error; round++) {
		if (work_any(&self->worker, work_of_victims, n_work_of_victims) < 0)
			break;
	}
	if (!self->slot->error && rng_below(&self->worker.rng, 2))
		(void)work_leave_behind(&self->worker);
	enter_phase(self->worker.thread, PHASE_NONE);
	return NULL;
}

static int fail(struct victim_slot *slot, const char *what, int error)
{
	snprintf(slot->text, sizeof(slot->text), "%s: %s (%s)", what, strerror(-error), chi_error_text());
	slot->error = error;
	return -1;
}

/* It leaves while some of its tasks are in flight. */
static int connect_work_leave(struct victim_slot *slot, struct rng *rng)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = RUNTIME_NAME, .wait_policy = slot->plan.wait_policy);
	struct thread_slot *own = &slot->threads[VICTIM_THREADS_MAX];
	struct victim_thread threads[VICTIM_THREADS_MAX];
	struct worker worker = { .thread = own, .answer = victim_found, .lost = victim_missed, .arg = slot };
	uint32_t n = 0;
	int ret;

	enter_phase(own, PHASE_CONNECTING);
	ret = chi_client_connect(&opts, &worker.client);
	if (ret < 0)
		return fail(slot, "connect", ret);
	ret = work_open(&worker, WORK_POOL);
	if (ret < 0)
		return fail(slot, "open the pools", ret);
	snprintf(worker.key_prefix, sizeof(worker.key_prefix), "victim-%u", slot->plan.slot);
	for (; n < slot->plan.n_threads; n++) {
		threads[n] = (struct victim_thread){ .slot = slot, .worker = worker };
		threads[n].worker.thread = &slot->threads[n];
		threads[n].worker.rng.state = rng_next(rng);
		if (pthread_create(&threads[n].thread, NULL, victim_thread, &threads[n]))
			return fail(slot, "thread", -EAGAIN);
	}
	enter_phase(own, PHASE_NONE);
	while (n-- > 0)
		pthread_join(threads[n].thread, NULL);
	enter_phase(own, PHASE_LEAVING);
	chi_client_disconnect(worker.client);
	return slot->error ? -1 : 0;
}

int runtime_victim(struct stage *stage, struct victim_slot *slot)
{
	struct rng rng = { slot->plan.seed };

	(void)stage;
	while (connect_work_leave(slot, &rng) == 0)
		;
	return EXIT_FAILURE; /* it is to be killed before */
}

/* ---- a client before a measure ---- */

static void settle_missed(struct worker *worker, const char *what, int error)
{
	(void)worker;
	fprintf(stderr, "settle: %s: %s\n", what, strerror(-error));
}

/* What the runtime holds is counted as a client leaves: not while a worker keeps what its tasks have left. */
static int await_rest(void)
{
	uint64_t end_ns = hshm_deadline_ns(REST_NS);

	while (!measure_workers_rest(RUNTIME_NAME)) {
		if (hshm_clock_ns() > end_ns) {
			fprintf(stderr, "settle: the workers do not rest\n");
			return -ETIMEDOUT;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return 0;
}

/*
 * The store and its compressor go, with the objects of the dead and with what they keep for the next (zstd's contexts), and
 * are made again when somebody wants them.
 */
int runtime_settle(void)
{
	struct thread_slot thread = { .phase = { 0 } };
	struct worker worker = { .thread = &thread, .lost = settle_missed };
	int ret = chi_client_connect(&CHI_CLIENT_OPTS(.name = RUNTIME_NAME), &worker.client);

	if (ret == 0)
		ret = work_open(&worker, WORK_POOL);
	/* what the runtime keeps for its busiest moment, it has after this, at the first measure as at the last */
	if (ret == 0)
		ret = work_crowd(&worker);
	if (ret == 0)
		ret = chi_pool_destroy(worker.client, worker.blob_pool);
	if (ret == 0)
		ret = chi_pool_destroy(worker.client, worker.compress_pool);
	if (ret == 0)
		ret = await_rest();
	if (ret < 0)
		fprintf(stderr, "settle: %s: %s\n", strerror(-ret), chi_error_text());
	chi_client_disconnect(worker.client);
	return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
