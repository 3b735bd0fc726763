/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * open_loop.c - latency under a load that does not wait for its answers
 *
 * Tasks that work for a microsecond arrive by a schedule made before: gaps as of independent clients, at a share of what the
 * worker can do at most. A latency counts from when its task was to arrive: if we, or the lane, cannot take it in time,
 * that is part of it, and no delay hides the tasks that would have come meanwhile.
 */
#include "setup.h"

#include <errno.h>
#include <math.h>

#define WORK_NS	    1000u
#define OUTSTANDING SETUP_TASKS_MAX
#define FULL_NS	    (2 * HSHM_NSEC_PER_MSEC) /* measures what it can do at most */
#define FULL	    64u			     /* outstanding meanwhile */
#define SEED	    UINT64_C(0x9e3779b97f4a7c15)

struct open_loop {
	struct setup setup;
	double load;
	uint64_t random;
	uint64_t due_ns[OUTSTANDING];
	uint32_t first, n_outstanding; /* of the ring of tasks */
	uint64_t n_tasks;
};

static double gap_ns(struct open_loop *run, double rate)
{
	/* xorshift64: the schedule is the same in each run */
	run->random ^= run->random << 13;
	run->random ^= run->random >> 7;
	run->random ^= run->random << 17;
	return -log(((double)(run->random >> 11) + 1) / 9007199254740993.0) * 1e9 / rate;
}

static int arrive(struct open_loop *run, uint64_t due_ns)
{
	uint32_t task = (run->first + run->n_outstanding) % OUTSTANDING;
	int rc = chi_submit(run->setup.runtime.client, run->setup.tasks[task]);

	if (rc)
		return rc;
	run->due_ns[task] = due_ns;
	run->n_outstanding++;
	run->n_tasks++;
	return 0;
}

/* The oldest, if it has ended: they end in the order of their arrival, in one lane on one worker. */
static bool leave(struct open_loop *run, uint64_t *ret_due_ns)
{
	if (!run->n_outstanding || !chi_task_done(run->setup.tasks[run->first]))
		return false;
	*ret_due_ns = run->due_ns[run->first];
	run->first = (run->first + 1) % OUTSTANDING;
	run->n_outstanding--;
	return true;
}

/* What the worker can do: always so many outstanding. */
static int measure_full_rate(struct open_loop *run, double *ret_rate)
{
	uint64_t begin_ns = bench_now_ns(), now_ns = begin_ns, due_ns, n = 0;
	int rc = 0;

	while (!rc && (now_ns < begin_ns + FULL_NS || run->n_outstanding)) {
		if (run->n_outstanding < FULL && now_ns < begin_ns + FULL_NS)
			rc = arrive(run, now_ns);
		n += leave(run, &due_ns);
		now_ns = bench_now_ns();
	}
	*ret_rate = (double)n * 1e9 / (double)(now_ns - begin_ns);
	return rc;
}

static int keep_schedule(struct open_loop *run, double rate, uint64_t slice_ns, struct bench_samples *samples)
{
	uint64_t begin_ns = bench_now_ns(), now_ns = begin_ns, due_ns;
	double next_ns = gap_ns(run, rate);
	int rc = 0;

	while (!rc && (next_ns < (double)slice_ns || run->n_outstanding)) {
		if (next_ns < (double)slice_ns && now_ns >= begin_ns + (uint64_t)next_ns &&
		    run->n_outstanding < OUTSTANDING) {
			rc = arrive(run, begin_ns + (uint64_t)next_ns);
			if (!rc)
				next_ns += gap_ns(run, rate);
			else if (rc == -EAGAIN)
				rc = 0; /* it is late already, and its time runs */
		}
		now_ns = bench_now_ns();
		if (leave(run, &due_ns))
			bench_sample(samples, (double)(now_ns - due_ns), 1);
	}
	return rc;
}

static int open_loop_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct open_loop *run = arg;
	double full_rate;
	int rc = measure_full_rate(run, &full_rate);

	if (!rc)
		rc = keep_schedule(run, full_rate * run->load, slice_ns, samples);
	setup_settle();
	return rc ? tell("a task on schedule", rc) : 0;
}

static int open_loop(struct bench *bench, struct bench_result *ret_result)
{
	static const struct bench_runtime_spec runtime;
	const double *load = bench->current->arg;
	static struct open_loop run;
	struct bench_side side = { .slice = open_loop_slice, .arg = &run };
	struct bench_side alone = { .name = "no-load", .slice = setup_call_slice, .arg = &run.setup };
	int rc;

	run = (struct open_loop){ .load = *load, .random = SEED };
	rc = setup_start(bench, &runtime, &run.setup);
	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	ret_result->params = *load < 0.6 ? "\"load\":0.5,\"work_ns\":1000" : "\"load\":0.9,\"work_ns\":1000";
	for (uint32_t i = 0; i < OUTSTANDING && !rc; i++) {
		rc = setup_add_task(&run.setup, sizeof(struct bench_task), CHI_QUERY_LOCAL_ID(0), BENCH_SPIN);
		if (!rc)
			((struct bench_task *)run.setup.tasks[i])->count = WORK_NS;
	}
	if (!rc)
		rc = bench_measure_pair(bench, &side, &alone, ret_result);
	if (!rc)
		rc = setup_check(&run.setup, run.n_tasks + ret_result->reference_run.n);
	setup_stop(&run.setup);
	return rc;
}

static const double half = 0.5, nine_tenths = 0.9;

const struct bench_case bench_open_loop_cases[] = {
	{ "load-50", "latency of 1 us tasks that arrive by a schedule, half of what can be done, against one alone",
	  open_loop, .arg = &half },
	{ "load-90", "nine tenths", open_loop, .arg = &nine_tenths },
	{ NULL, NULL, NULL },
};
