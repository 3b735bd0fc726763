/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * roundtrip.c - one task to a method that does nothing, and back, under each wait policy
 */
#include "setup.h"

static int roundtrip(struct bench *bench, enum chi_wait_policy policy, struct bench_result *ret_result)
{
	struct setup setup;
	int rc = setup_start(bench, policy, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	rc = setup_add_task(&setup, sizeof(struct chi_task), BENCH_NOOP);
	if (!rc)
		rc = bench_measure(bench, setup_call_run, &setup, true, ret_result);
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	setup_stop(&setup);
	return rc;
}

static int roundtrip_busy(struct bench *bench, struct bench_result *ret_result)
{
	int rc = roundtrip(bench, CHI_WAIT_BUSY, ret_result);

	ret_result->params = "\"wait\":\"busy\"";
	ret_result->aim = "<= 2 ping-pongs";
	ret_result->aim_met = ret_result->ratio <= 2.0;
	return rc;
}

static int roundtrip_sleep(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"wait\":\"sleep\"";
	return roundtrip(bench, CHI_WAIT_SLEEP, ret_result);
}

static int roundtrip_hybrid(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"wait\":\"hybrid\"";
	return roundtrip(bench, CHI_WAIT_HYBRID, ret_result);
}

const struct bench_case bench_roundtrip_cases[] = {
	{ "roundtrip-busy", "one task to a method that does nothing and back, waiting by spinning", roundtrip_busy },
	{ "roundtrip-hybrid", "waiting by spinning a little, then sleeping until woken", roundtrip_hybrid },
	{ "roundtrip-sleep", "waiting by looking every 10 us: the default", roundtrip_sleep },
	{ NULL, NULL, NULL },
};
