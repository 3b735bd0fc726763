/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cases.c - ours and a peer, in turn
 */
#include "cases.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ours.h"

#define WINDOW	       4096u /* messages */
#define WINDOW_SLOW    512u  /* of those that sleep between messages */
#define SPAWN_TASKS    1024000u
#define NESTED_AT_ONCE 256u

/* PEERS and SCHEDULERS come from CMake: a P() or S() for each file whose library is there. */
#define P(name) extern const struct bench_peer bench_peers_##name[];
#define S(name) extern const struct bench_scheduler bench_schedulers_##name[];
PEERS
SCHEDULERS
#undef P
#undef S

#define P(name) bench_peers_##name,
#define S(name) bench_schedulers_##name,
static const struct bench_peer *const peer_tables[] = { PEERS };
static const struct bench_scheduler *const scheduler_tables[] = { SCHEDULERS };
#undef P
#undef S

/* ---- the list ---- */

unsigned peer_cases(struct peer_case ret_cases[PEER_CASES_MAX])
{
	unsigned n = 0;

	for (size_t t = 0; t < sizeof(peer_tables) / sizeof(peer_tables[0]); t++) {
		for (const struct bench_peer *at = peer_tables[t]; at->name && n + 2 <= PEER_CASES_MAX; at++) {
			if (!at->is_batched)
				ret_cases[n++] = (struct peer_case){ .peer = at };
			ret_cases[n++] = (struct peer_case){ .peer = at, .is_rate = true };
		}
	}
	for (size_t t = 0; t < sizeof(scheduler_tables) / sizeof(scheduler_tables[0]); t++) {
		for (const struct bench_scheduler *at = scheduler_tables[t]; at->name && n + 3 <= PEER_CASES_MAX;
		     at++) {
			ret_cases[n++] = (struct peer_case){ .scheduler = at };
			ret_cases[n++] = (struct peer_case){ .scheduler = at, .is_rate = true };
			ret_cases[n++] = (struct peer_case){ .scheduler = at, .is_rate = true, .by_thread = true };
		}
	}
	return n;
}

const char *peer_case_name(const struct peer_case *one, char ret_name[48])
{
	if (one->peer)
		snprintf(ret_name, 48, "%s%s", one->peer->name, one->is_rate ? "-64" : "");
	else
		snprintf(ret_name, 48, "%s-%s", one->scheduler->name,
			 one->by_thread ? "submit"
			 : one->is_rate ? "spawn"
					: "nested");
	return ret_name;
}

const char *peer_case_help(const struct peer_case *one, char ret_help[160])
{
	if (one->peer)
		snprintf(ret_help, 160, "%s; %s", one->peer->help, one->is_rate ? "64 outstanding" : "round trip");
	else
		snprintf(ret_help, 160, "%s; %s", one->scheduler->help,
			 one->by_thread ? "1,024,000 empty tasks, ours by this thread, and wait"
			 : one->is_rate ? "1,024,000 empty tasks, ours by a task, and wait"
					: "start one task and wait for it");
	return ret_help;
}

/* ---- a peer's side ---- */

static int peer_roundtrip(void *arg)
{
	struct peer *peer = arg;
	int rc = peer->table->send(peer, 1);

	if (!rc)
		rc = peer->table->receive(peer);
	return rc < 0 ? rc : 0;
}

static uint32_t n_under_way(const struct peer *peer)
{
	return (uint32_t)(peer->tally.n_sent - peer->tally.n_received);
}

static int peer_pipeline(void *arg, uint32_t n)
{
	struct peer *peer = arg;
	uint64_t end = peer->tally.n_received + n;
	int rc = 0;

	while (rc >= 0 && peer->tally.n_received < end) {
		rc = peer->table->send(peer, peer->outstanding - n_under_way(peer));
		if (!rc)
			rc = peer->table->receive(peer);
	}
	return rc < 0 ? rc : 0;
}

static int peer_drain(struct peer *peer)
{
	int rc = 0;

	while (rc >= 0 && n_under_way(peer))
		rc = peer->table->receive(peer);
	return rc < 0 ? rc : 0;
}

static int roundtrip_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct peer *peer = arg;
	int rc;

	peer_gate_set(peer, true);
	rc = peer_roundtrip(peer); /* it is awake */
	if (!rc)
		rc = bench_latency_slice(peer_roundtrip, peer, slice_ns, samples);
	peer_gate_set(peer, false);
	peer_settle(peer->pid);
	return rc;
}

static int pipeline_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct peer *peer = arg;
	int rc;

	peer_gate_set(peer, true);
	rc = peer_pipeline(peer, PEER_OUTSTANDING);
	if (!rc)
		rc = bench_rate_slice(peer_pipeline, peer, peer->table->spins ? WINDOW : WINDOW_SLOW, slice_ns,
				      samples);
	if (!rc)
		rc = peer_drain(peer);
	peer_gate_set(peer, false);
	peer_settle(peer->pid);
	return rc;
}

/* ---- our side ---- */

static int ours_roundtrip_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	int rc = ours_roundtrip(arg); /* it is awake */

	if (!rc)
		rc = bench_latency_slice(ours_roundtrip, arg, slice_ns, samples);
	peer_settle(((struct ours *)arg)->setup.runtime.pid);
	return rc < 0 ? tell("a call", rc) : 0;
}

static int ours_pipeline_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	int rc = ours_pipeline(arg, PEER_OUTSTANDING);

	if (!rc)
		rc = bench_rate_slice(ours_pipeline, arg, WINDOW, slice_ns, samples);
	if (!rc)
		rc = ours_drain(arg);
	peer_settle(((struct ours *)arg)->setup.runtime.pid);
	return rc < 0 ? tell("a task of the pipeline", rc) : 0;
}

static int ours_bursts_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	int rc = ours_bursts(arg, PEER_OUTSTANDING);

	if (!rc)
		rc = bench_rate_slice(ours_bursts, arg, WINDOW, slice_ns, samples);
	peer_settle(((struct ours *)arg)->setup.runtime.pid);
	return rc < 0 ? tell("a burst", rc) : 0;
}

/* ---- both ---- */

static int check(const char *whose, const struct peer_tally *tally)
{
	if (tally->n_sent == tally->n_received && tally->sum_sent == tally->sum_received)
		return 0;
	fprintf(stderr, "chimaera-bench-peers: %s: of %llu messages %llu came back, or not as they went\n", whose,
		(unsigned long long)tally->n_sent, (unsigned long long)tally->n_received);
	return -EBADMSG;
}

static int measure_peer(struct bench *bench, const struct peer_case *one, struct peer *peer, struct ours *ours,
			struct bench_result *result)
{
	struct bench_side theirs = { .name = one->peer->name, .arg = peer };
	struct bench_side side = { .arg = ours };
	int rc;

	theirs.slice = one->is_rate ? pipeline_slice : roundtrip_slice;
	side.slice = !one->is_rate	     ? ours_roundtrip_slice
		     : one->peer->is_batched ? ours_bursts_slice
					     : ours_pipeline_slice;
	if (one->is_rate && peer->outstanding < PEER_OUTSTANDING)
		fprintf(stderr, "chimaera-bench-peers: %s: only %u outstanding\n", one->peer->name, peer->outstanding);
	rc = bench_measure_pair(bench, &side, &theirs, result);
	if (!rc)
		rc = check(one->peer->name, &peer->tally);
	if (!rc)
		rc = check("ours", &ours->tally);
	return rc;
}

static int run_peer(struct bench *bench, const struct peer_case *one, struct bench_result *result)
{
	struct peer peer = {
		.table = one->peer,
		.cpus = { bench->cpus[0], bench->cpus[1] },
		.outstanding = PEER_OUTSTANDING,
		.pid = -1,
		.control = -1,
	};
	static struct ours ours;
	int rc;

	result->unit = one->is_rate ? "msg/s" : "ns";
	/* ours first: a library's threads do not outlive a fork */
	rc = ours_start(bench, one->peer->spins ? CHI_WAIT_BUSY : CHI_WAIT_HYBRID, &ours);
	if (rc)
		return rc;
	rc = one->peer->start(&peer);
	if (!rc)
		rc = measure_peer(bench, one, &peer, &ours, result);
	one->peer->stop(&peer);
	ours_stop(&ours);
	return rc;
}

/* ---- schedulers ---- */

struct scheduling {
	const struct bench_scheduler *table;
	const unsigned *cpus;
	void *own;
};

static int scheduling_start(struct scheduling *scheduling)
{
	/* threads that it starts may use both; this one goes back to its own CPU */
	int rc = bench_allow(scheduling->cpus);

	if (!rc)
		rc = scheduling->table->start(scheduling->cpus, &scheduling->own);
	if (!rc)
		rc = bench_pin(scheduling->cpus[0]);
	if (rc)
		fprintf(stderr, "chimaera-bench-peers: %s: %s\n", scheduling->table->name, strerror(-rc));
	return rc;
}

static int begin_slice(const struct scheduling *scheduling)
{
	return scheduling->table->roams ? bench_allow(scheduling->cpus) : 0;
}

static int end_slice(const struct scheduling *scheduling, int rc)
{
	peer_settle(0);
	return rc ? rc : bench_pin(scheduling->cpus[0]);
}

static int spawn(void *arg, uint32_t n)
{
	struct scheduling *scheduling = arg;

	return scheduling->table->spawn(scheduling->own, n);
}

static int nested(void *arg)
{
	struct scheduling *scheduling = arg;

	return scheduling->table->nested(scheduling->own, NESTED_AT_ONCE);
}

static int spawn_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	int rc = begin_slice(arg);

	if (!rc)
		rc = bench_rate_slice(spawn, arg, SPAWN_TASKS, slice_ns, samples);
	return end_slice(arg, rc);
}

static int nested_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	int rc = begin_slice(arg);

	if (!rc)
		rc = bench_latency_slice(nested, arg, slice_ns, samples);
	return end_slice(arg, rc);
}

static int measure_scheduler(struct bench *bench, const struct peer_case *one, struct scheduling *both,
			     struct bench_result *result)
{
	struct bench_side sides[2] = { { .name = "ours" }, { .name = one->scheduler->name } };

	for (int i = 0; i < 2; i++) {
		sides[i].slice = one->is_rate ? spawn_slice : nested_slice;
		sides[i].ops_per_call = one->is_rate ? 0 : NESTED_AT_ONCE;
		sides[i].arg = &both[i];
	}
	return bench_measure_pair(bench, &sides[0], &sides[1], result);
}

static int run_scheduler(struct bench *bench, const struct peer_case *one, struct bench_result *result)
{
	struct scheduling both[2] = {
		{ .table = one->by_thread ? &ours_by_thread : &ours_by_task, .cpus = bench->cpus },
		{ .table = one->scheduler, .cpus = bench->cpus },
	};
	int rc;

	result->unit = one->is_rate ? "tasks/s" : "ns";
	rc = scheduling_start(&both[0]);
	if (rc)
		return rc;
	rc = scheduling_start(&both[1]);
	if (!rc) {
		rc = measure_scheduler(bench, one, both, result);
		both[1].table->stop(both[1].own);
	}
	both[0].table->stop(both[0].own);
	return rc;
}

int peer_case_run(struct bench *bench, const struct peer_case *one, struct bench_result *ret_result)
{
	return one->peer ? run_peer(bench, one, ret_result) : run_scheduler(bench, one, ret_result);
}
