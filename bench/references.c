/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * references.c - the table of references: what others are measured against, and cases themselves
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "references.h"

static const struct bench_reference *const references[] = {
	&bench_ref_pingpong,
	&bench_ref_pingpong_threads,
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
	{ NULL, NULL, NULL },
};
