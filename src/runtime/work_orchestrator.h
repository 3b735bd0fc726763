/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work_orchestrator.h - makes the workers and schedules lanes onto them
 */
#ifndef RUNTIME_WORK_ORCHESTRATOR_H
#define RUNTIME_WORK_ORCHESTRATOR_H

#include <stdint.h>

#include "task/lane.h"

struct chi_config;
struct chi_runtime;
struct chi_work_orch;
struct chi_worker;

/* How many workers that configuration makes. */
uint32_t chi_work_orch_workers_for(const struct chi_config *config);
int chi_work_orch_create(struct chi_runtime *runtime, struct chi_work_orch **ret_orch);
int chi_work_orch_start(struct chi_work_orch *orch);
/* Ask all workers to end, and wait for their threads until @deadline_ns. Returns how many have not ended by then: they
 * are in a method that does not return, and their threads are left to themselves; the orchestrator may not be
 * destroyed. */
uint32_t chi_work_orch_stop(struct chi_work_orch *orch, uint64_t deadline_ns);
void chi_work_orch_destroy(struct chi_work_orch *orch);

uint32_t chi_work_orch_n_workers(const struct chi_work_orch *orch);
struct chi_worker *chi_work_orch_worker(struct chi_work_orch *orch, uint32_t worker_id);
/* [worker * CHI_PRIOS + prio] */
struct chi_active_queue *chi_work_orch_active_queues(struct chi_work_orch *orch);

/**
 * chi_work_orch_schedule_lane - assign a lane to a worker
 *
 * Each lane on its own, over the workers that serve its priority, by the policy configured (lanes.policy). The lane
 * stores the worker. A process lane's eventfd is added to the worker's epoll set.
 * Threads: any but inside a lane's turn. Returns 0, -ENOMEM, -ENOSPC (epoll limit).
 */
int chi_work_orch_schedule_lane(struct chi_work_orch *orch, struct chi_lane *lane);

/* Of the workers that take lanes of that kind, counted from 0: the first from @start on, round and round, that does not
 * hang; all of them do: that one. Returns its id. */
uint32_t chi_work_orch_next_awake(struct chi_work_orch *orch, uint32_t prio, uint32_t start);

/* Does the worker take lanes of that kind? False: it does not, or there is no such worker. */
bool chi_work_orch_serves(const struct chi_work_orch *orch, uint32_t worker_id, enum chi_prio prio);

/**
 * chi_work_orch_remap_lane - give a lane to another worker, while tasks flow
 * @lane: kept from its end meanwhile by the caller: he has the pool or session, or found the lane in its worker's list
 *        of lanes and holds that list's lock
 *
 * A request: the owner hands it over between two turns; of several requests the last counts. No task is lost, run
 * twice, or started before one that was enqueued earlier. The lane stays if the new worker cannot take it (logged).
 * Threads: any. Returns 0, -EINVAL (no such worker, or it does not serve the lane's latency kind).
 */
int chi_work_orch_remap_lane(struct chi_work_orch *orch, struct chi_lane *lane, uint32_t worker_id);

/* Have all workers end the periodic tasks that wait for their next start and have a reason to end: pool closing, client
 * gone, runtime stopping. Set the reason first. Any thread. */
void chi_work_orch_expire_periodic(struct chi_work_orch *orch);

/**
 * chi_work_orch_retire_lanes - take lanes out of every worker's reach, for good
 * @lanes: borrowed until @done ran
 * @done:  called once no worker knows the lanes: on a worker's thread, outside any fiber, or by who stands in for one
 *
 * First all workers pass a point outside any enqueue, then each drops the lanes from its active queues, run and hot
 * lists. Never fails: @retirement is the caller's memory, lent until @done.
 */
struct chi_retirement {
	struct chi_lane **lanes;
	uint32_t n_lanes;
	void (*done)(void *arg);
	void *arg;
	bool of_client; /* all of them are a client's: a worker that hangs in a method does not hold it up (R3) */
	/* private */
	struct chi_work_orch *orch;
	struct chi_retire_work *works; /* one for each worker, allocated by chi_work_orch_retire_prepare() */
	hshm_au32 n_left;
	int phase;
};
int chi_work_orch_retire_prepare(struct chi_work_orch *orch, struct chi_retirement *retirement);
void chi_work_orch_retire_lanes(struct chi_work_orch *orch, struct chi_retirement *retirement);
void chi_work_orch_retire_fini(struct chi_retirement *retirement);
/* May who stands in for the worker, which is in a method, do this part of a retirement? Only while standing in. */
bool chi_work_orch_may_retire_for(const struct chi_worker *worker, const struct chi_work *work);

#endif
