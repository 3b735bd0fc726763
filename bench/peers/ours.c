/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ours.c - messages of 64 bytes to a runtime and back
 */
#include "ours.h"

#include <errno.h>

static struct bench_echo *echo_of(struct ours *ours, uint32_t i)
{
	return (struct bench_echo *)ours->setup.tasks[i];
}

static void fill(struct ours *ours, uint32_t i)
{
	uint64_t number = ++ours->tally.n_sent;

	echo_of(ours, i)->message[0] = number;
	ours->tally.sum_sent += number;
}

static void take(struct ours *ours, uint32_t i)
{
	ours->tally.n_received++;
	ours->tally.sum_received += echo_of(ours, i)->message[7]; /* what the method wrote */
}

int ours_start(struct bench *bench, enum chi_wait_policy policy, struct ours *ret_ours)
{
	const struct bench_runtime_spec spec = { .policy = policy };
	int rc;

	ret_ours->tally = (struct peer_tally){ 0 };
	rc = setup_start(bench, &spec, &ret_ours->setup);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < PEER_OUTSTANDING && rc >= 0; i++)
		rc = setup_add_task(&ret_ours->setup, sizeof(struct bench_echo), CHI_QUERY_LOCAL_ID(0), BENCH_ECHO);
	if (rc < 0)
		ours_stop(ret_ours);
	return rc < 0 ? rc : 0;
}

void ours_stop(struct ours *ours)
{
	setup_stop(&ours->setup);
}

int ours_roundtrip(void *arg)
{
	struct ours *ours = arg;
	int rc;

	fill(ours, 0);
	rc = chi_call(ours->setup.runtime.client, ours->setup.tasks[0]);
	take(ours, 0);
	return rc < 0 ? rc : 0;
}

static bool is_under_way(const struct ours *ours, uint32_t i)
{
	return i < ours->tally.n_sent - ours->tally.n_received;
}

static int submit(struct ours *ours, uint32_t i)
{
	fill(ours, i);
	return setup_submit(&ours->setup, i);
}

static int wait_for(struct ours *ours, uint32_t i)
{
	int rc = setup_wait(&ours->setup, i);

	take(ours, i);
	return rc;
}

int ours_pipeline(void *arg, uint32_t n)
{
	struct ours *ours = arg;
	uint32_t *next = &ours->setup.next;
	int rc = 0;

	for (uint32_t i = 0; i < PEER_OUTSTANDING && !rc; i++)
		if (!is_under_way(ours, i))
			rc = submit(ours, i);
	for (uint32_t i = 0; i < n && !rc; i++) {
		rc = wait_for(ours, *next);
		if (!rc)
			rc = submit(ours, *next);
		*next = (*next + 1) % PEER_OUTSTANDING;
	}
	return rc;
}

int ours_drain(struct ours *ours)
{
	int rc = 0;

	for (uint32_t i = 0; i < PEER_OUTSTANDING && !rc && is_under_way(ours, 0); i++) {
		rc = wait_for(ours, ours->setup.next);
		ours->setup.next = (ours->setup.next + 1) % PEER_OUTSTANDING;
	}
	ours->setup.next = 0;
	return rc;
}

static int burst(struct ours *ours)
{
	void *const *tasks = (void *const *)ours->setup.tasks;
	int rc = 0;

	for (uint32_t i = 0; i < PEER_OUTSTANDING; i++)
		fill(ours, i);
	for (uint32_t n = 0; n < PEER_OUTSTANDING && (rc >= 0 || rc == -EAGAIN); n += rc > 0 ? (uint32_t)rc : 0)
		rc = chi_submit_many(ours->setup.runtime.client, tasks + n, PEER_OUTSTANDING - n);
	if (rc >= 0)
		rc = chi_wait_all(tasks, PEER_OUTSTANDING, HSHM_FOREVER);
	for (uint32_t i = 0; i < PEER_OUTSTANDING; i++)
		take(ours, i);
	return rc < 0 ? rc : 0;
}

int ours_bursts(void *arg, uint32_t n)
{
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i += PEER_OUTSTANDING)
		rc = burst(arg);
	return rc;
}
