/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - chimaera_crash_clients: kill clients at random moments, count what the others notice
 *
 * Run by ./dev crash and ctest through tests/support/run_case.sh, which gives the environment. How the processes are placed
 * in time is the system's affair: a seed draws the same victims with the same work, not the same instructions.
 */
#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "crash.h"

#define FULL_KILLS  10000u
#define SHORT_KILLS 30u	  /* for ctest */
#define MANY_KILLS  500u  /* from here on shares are judged */
#define NAIVE_KILLS 5000u /* by then it has wedged, or it never will */

struct opts {
	struct campaign_opts campaign;
	bool naive; /* only that */
	bool full;
};

enum { OPT_SEED = 256, OPT_KILLS, OPT_VICTIMS, OPT_STEADY, OPT_NAIVE, OPT_JSON, OPT_FULL };

static const struct argp_option options[] = {
	{ "seed", OPT_SEED, "N", 0, "draw victims and moments from N", 0 },
	{ "kills", OPT_KILLS, "N", 0, "end so many (30)", 0 },
	{ "victims", OPT_VICTIMS, "N", 0, "so many live at once (6)", 0 },
	{ "steady", OPT_STEADY, "N", 0, "so many clients check all answers (2)", 0 },
	{ "naive", OPT_NAIVE, NULL, 0, "only the control: the campaign against a naive ring, which has to fail", 0 },
	{ "full", OPT_FULL, NULL, 0, "10000 kills", 0 },
	{ "json", OPT_JSON, NULL, 0, "one object instead of the table", 0 },
	{ 0 },
};

static uint64_t number(struct argp_state *state, const char *text, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t value = strtoull(text, &end, 0);

	if (*text == '\0' || *end != '\0' || value < min || value > max)
		argp_error(state, "'%s' is no number from %" PRIu64 " to %" PRIu64, text, min, max);
	return value;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
	struct opts *opts = state->input;

	switch (key) {
	case OPT_SEED:
		opts->campaign.seed = number(state, value, 0, UINT64_MAX);
		return 0;
	case OPT_KILLS:
		opts->campaign.n_kills = number(state, value, 1, 100000000);
		return 0;
	case OPT_VICTIMS:
		opts->campaign.n_victims = (uint32_t)number(state, value, 1, VICTIMS_MAX / 2);
		return 0;
	case OPT_STEADY:
		opts->campaign.n_steady = (uint32_t)number(state, value, 1, STEADY_MAX);
		return 0;
	case OPT_NAIVE:
		opts->naive = true;
		return 0;
	case OPT_FULL:
		opts->full = true;
		return 0;
	case OPT_JSON:
		opts->campaign.json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Kill clients of a runtime at random moments and count what the others notice.\v"
	       "Exit codes: 0 all promises were kept, 1 one was not, 2 the campaign could not be run. With --naive: 1, when the "
	       "ring has wedged.",
};

static void set_sizes(struct opts *opts)
{
	struct campaign_opts *campaign = &opts->campaign;

	if (!campaign->n_kills)
		campaign->n_kills = opts->full ? FULL_KILLS : SHORT_KILLS;
	/* the heaps, stacks and tables of a runtime that has just begun still grow */
	campaign->n_warm = campaign->n_kills / 4;
	campaign->many = campaign->n_kills >= MANY_KILLS;
	campaign->base_ns = (opts->full ? 5000 : campaign->many ? 1000 : 200) * HSHM_NSEC_PER_MSEC;
}

static int run_naive(const struct opts *opts, struct campaign_result *result)
{
	struct campaign_opts campaign = opts->campaign;

	campaign.n_kills = NAIVE_KILLS;
	campaign.n_warm = 1;
	campaign.base_ns = 100 * HSHM_NSEC_PER_MSEC;
	return campaign_run(&naive_service, &campaign, result);
}

int main(int argc, char **argv)
{
	struct opts opts = { .campaign = { .n_victims = 6, .n_steady = 2 } };
	static struct campaign_result result, naive;

	if (getrandom(&opts.campaign.seed, sizeof(opts.campaign.seed), 0) < 0)
		opts.campaign.seed = hshm_clock_ns();
	opts.campaign.seed %= 1000000000;
	argp_parse(&argp, argc, argv, 0, NULL, &opts);
	set_sizes(&opts);
	fprintf(stderr,
		"Again: ./dev crash clients --seed %" PRIu64 " --kills %" PRIu64 " --victims %u --steady %u%s%s\n",
		opts.campaign.seed, opts.campaign.n_kills, opts.campaign.n_victims, opts.campaign.n_steady,
		opts.full ? " --full" : "", opts.naive ? " --naive" : "");
	if (!opts.naive && campaign_run(&runtime_service, &opts.campaign, &result) < 0)
		return 2;
	if (run_naive(&opts, &naive) < 0)
		return 2;
	if (opts.naive) {
		printf("the naive ring %s after %" PRIu64 " kills\n", naive.wedged ? "wedged" : "went on",
		       naive.n_kills);
		return naive.wedged;
	}
	return report(&opts.campaign, &result, &naive) ? 1 : 0;
}
