/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * campaign.c - start the service, let steady clients work, kill victims, measure before and after
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "victims.h"

#define STEP_NS	     (500 * HSHM_NSEC_PER_USEC)
#define PROGRESS_NS  (250 * HSHM_NSEC_PER_MSEC)
#define MORE_VICTIMS 3u
#define STALL_NS     (8 * HSHM_NSEC_PER_SEC)  /* a steady client without an answer for so long: wedged */
#define ORDER_NS     (30 * HSHM_NSEC_PER_SEC) /* for steady clients to follow one, for a new one to be served */

struct campaign {
	const struct service *service;
	const struct campaign_opts *opts;
	struct campaign_result *result;
	struct stage *stage;
	struct victims victims;
	pid_t steady[STEADY_MAX];
	uint64_t progress_ns;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	interrupted = signal;
}

static void sleep_ns(uint64_t ns)
{
	nanosleep(&(struct timespec){ .tv_nsec = (long)ns }, NULL);
}

int violated(struct campaign_result *result, const char *what, const char *text)
{
	if (!result->violation[0])
		snprintf(result->violation, sizeof(result->violation), "%s: %s", what, text);
	return -1;
}

bool has_ended(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

/* ---- steady clients ---- */

static int start_steady(struct campaign *campaign)
{
	for (uint32_t i = 0; i < campaign->opts->n_steady; i++) {
		hshm_store_relaxed(&campaign->stage->steady[i].last_ns, hshm_clock_ns()); /* relaxed: forked below */
		campaign->steady[i] = fork();
		if (campaign->steady[i] < 0)
			return -1;
		if (campaign->steady[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(campaign->service->steady(campaign->stage, i));
		}
	}
	return 0;
}

/* They answer for the service: each works, has found nothing wrong, and had an answer lately. */
static int look_at_steady(struct campaign *campaign, bool at_progress)
{
	for (uint32_t i = 0; i < campaign->opts->n_steady; i++) {
		const struct steady_slot *slot = &campaign->stage->steady[i];
		uint64_t last_ns = hshm_load_relaxed(&slot->last_ns), now_ns = hshm_clock_ns();

		if (hshm_load_relaxed(&slot->n_wrong) || hshm_load_relaxed(&slot->n_lost))
			return violated(campaign->result, "a steady client", slot->text);
		if (has_ended(campaign->steady[i]))
			return violated(campaign->result, "a steady client", "it ended");
		if (at_progress && now_ns > last_ns && now_ns - last_ns > STALL_NS) {
			campaign->result->wedged = true;
			return violated(campaign->result, "wedged", "a steady client has no answer any more");
		}
	}
	if (!campaign->service->alive())
		return violated(campaign->result, campaign->service->name, "it ended");
	return interrupted ? violated(campaign->result, "interrupted", strsignal(interrupted)) : 0;
}

static int order_steady(struct campaign *campaign, enum order order)
{
	uint64_t end_ns = hshm_deadline_ns(ORDER_NS);

	/* release: pairs with the acquire in steady_goes_on() */
	hshm_store_release(&campaign->stage->order, order);
	for (uint32_t i = 0; i < campaign->opts->n_steady; i++) {
		/* acquire: pairs with the release there */
		while (hshm_load_acquire(&campaign->stage->steady[i].has) != order) {
			if (look_at_steady(campaign, false) < 0)
				return -1;
			if (hshm_clock_ns() > end_ns) {
				campaign->result->wedged = true;
				return violated(campaign->result, "a steady client", "it does not settle");
			}
			sleep_ns(STEP_NS);
		}
	}
	return 0;
}

static uint64_t sum_right(const struct campaign *campaign)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < campaign->opts->n_steady; i++)
		n += hshm_load_relaxed(&campaign->stage->steady[i].n_right);
	return n;
}

/* The last order; or, when something is wrong, SIGKILL. */
static int end_steady(struct campaign *campaign)
{
	bool in_order = !campaign->result->violation[0];
	uint64_t end_ns = hshm_deadline_ns(ORDER_NS);
	int ret = 0;

	hshm_store_release(&campaign->stage->order, ORDER_STOP); /* release: as in order_steady() */
	for (uint32_t i = 0; i < campaign->opts->n_steady; i++) {
		int status = 0;

		if (campaign->steady[i] <= 0)
			continue;
		while (in_order && !has_ended(campaign->steady[i]) && hshm_clock_ns() < end_ns)
			sleep_ns(STEP_NS);
		kill(campaign->steady[i], SIGKILL);
		waitpid(campaign->steady[i], &status, 0);
		if (in_order && status != 0)
			ret = violated(campaign->result, "a steady client", "it did not end in order");
	}
	return ret;
}

/* ---- killing ---- */

static void show_progress(struct campaign *campaign, const char *what)
{
	const struct campaign_result *result = campaign->result;
	uint64_t now_ns = hshm_clock_ns();

	if (campaign->opts->json || !isatty(STDERR_FILENO) || now_ns - campaign->progress_ns < PROGRESS_NS)
		return;
	campaign->progress_ns = now_ns;
	fprintf(stderr, "\r%s, %s: %llu of %llu kills, %llu with tasks in flight, %llu answers checked \033[K",
		campaign->service->name, what, (unsigned long long)result->n_kills,
		(unsigned long long)campaign->opts->n_kills, (unsigned long long)result->n_in_flight,
		(unsigned long long)sum_right(campaign));
}

/* Victims live, and die if @n_kills is above what was reached; until @end_ns otherwise. */
static int let_live(struct campaign *campaign, uint64_t n_kills, uint64_t end_ns, const char *what)
{
	bool may_kill = n_kills > 0;

	while (may_kill ? campaign->result->n_kills < n_kills : hshm_clock_ns() < end_ns) {
		if (victims_fill(&campaign->victims, campaign->opts->seed) < 0)
			return violated(campaign->result, "fork", strerror(errno));
		if (victims_step(&campaign->victims, hshm_clock_ns(), may_kill, campaign->result) < 0 ||
		    look_at_steady(campaign, true) < 0)
			return -1;
		show_progress(campaign, what);
		sleep_ns(STEP_NS);
	}
	return 0;
}

/* ---- measuring ---- */

static int settle(struct campaign *campaign)
{
	uint64_t end_ns = hshm_deadline_ns(ORDER_NS);
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(campaign->service->settle());
	}
	if (pid < 0)
		return violated(campaign->result, "fork", strerror(errno));
	while (!has_ended(pid) && hshm_clock_ns() < end_ns)
		sleep_ns(STEP_NS);
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) < 0 || status != 0)
		return violated(campaign->result, "between two measures", "a new client is not served");
	return 0;
}

/* All is quiet: no victims, and steady clients that rest. */
static int measure(struct campaign *campaign, const struct measure *expected, struct measure *ret_measure)
{
	const struct service *service = campaign->service;
	struct measure ignored;

	if (!service->measure)
		return 0;
	if (order_steady(campaign, ORDER_PAUSE) < 0 || victims_end(&campaign->victims, campaign->result) < 0)
		return -1;
	/* first: what the dead have in flight may still put objects into the store */
	if (service->measure(campaign->opts->n_steady, NULL, &ignored) < 0 || settle(campaign) < 0 ||
	    service->measure(campaign->opts->n_steady, expected, ret_measure) < 0)
		return violated(campaign->result, "a measure", "the runtime does not become quiet");
	return order_steady(campaign, ORDER_RUN);
}

static void take_gaps(struct campaign *campaign, uint32_t set)
{
	uint64_t sum[GAP_BUCKETS] = { 0 }, n = 0, seen = 0;

	for (uint32_t i = 0; i < campaign->opts->n_steady; i++) {
		const struct gaps *gaps = &campaign->stage->steady[i].gaps[set];
		uint64_t max_ns = hshm_load_relaxed(&gaps->max_ns);

		uint64_t net_ns = hshm_load_relaxed(&gaps->net_max_ns);

		if (max_ns > campaign->result->gap_max_ns[set])
			campaign->result->gap_max_ns[set] = max_ns;
		if (net_ns > campaign->result->gap_net_ns[set])
			campaign->result->gap_net_ns[set] = net_ns;
		for (uint32_t k = 0; k < GAP_BUCKETS; k++) {
			sum[k] += hshm_load_relaxed(&gaps->n[k]);
			n += hshm_load_relaxed(&gaps->n[k]);
		}
	}
	for (uint32_t k = 0; k < GAP_BUCKETS && seen < n - n / 1000; k++) {
		seen += sum[k];
		campaign->result->gap_p999_ns[set] = gap_bucket_ns(k);
	}
}

static void take_counts(struct campaign *campaign)
{
	struct campaign_result *result = campaign->result;

	result->n_right = sum_right(campaign);
	for (uint32_t i = 0; i < campaign->opts->n_steady; i++) {
		result->n_wrong += hshm_load_relaxed(&campaign->stage->steady[i].n_wrong);
		result->n_lost += hshm_load_relaxed(&campaign->stage->steady[i].n_lost);
	}
	take_gaps(campaign, 0);
	take_gaps(campaign, 1);
}

/* ---- all of it ---- */

static int run(struct campaign *campaign)
{
	const struct campaign_opts *opts = campaign->opts;
	struct campaign_result *result = campaign->result;
	uint64_t begin_ns;

	if (start_steady(campaign) < 0)
		return violated(campaign->result, "fork", strerror(errno));
	if (measure(campaign, NULL, &result->first) < 0)
		return -1;
	if (let_live(campaign, 0, hshm_deadline_ns(opts->base_ns), "nobody dies yet") < 0)
		return -1;
	hshm_store_relaxed(&campaign->stage->gap_set, 1); /* relaxed: which statistics */
	begin_ns = hshm_clock_ns();
	/* more at once than later: what the runtime keeps for its busiest moment, it has then */
	campaign->victims.n = opts->n_victims + MORE_VICTIMS;
	if (let_live(campaign, opts->n_warm, 0, "warming up") < 0 ||
	    measure(campaign, &result->first, &result->before) < 0)
		return -1;
	campaign->victims.n = opts->n_victims;
	if (let_live(campaign, opts->n_kills, 0, "killing") < 0 ||
	    measure(campaign, &result->before, &result->after) < 0)
		return -1;
	result->elapsed_ns = hshm_clock_ns() - begin_ns;
	return 0;
}

static int make_stage(struct campaign *campaign)
{
	void *memory = mmap(NULL, sizeof(struct stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return -1;
	campaign->stage = memory;
	campaign->stage->seed = campaign->opts->seed;
	campaign->victims =
		(struct victims){ .service = campaign->service, .stage = memory, .n = campaign->opts->n_victims };
	return 0;
}

int campaign_run(const struct service *service, const struct campaign_opts *opts, struct campaign_result *result)
{
	struct campaign campaign = { .service = service, .opts = opts, .result = result };
	const struct sigaction action = { .sa_handler = on_signal };

	*result = (struct campaign_result){ .n_kills = 0 };
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (make_stage(&campaign) < 0 || service->start() < 0) {
		fprintf(stderr, "%s: it does not start\n", service->name);
		return -1;
	}
	(void)run(&campaign);
	(void)victims_end(&campaign.victims, result);
	(void)end_steady(&campaign);
	take_counts(&campaign);
	if (service->stop() < 0)
		violated(result, service->name, "it did not end in order");
	munmap(campaign.stage, sizeof(struct stage));
	if (!opts->json && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	return 0;
}
