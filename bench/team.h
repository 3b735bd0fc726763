/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * team.h - several who hand in tasks at once: threads of one client, or processes that are a client each
 */
#ifndef BENCH_TEAM_H
#define BENCH_TEAM_H

#include <stdbool.h>

#include "setup.h"

struct team;

struct team_spec {
	uint32_t n_members;
	bool processes;		/* else threads, which use the setup's client */
	uint32_t n_outstanding; /* of each */
	uint32_t n_containers;	/* their tasks go to them in turn; 0: one */
};

/* Makes them, all on our CPU; they sleep between slices. Processes: call before there are threads. */
int team_start(struct setup *setup, const struct team_spec *spec, struct team **ret_team);
/* Accepts NULL. */
void team_stop(struct team *team);

/* The first @n_members keep their tasks outstanding for about so long: one sample, their rates together. */
int team_slice(struct team *team, uint32_t n_members, uint64_t slice_ns, struct bench_samples *samples);

#endif
