/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * victims.h - the driver's side of the processes that are to die: born, stopped, continued, killed, looked at
 */
#ifndef CRASH_CLIENTS_VICTIMS_H
#define CRASH_CLIENTS_VICTIMS_H

#include "crash.h"

struct victim {
	pid_t pid; /* 0: none */
	struct rng rng;
	bool early; /* dies before it has had an answer, whether it is so far or not */
	bool stopped, was_stopped;
	uint64_t born_ns;
	uint64_t kill_ns;	   /* 0: when it flows */
	uint64_t stop_ns, cont_ns; /* 0: not */
	uint64_t right_at_cont;
};

struct victims {
	const struct service *service;
	struct stage *stage;
	uint32_t n;
	uint64_t n_born;
	struct victim victims[VICTIMS_MAX];
};

/* Where there is none, one is born. Returns 0, or -1: fork() failed. */
int victims_fill(struct victims *all, uint64_t seed);
/*
 * What is due at @now_ns is done, with @kill false all but the last step.
 * Returns 0, or -1 when a victim ended by itself or found something wrong: result->violation says what.
 */
int victims_step(struct victims *all, uint64_t now_ns, bool kill, struct campaign_result *result);
/* All of them, wherever they are. They count as well. Returns as victims_step(). */
int victims_end(struct victims *all, struct campaign_result *result);

#endif
