/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ours.h - the same, done by a runtime: what each peer is measured beside
 */
#ifndef BENCH_PEERS_OURS_H
#define BENCH_PEERS_OURS_H

#include "setup.h"
#include "peer.h"

/* A runtime in another process, on the other CPU; each task carries a message there and back. */
struct ours {
	struct setup setup;
	struct peer_tally tally;
};

int ours_start(struct bench *bench, enum chi_wait_policy policy, struct ours *ret_ours);
void ours_stop(struct ours *ours);

int ours_roundtrip(void *arg);
/* @n messages: 64 outstanding, handed in again one by one as they end; or 64 at once, and again when all have ended */
int ours_pipeline(void *arg, uint32_t n);
int ours_bursts(void *arg, uint32_t n);
/* Waits for those of the pipeline. */
int ours_drain(struct ours *ours);

/* A runtime inside this process: its tasks start others, or this thread does. */
extern const struct bench_scheduler ours_by_task, ours_by_thread;

#endif
