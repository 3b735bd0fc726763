/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * references.c - the table of references: what others are measured against, and cases themselves
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "references.h"

static const struct bench_reference *const references[] = {
	&bench_ref_pingpong,  &bench_ref_pingpong_threads, &bench_ref_poll,  &bench_ref_ring,
	&bench_ref_ring_done, &bench_ref_eventfd,	   &bench_ref_epoll, &bench_ref_futex,
	&bench_ref_fcontext,
};

#define N_REFERENCES (sizeof(references) / sizeof(references[0]))

static const struct bench_reference *find(const char *name)
{
	for (size_t i = 0; i < N_REFERENCES; i++)
		if (!strcmp(references[i]->name, name))
			return references[i];
	return NULL;
}

static int start(struct bench *bench, const struct bench_reference *reference, struct bench_side *ret_side)
{
	int rc;

	*ret_side = (struct bench_side){ .name = reference->name, .unit = reference->unit, .slice = reference->slice };
	rc = reference->start(bench, &ret_side->arg);
	if (rc)
		fprintf(stderr, "chimaera-bench: the reference %s: %s\n", reference->name, strerror(-rc));
	return rc;
}

int bench_measure_against(struct bench *bench, const struct bench_side *side, const char *name,
			  struct bench_result *ret_result)
{
	const struct bench_reference *reference = find(name);
	struct bench_side other;
	int rc;

	if (!reference) {
		fprintf(stderr, "chimaera-bench: no reference is called '%s'\n", name);
		return -EINVAL;
	}
	rc = start(bench, reference, &other);
	if (rc)
		return rc;
	other.pause_ns = side->pause_ns;
	rc = bench_measure_pair(bench, side, &other, ret_result);
	reference->stop(other.arg);
	return rc;
}

/* ---- as cases ---- */

static int reference_case(struct bench *bench, struct bench_result *ret_result)
{
	const struct bench_reference *reference = find(bench->current->name);
	struct bench_side side;
	int rc = start(bench, reference, &side);

	if (rc)
		return rc;
	ret_result->unit = reference->unit;
	rc = bench_measure_against(bench, &side, "pingpong", ret_result);
	reference->stop(side.arg);
	return rc;
}

const struct bench_case bench_references_cases[] = {
	{ "pingpong", "bare round trip through two cache lines between two processes", reference_case },
	{ "pingpong-threads", "the same between two threads", reference_case },
	{ "poll-10us", "the same, we sleep for 10 us between looks: the default way to wait, bare", reference_case },
	{ "ring", "references through a hipc_mpsc_queue of 64 slots between two processes, nothing else",
	  reference_case },
	{ "ring-done", "the same with a word back for each, 64 outstanding", reference_case },
	{ "eventfd", "round trip of two processes asleep in read() of an eventfd", reference_case },
	{ "epoll-eventfd", "the same, asleep in epoll_wait()", reference_case },
	{ "futex", "the same, asleep on a futex", reference_case },
	{ "fcontext", "a switch between two contexts of boost.context", reference_case },
	{ NULL, NULL, NULL },
};
