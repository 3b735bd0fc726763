/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * roundtrip.c - one task to a method that does nothing, and back, under each wait policy
 */
#include "setup.h"

struct roundtrip {
	struct bench_runtime_spec runtime;
	const char *reference;
	const char *params;
	const char *aim;
	double ratio_max;
	double tail_ratio_max; /* 0: any */
};

/* how far the slow ones are from the usual, in the reference's */
static double tail_ratio(const struct bench_result *result)
{
	const struct bench_run *run = &result->run, *reference = &result->reference_run;

	return run->p99 / run->p50 / (reference->p99 / reference->p50);
}

static int roundtrip(struct bench *bench, struct bench_result *ret_result)
{
	const struct roundtrip *how = bench->current->arg;
	struct setup setup;
	struct bench_side side = { .slice = setup_call_slice, .arg = &setup };
	int rc = setup_start(bench, &how->runtime, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	ret_result->params = how->params;
	rc = setup_add_noops(&setup, 1);
	if (!rc)
		rc = bench_measure_against(bench, &side, how->reference, ret_result);
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	ret_result->aim = how->aim;
	ret_result->aim_met = ret_result->ratio <= how->ratio_max &&
			      (!how->tail_ratio_max || tail_ratio(ret_result) <= how->tail_ratio_max);
	setup_stop(&setup);
	return rc;
}

static const struct roundtrip busy = {
	.runtime = { .policy = CHI_WAIT_BUSY },
	.reference = "pingpong",
	.params = "\"wait\":\"busy\"",
	.aim = "<= 1.5 of it, p99/p50 <= 1.5 of its",
	.ratio_max = 1.5,
	.tail_ratio_max = 1.5,
};
static const struct roundtrip hybrid = {
	.runtime = { .policy = CHI_WAIT_HYBRID },
	.reference = "pingpong",
	.params = "\"wait\":\"hybrid\"",
};
static const struct roundtrip asleep = {
	.runtime = { .policy = CHI_WAIT_SLEEP },
	.reference = "poll-10us",
	.params = "\"wait\":\"sleep\"",
	.aim = "<= 1.03 of it",
	.ratio_max = 1.03,
};
static const struct roundtrip embedded_busy = {
	.runtime = { .kind = BENCH_EMBEDDED, .policy = CHI_WAIT_BUSY },
	.reference = "pingpong",
	.params = "\"wait\":\"busy\",\"embedded\":true",
};
static const struct roundtrip embedded_hybrid = {
	.runtime = { .kind = BENCH_EMBEDDED, .policy = CHI_WAIT_HYBRID },
	.reference = "pingpong",
	.params = "\"wait\":\"hybrid\",\"embedded\":true",
};
static const struct roundtrip embedded_asleep = {
	.runtime = { .kind = BENCH_EMBEDDED, .policy = CHI_WAIT_SLEEP },
	.reference = "poll-10us",
	.params = "\"wait\":\"sleep\",\"embedded\":true",
};

const struct bench_case bench_roundtrip_cases[] = {
	{ "roundtrip-busy", "a task to a method that does nothing and back, waiting by spinning", roundtrip,
	  .arg = &busy },
	{ "roundtrip-hybrid", "waiting by spinning a little, then sleeping until woken", roundtrip, .arg = &hybrid },
	{ "roundtrip-sleep", "waiting by looking every 10 us: the default", roundtrip, .arg = &asleep },
	{ "embedded-busy", "as roundtrip-busy, the runtime in the same process", roundtrip, .arg = &embedded_busy },
	{ "embedded-hybrid", "as roundtrip-hybrid, embedded", roundtrip, true, &embedded_hybrid },
	{ "embedded-sleep", "as roundtrip-sleep, embedded", roundtrip, true, &embedded_asleep },
	{ NULL, NULL, NULL },
};
