/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cases.h - what is measured of each peer
 */
#ifndef BENCH_PEERS_CASES_H
#define BENCH_PEERS_CASES_H

#include "bench.h"
#include "peer.h"

struct peer_case {
	const struct bench_peer *peer;		 /* or */
	const struct bench_scheduler *scheduler; /* this */
	bool is_rate;				 /* 64 outstanding; a million tasks. Else a round trip; a nested wait */
	bool by_thread;				 /* the million is ours by the application's thread, not by a task */
};

#define PEER_CASES_MAX 96u

/* Returns how many. */
unsigned peer_cases(struct peer_case ret_cases[PEER_CASES_MAX]);

const char *peer_case_name(const struct peer_case *one, char ret_name[48]);
const char *peer_case_help(const struct peer_case *one, char ret_help[160]);

/* Ours in turn with the peer: the result is ours, the reference is the peer's. */
int peer_case_run(struct bench *bench, const struct peer_case *one, struct bench_result *ret_result);

#endif
