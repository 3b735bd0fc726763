/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * victims.c - the driver's side of the processes that are to die
 */
#include "victims.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define EARLY_PERCENT	8u
#define EARLY_NS	(6 * HSHM_NSEC_PER_MSEC)  /* from birth */
#define FLOW_NS		(40 * HSHM_NSEC_PER_MSEC) /* from the first answer */
#define STOP_PERCENT	20u
#define STOPPED_NS	(30 * HSHM_NSEC_PER_MSEC)
#define FIRST_ANSWER_NS (20 * HSHM_NSEC_PER_SEC)

static void draw_plan(struct victim *victim, struct victim_plan *plan, uint32_t slot)
{
	struct rng *rng = &victim->rng;

	*plan = (struct victim_plan){
		.seed = rng_next(rng),
		.slot = slot,
		.n_threads = 1 + (uint32_t)rng_below(rng, VICTIM_THREADS_MAX),
		/* seldom one that spins: on a small machine it takes what the others need */
		.wait_policy = rng_below(rng, 8) == 0 ? 2 : 1 + 2 * (uint32_t)rng_below(rng, 2),
		.rounds = 1 + (uint32_t)rng_below(rng, 60),
	};
	victim->early = rng_below(rng, 100) < EARLY_PERCENT;
	victim->kill_ns = victim->early ? victim->born_ns + rng_below(rng, EARLY_NS) : 0;
}

static int be_born(struct victims *all, uint32_t i, uint64_t seed)
{
	struct victim *victim = &all->victims[i];
	struct victim_slot *slot = &all->stage->victims[i];

	*victim = (struct victim){ .rng = { seed ^ (++all->n_born * UINT64_C(0xd1342543de82ef95)) },
				   .born_ns = hshm_clock_ns() };
	memset(slot, 0, sizeof(*slot));
	draw_plan(victim, &slot->plan, i);
	enter_phase(&slot->threads[VICTIM_THREADS_MAX], PHASE_STARTING);
	victim->pid = fork();
	if (victim->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(all->service->victim(all->stage, slot));
	}
	if (victim->pid > 0)
		return 0;
	victim->pid = 0; /* none: -1 would be everybody to kill() */
	return -1;
}

int victims_fill(struct victims *all, uint64_t seed)
{
	for (uint32_t i = 0; i < all->n; i++) {
		if (all->victims[i].pid <= 0 && be_born(all, i, seed) < 0)
			return -1;
	}
	return 0;
}

/* ---- death ---- */

static uint64_t in_flight(const struct victim_slot *slot)
{
	uint64_t n = 0;

	/* relaxed, both: the process has ended */
	for (uint32_t i = 0; i < VICTIM_THREADS_MAX; i++) {
		uint64_t submitted = hshm_load_relaxed(&slot->threads[i].n_submitted);
		uint64_t done = hshm_load_relaxed(&slot->threads[i].n_done);

		/* what ended before its submit was counted */
		n += submitted > done ? submitted - done : 0;
	}
	return n;
}

static void count_death(const struct victim *victim, const struct victim_slot *slot, struct campaign_result *result)
{
	static const uint64_t steps[] = { 1, 8, 64, 512 };
	uint64_t n = in_flight(slot), right = hshm_load_relaxed(&slot->n_right);
	uint32_t step = 0;

	while (step < sizeof(steps) / sizeof(steps[0]) && n >= steps[step])
		step++;
	result->n_kills++;
	result->in_flight[step]++;
	result->n_in_flight += n > 0;
	for (uint32_t i = 0; i <= VICTIM_THREADS_MAX; i++) {
		uint32_t phase = hshm_load_relaxed(&slot->threads[i].phase);

		if (phase < PHASES)
			result->threads[phase]++;
	}
	result->n_stops += victim->was_stopped;
	result->n_killed_stopped += victim->stopped;
	result->n_continued += victim->was_stopped && !victim->stopped && right > victim->right_at_cont;
	result->victims_right += right;
	result->victims_wrong += hshm_load_relaxed(&slot->n_wrong);
}

static int end_victim(struct victims *all, uint32_t i, struct campaign_result *result)
{
	struct victim *victim = &all->victims[i];
	const struct victim_slot *slot = &all->stage->victims[i];
	int status = 0;

	kill(victim->pid, SIGKILL);
	while (waitpid(victim->pid, &status, 0) < 0 && errno == EINTR)
		;
	victim->pid = 0;
	count_death(victim, slot, result);
	if (hshm_load_relaxed(&slot->n_wrong))
		return violated(result, "a victim, while it lived", slot->text);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return 0;
	if (WIFSIGNALED(status))
		return violated(result, "a victim got another signal", strsignal(WTERMSIG(status)));
	return violated(result, "a victim ended by itself", slot->text);
}

/* ---- life ---- */

static void draw_death(struct victim *victim, uint64_t now_ns)
{
	struct rng *rng = &victim->rng;

	victim->kill_ns = now_ns + rng_below(rng, FLOW_NS);
	if (rng_below(rng, 100) >= STOP_PERCENT)
		return;
	victim->stop_ns = now_ns + rng_below(rng, FLOW_NS / 2);
	victim->cont_ns = victim->stop_ns + 1 + rng_below(rng, STOPPED_NS);
	/* half of them live on for a while */
	victim->kill_ns = rng_below(rng, 2) ? victim->cont_ns + rng_below(rng, FLOW_NS)
					    : victim->stop_ns + rng_below(rng, STOPPED_NS);
}

static void stop_or_continue(struct victim *victim, const struct victim_slot *slot, uint64_t now_ns)
{
	if (victim->stop_ns && now_ns >= victim->stop_ns) {
		kill(victim->pid, SIGSTOP);
		victim->stop_ns = 0;
		victim->stopped = victim->was_stopped = true;
	} else if (victim->stopped && now_ns >= victim->cont_ns) {
		victim->right_at_cont = hshm_load_relaxed(&slot->n_right);
		kill(victim->pid, SIGCONT);
		victim->stopped = false;
	}
}

static int step(struct victims *all, uint32_t i, uint64_t now_ns, bool may_kill, struct campaign_result *result)
{
	struct victim *victim = &all->victims[i];
	const struct victim_slot *slot = &all->stage->victims[i];

	if (victim->pid <= 0)
		return 0;
	if (has_ended(victim->pid))
		return end_victim(all, i, result);
	if (!may_kill)
		return 0;
	if (!victim->kill_ns && hshm_load_relaxed(&slot->flows))
		draw_death(victim, now_ns);
	if (!victim->kill_ns && now_ns - victim->born_ns > FIRST_ANSWER_NS)
		return violated(result, "a victim", "it has no answer yet");
	if (victim->kill_ns && now_ns >= victim->kill_ns)
		return end_victim(all, i, result);
	stop_or_continue(victim, slot, now_ns);
	return 0;
}

int victims_step(struct victims *all, uint64_t now_ns, bool may_kill, struct campaign_result *result)
{
	for (uint32_t i = 0; i < all->n; i++) {
		if (step(all, i, now_ns, may_kill, result) < 0)
			return -1;
	}
	return 0;
}

int victims_end(struct victims *all, struct campaign_result *result)
{
	int ret = 0;

	for (uint32_t i = 0; i < all->n; i++) {
		if (all->victims[i].pid > 0 && end_victim(all, i, result) < 0)
			ret = -1;
	}
	return ret;
}
