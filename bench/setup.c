/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * setup.c - what most cases begin with
 */
#include "setup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int tell(const char *what, int rc)
{
	fprintf(stderr, "chimaera-bench: %s: %s%s%s\n", what, strerror(-rc), *chi_error_text() ? ": " : "",
		chi_error_text());
	return rc;
}

void sleep_seconds(double seconds)
{
	struct timespec left = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

/* ---- clients and tasks ---- */

int setup_start(struct bench *bench, const struct bench_runtime_spec *spec, struct setup *ret_setup)
{
	*ret_setup = (struct setup){ .bench = bench };
	return bench_runtime_start(bench->cpus, spec, &ret_setup->runtime);
}

struct chi_client *setup_client_of(const struct setup *setup, uint32_t task)
{
	return task > 0 && task <= setup->n_more ? setup->more[task - 1] : setup->runtime.client;
}

int setup_add_client(struct setup *setup)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_BUSY, .name = setup->runtime.name);
	int rc = chi_client_connect(&opts, &setup->more[setup->n_more]);

	if (rc < 0)
		return tell("another client", rc);
	setup->n_more++;
	return 0;
}

int setup_add_task(struct setup *setup, uint32_t size_bytes, struct chi_domain_query query, enum bench_method method)
{
	int rc = chi_task_alloc(setup_client_of(setup, setup->n_tasks), size_bytes, setup->runtime.pool_id, query,
				method, &setup->tasks[setup->n_tasks]);

	if (rc < 0)
		return tell("a task", rc);
	setup->n_tasks++;
	return 0;
}

int setup_add_noops(struct setup *setup, uint32_t n)
{
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i++)
		rc = setup_add_task(setup, sizeof(struct chi_task), CHI_QUERY_LOCAL_ID(0), BENCH_NOOP);
	return rc;
}

void setup_stop(struct setup *setup)
{
	for (uint32_t i = 0; i < setup->n_tasks; i++)
		chi_task_free(setup_client_of(setup, i), setup->tasks[i]);
	for (uint32_t i = 0; i < setup->n_more; i++)
		chi_client_disconnect(setup->more[i]);
	bench_runtime_stop(&setup->runtime);
}

int setup_check(struct setup *setup, uint64_t n_expected)
{
	static struct chi_runtime_info info;
	uint64_t n_done = 0, n_failed = 0;
	int rc = chi_client_runtime_info(setup->runtime.client, &info);

	if (rc < 0)
		return tell("the counters", rc);
	for (uint32_t i = 0; i < info.n_workers; i++) {
		n_done += hshm_load_relaxed(&info.workers[i].tasks); /* relaxed: our own copy */
		n_failed += hshm_load_relaxed(&info.workers[i].tasks_failed);
	}
	if (n_done >= n_expected && !n_failed)
		return 0;
	fprintf(stderr, "chimaera-bench: of %llu tasks the workers counted %llu, and %llu that failed\n",
		(unsigned long long)n_expected, (unsigned long long)n_done, (unsigned long long)n_failed);
	return -EBADMSG;
}

int setup_submit(struct setup *setup, uint32_t task)
{
	int rc;

	while ((rc = chi_submit(setup_client_of(setup, task), setup->tasks[task])) == -EAGAIN)
		;
	return rc;
}

int setup_wait(struct setup *setup, uint32_t task)
{
	int rc = chi_wait(setup->tasks[task], HSHM_FOREVER);

	return rc ? rc : setup->tasks[task]->result;
}

/* ---- slices ---- */

void setup_settle(void)
{
	/* three times workers.spin_us */
	sleep_seconds(150e-6);
}

static int call(void *arg)
{
	struct setup *setup = arg;

	return chi_call(setup->runtime.client, setup->tasks[0]);
}

int setup_call_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	int rc = bench_latency_slice(call, arg, slice_ns, samples);

	setup_settle();
	return rc < 0 ? tell("a call", rc) : 0;
}
