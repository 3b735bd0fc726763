/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report.c - the figures, and which promise was not kept
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash.h"
#include "support/commit.h"

#define IN_FLIGHT_PERCENT 80u
#define RSS_KIB_MAX	  1024u
#define RSS_KILLS	  5000u /* fewer, and the warm-up is too short for it */

static const char *const phase_names[PHASES] = { "",	    "starting", "connecting", "filling", "submitting",
						 "waiting", "reading",	"idle",	      "leaving" };
static const char *const in_flight_names[5] = { "0", "1..7", "8..63", "64..511", "512.." };

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static double kills_per_second(const struct campaign_result *result)
{
	return result->elapsed_ns ? (double)result->n_kills * 1e9 / (double)result->elapsed_ns : 0;
}

static uint64_t sum_threads(const struct campaign_result *result)
{
	uint64_t n = 0;

	for (uint32_t i = PHASE_NONE + 1; i < PHASES; i++)
		n += result->threads[i];
	return n;
}

/* ---- promises ---- */

static void promise(uint32_t *n_broken, bool kept, const char *what)
{
	if (kept)
		return;
	(*n_broken)++;
	fprintf(stderr, "NOT KEPT: %s\n", what);
}

static uint64_t sum_fds(const struct measure *measure)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < FD_KINDS; i++)
		n += measure->fds[i];
	return n;
}

/* RSS grows: heaps touch their memory for the first time. What was still being closed at the first look makes it the more. */
static bool holds_no_more(const struct measure *first, const struct measure *after)
{
	bool more = after->own_bytes > first->own_bytes || after->module_bytes > first->module_bytes ||
		    after->segments > first->segments;

	for (uint32_t i = 0; i < FD_KINDS; i++)
		more |= after->fds[i] > first->fds[i];
	return !more;
}

static uint32_t look(const struct campaign_opts *opts, const struct campaign_result *result,
		     const struct campaign_result *naive)
{
	uint32_t n_broken = 0;
	const struct measure *before = &result->before, *after = &result->after;
	uint64_t grown_kib = after->rss_kib > before->rss_kib ? after->rss_kib - before->rss_kib : 0;

	promise(&n_broken, !result->violation[0], result->violation);
	promise(&n_broken, result->n_right > 0 && !result->n_wrong && !result->n_lost,
		"living clients get right answers");
	promise(&n_broken, !result->victims_wrong, "victims get right answers while they live");
	promise(&n_broken, result->n_kills >= opts->n_kills, "all kills were made");
	promise(&n_broken, !opts->many || percent(result->n_in_flight, result->n_kills) >= IN_FLIGHT_PERCENT,
		"four of five kills hit a client with tasks that it had not seen end");
	promise(&n_broken, before->own_bytes == after->own_bytes, "the runtime's own bytes are back");
	promise(&n_broken, before->module_bytes == after->module_bytes, "the modules' bytes are back");
	promise(&n_broken, !after->in_flight, "no task is left in flight");
	promise(&n_broken, !memcmp(before->fds, after->fds, sizeof(before->fds)),
		"the descriptors of each kind are back");
	promise(&n_broken, before->segments == after->segments, "the segments are back");
	promise(&n_broken, holds_no_more(&result->first, after),
		"bytes, descriptors and segments are not above those before the first kill");
	promise(&n_broken, opts->n_kills < RSS_KILLS || grown_kib <= RSS_KIB_MAX, "RSS is back");
	promise(&n_broken, !naive || naive->wedged, "the campaign finds the naive ring's flaw");
	return n_broken;
}

/* ---- for people ---- */

static void row(const char *name, uint64_t first, uint64_t before, uint64_t after, bool judged)
{
	printf("  %-26s %14" PRIu64 " %14" PRIu64 " %14" PRIu64 "%s\n", name, first, before, after,
	       judged && before != after ? "  differs" : "");
}

static void print_measures(const struct campaign_result *result)
{
	const struct measure *first = &result->first, *before = &result->before, *after = &result->after;
	char name[64];

	printf("\n  %-26s %14s %14s %14s\n", "the runtime, when quiet", "no kill yet", "before", "after");
	row("accounted, own (bytes)", first->own_bytes, before->own_bytes, after->own_bytes, true);
	row("accounted, modules (bytes)", first->module_bytes, before->module_bytes, after->module_bytes, true);
	row("tasks in flight", first->in_flight, before->in_flight, after->in_flight, true);
	row("descriptors", sum_fds(first), sum_fds(before), sum_fds(after), true);
	for (uint32_t i = 0; i < FD_KINDS; i++) {
		snprintf(name, sizeof(name), "  %s", fd_kind_names[i]);
		row(name, first->fds[i], before->fds[i], after->fds[i], true);
	}
	row("clients' segments mapped", first->segments, before->segments, after->segments, true);
	row("RSS but for these (KiB)", first->rss_kib, before->rss_kib, after->rss_kib, false);
}

static void print_deaths(const struct campaign_result *result)
{
	printf("\n  threads of the killed, where they were\n");
	for (uint32_t i = PHASE_NONE + 1; i < PHASES; i++)
		printf("    %-12s %8" PRIu64 " %5.1f %%\n", phase_names[i], result->threads[i],
		       percent(result->threads[i], sum_threads(result)));
	printf("  tasks of the killed that they had not seen end\n");
	for (uint32_t i = 0; i < 5; i++)
		printf("    %-12s %8" PRIu64 " %5.1f %%\n", in_flight_names[i], result->in_flight[i],
		       percent(result->in_flight[i], result->n_kills));
}

static void print_naive(const struct campaign_result *naive)
{
	if (naive->wedged)
		printf("\n  control: the naive ring wedged after %" PRIu64 " kills\n", naive->n_kills);
	else
		printf("\n  control: the naive ring went on after %" PRIu64 " kills\n", naive->n_kills);
}

static void print_table(const struct campaign_opts *opts, const struct campaign_result *result,
			const struct campaign_result *naive)
{
	printf("clients killed: %" PRIu64 " in %.1f s, %.0f a second; seed %" PRIu64 ", commit %s\n", result->n_kills,
	       (double)result->elapsed_ns / 1e9, kills_per_second(result), opts->seed, commit_name());
	printf("  with tasks not seen to end         %5.1f %%\n", percent(result->n_in_flight, result->n_kills));
	printf("  stopped before                     %" PRIu64 "; %" PRIu64 " went on after SIGCONT, %" PRIu64
	       " were killed while stopped\n",
	       result->n_stops, result->n_continued, result->n_killed_stopped);
	printf("  answers checked by living clients  %" PRIu64 "; wrong %" PRIu64 ", lost %" PRIu64 "\n",
	       result->n_right, result->n_wrong, result->n_lost);
	printf("  and by victims while they lived    %" PRIu64 "; wrong %" PRIu64 "\n", result->victims_right,
	       result->victims_wrong);
	printf("  gap between two answers, living    p99.9 %.1f ms, longest %.1f ms; while nobody died %.1f, %.1f\n",
	       ms(result->gap_p999_ns[1]), ms(result->gap_max_ns[1]), ms(result->gap_p999_ns[0]),
	       ms(result->gap_max_ns[0]));
	printf("    less the waits for a processor   longest %.1f ms; while nobody died %.1f\n",
	       ms(result->gap_net_ns[1]), ms(result->gap_net_ns[0]));
	print_deaths(result);
	print_measures(result);
	if (naive)
		print_naive(naive);
}

/* ---- for programs ---- */

static void json_measure(const char *name, const struct measure *measure)
{
	printf(", \"%s\": {\"own_bytes\": %" PRIu64 ", \"module_bytes\": %" PRIu64 ", \"in_flight\": %" PRIu64
	       ", \"fds\": %" PRIu64 ", \"segments\": %" PRIu64 ", \"rss_kib\": %" PRIu64 "}",
	       name, measure->own_bytes, measure->module_bytes, measure->in_flight, sum_fds(measure), measure->segments,
	       measure->rss_kib);
}

static void print_json(const struct campaign_opts *opts, const struct campaign_result *result,
		       const struct campaign_result *naive, uint32_t n_broken)
{
	printf("{\"campaign\": \"clients\", \"commit\": \"%s\", \"seed\": %" PRIu64 ", \"kills\": %" PRIu64
	       ", \"seconds\": %.3f",
	       commit_name(), opts->seed, result->n_kills, (double)result->elapsed_ns / 1e9);
	printf(", \"kills_in_flight\": %" PRIu64 ", \"stopped\": %" PRIu64 ", \"continued\": %" PRIu64
	       ", \"killed_stopped\": %" PRIu64,
	       result->n_in_flight, result->n_stops, result->n_continued, result->n_killed_stopped);
	printf(", \"right\": %" PRIu64 ", \"wrong\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"victims_right\": %" PRIu64
	       ", \"victims_wrong\": %" PRIu64,
	       result->n_right, result->n_wrong, result->n_lost, result->victims_right, result->victims_wrong);
	printf(", \"gap_p999_ms\": %.3f, \"gap_max_ms\": %.3f, \"gap_p999_quiet_ms\": %.3f, \"gap_max_quiet_ms\": %.3f",
	       ms(result->gap_p999_ns[1]), ms(result->gap_max_ns[1]), ms(result->gap_p999_ns[0]),
	       ms(result->gap_max_ns[0]));
	printf(", \"gap_net_ms\": %.3f, \"gap_net_quiet_ms\": %.3f", ms(result->gap_net_ns[1]),
	       ms(result->gap_net_ns[0]));
	for (uint32_t i = PHASE_NONE + 1; i < PHASES; i++)
		printf("%s\"%s\": %" PRIu64, i == PHASE_NONE + 1 ? ", \"threads\": {" : ", ", phase_names[i],
		       result->threads[i]);
	printf("}");
	for (uint32_t i = 0; i < 5; i++)
		printf("%s\"%s\": %" PRIu64, i == 0 ? ", \"in_flight\": {" : ", ", in_flight_names[i],
		       result->in_flight[i]);
	printf("}");
	json_measure("first", &result->first);
	json_measure("before", &result->before);
	json_measure("after", &result->after);
	if (naive)
		printf(", \"naive_wedged\": %s, \"naive_kills\": %" PRIu64, naive->wedged ? "true" : "false",
		       naive->n_kills);
	printf(", \"broken\": %u}\n", n_broken);
}

int report(const struct campaign_opts *opts, const struct campaign_result *result, const struct campaign_result *naive)
{
	uint32_t n_broken;

	if (!opts->json)
		print_table(opts, result, naive);
	fflush(stdout);
	n_broken = look(opts, result, naive);
	if (opts->json)
		print_json(opts, result, naive, n_broken);
	return (int)n_broken;
}
