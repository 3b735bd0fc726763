/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wake.c - the first task after a while in which both sides slept
 */
#include "setup.h"

struct wake {
	uint64_t pause_ns;
	const char *params;
};

static int wake(struct bench *bench, struct bench_result *ret_result)
{
	static const struct bench_runtime_spec runtime = { .policy = CHI_WAIT_HYBRID };
	const struct wake *how = bench->current->arg;
	struct setup setup;
	struct bench_side side = { .slice = setup_call_slice, .arg = &setup, .pause_ns = how->pause_ns };
	int rc = setup_start(bench, &runtime, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	ret_result->params = how->params;
	rc = setup_add_noops(&setup, 1);
	if (!rc)
		rc = bench_measure_against(bench, &side, "epoll-eventfd", ret_result);
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	ret_result->aim = "<= 1.1 of it";
	ret_result->aim_met = ret_result->ratio <= 1.1;
	setup_stop(&setup);
	return rc;
}

static const struct wake ms_1 = { HSHM_NSEC_PER_MSEC, "\"wait\":\"hybrid\",\"idle_ms\":1" };
static const struct wake ms_20 = { 20 * HSHM_NSEC_PER_MSEC, "\"wait\":\"hybrid\",\"idle_ms\":20" };
static const struct wake ms_200 = { 200 * HSHM_NSEC_PER_MSEC, "\"wait\":\"hybrid\",\"idle_ms\":200" };

const struct bench_case bench_wake_cases[] = {
	{ "wake-1ms", "the first task after 1 ms of idleness, against two processes that sleep in epoll", wake,
	  .arg = &ms_1 },
	{ "wake-20ms", "after 20 ms", wake, .arg = &ms_20 },
	{ "wake-200ms", "after 200 ms", wake, .arg = &ms_200 },
	{ NULL, NULL, NULL },
};
