/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ratios.c - the file of ratios that later measurements must not be worse than
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "ratios.h"
#include "samples.h"

#define RECORDS_MAX 1024u

struct record {
	char name[48], placement[8], reference[48], unit[16];
	double ratio, spread;
	/* of this program's own results, until they are saved */
	double put[BENCH_RECORD_PASSES];
	unsigned n_put;
};

struct bench_ratios {
	unsigned n;
	struct record records[RECORDS_MAX];
};

static struct record *find(const struct bench_ratios *ratios, const char *name, const char *placement)
{
	for (unsigned i = 0; i < ratios->n; i++)
		if (!strcmp(ratios->records[i].name, name) && !strcmp(ratios->records[i].placement, placement))
			return (struct record *)&ratios->records[i];
	return NULL;
}

/* ---- the file ---- */

static bool parse(const char *line, struct record *ret_record)
{
	struct record *r = ret_record;
	char rest;

	*r = (struct record){ 0 };
	return sscanf(line, "%47s %7s %47s %15s %lf %lf %c", r->name, r->placement, r->reference, r->unit, &r->ratio,
		      &r->spread, &rest) == 6 &&
	       r->ratio > 0 && isfinite(r->ratio) && r->spread >= 0 && isfinite(r->spread) &&
	       (!strcmp(r->placement, "near") || !strcmp(r->placement, "far"));
}

static int read_lines(FILE *file, const char *path, struct bench_ratios *ratios)
{
	unsigned n_line = 0;
	char line[256];

	while (fgets(line, sizeof(line), file)) {
		n_line++;
		if (*line == '#' || *line == '\n')
			continue;
		if (ratios->n == RECORDS_MAX || !parse(line, &ratios->records[ratios->n])) {
			fprintf(stderr,
				"chimaera-bench: %s:%u: not a case, its placement, reference, unit, ratio and spread\n",
				path, n_line);
			return -EINVAL;
		}
		ratios->n++;
	}
	return 0;
}

int bench_ratios_load(const char *path, bool may_be_new, struct bench_ratios **ret_ratios)
{
	struct bench_ratios *ratios = calloc(1, sizeof(*ratios));
	FILE *file = fopen(path, "re");
	int rc = 0;

	if (!ratios)
		rc = -ENOMEM;
	else if (!file && !(may_be_new && errno == ENOENT))
		rc = -errno;
	if (rc)
		fprintf(stderr, "chimaera-bench: %s: %s\n", path, strerror(-rc));
	else if (file)
		rc = read_lines(file, path, ratios);
	if (file)
		fclose(file);
	if (rc)
		free(ratios);
	else
		*ret_ratios = ratios;
	return rc;
}

void bench_ratios_free(struct bench_ratios *ratios)
{
	free(ratios);
}

/* ---- comparing ---- */

enum bench_verdict bench_ratios_check(const struct bench_ratios *ratios, const char *name,
				      const struct bench_result *result, char *ret_text, size_t text_max)
{
	const char *placement = bench_placement_name(result->pingpong_ns);
	const struct record *record;
	double allowed;
	bool worse;

	if (!(result->ratio > 0))
		return BENCH_HOLDS;
	record = find(ratios, name, placement);
	if (!record || strcmp(record->reference, result->reference) || strcmp(record->unit, result->unit)) {
		snprintf(ret_text, text_max, "no record: %s %s, %.4g to %s", name, placement, result->ratio,
			 result->reference);
		return BENCH_NO_RECORD;
	}
	allowed = 1 + fmax(record->spread, BENCH_SPREAD_MIN);
	worse = bench_is_rate(result->unit) ? result->ratio * allowed < record->ratio
					    : result->ratio > record->ratio * allowed;
	snprintf(ret_text, text_max, "%s: %s %s, %.4g to %s, recorded %.4g with a spread of %.0f%%",
		 worse ? "worse" : "holds", name, placement, result->ratio, result->reference, record->ratio,
		 record->spread * 100);
	return worse ? BENCH_WORSE : BENCH_HOLDS;
}

/* ---- recording ---- */

int bench_ratios_put(struct bench_ratios *ratios, const char *name, const struct bench_result *result)
{
	const char *placement = bench_placement_name(result->pingpong_ns);
	struct record *record = find(ratios, name, placement);

	if (!(result->ratio > 0))
		return 0;
	if (!record) {
		if (ratios->n == RECORDS_MAX)
			return -ENOSPC;
		record = &ratios->records[ratios->n++];
	}
	if (!record->n_put) {
		*record = (struct record){ .spread = 0 };
		snprintf(record->name, sizeof(record->name), "%s", name);
		snprintf(record->placement, sizeof(record->placement), "%s", placement);
		snprintf(record->reference, sizeof(record->reference), "%s", result->reference);
		snprintf(record->unit, sizeof(record->unit), "%s", result->unit);
	}
	if (record->n_put < BENCH_RECORD_PASSES)
		record->put[record->n_put++] = result->ratio;
	record->spread = fmax(record->spread, result->spread);
	return 0;
}

/* The median of what was put, and the wider of how far these and their rounds lie apart. */
static void fold(struct record *record)
{
	unsigned n = record->n_put;

	if (!n)
		return;
	bench_sort(record->put, n);
	record->ratio = bench_quantile(record->put, n, 0.5);
	record->spread = fmax(record->spread, (record->put[n - 1] - record->put[0]) / record->ratio);
	record->n_put = 0;
}

static int compare_records(const void *a, const void *b)
{
	const struct record *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : strcmp(y->placement, x->placement); /* near before far */
}

int bench_ratios_save(struct bench_ratios *ratios, const char *path)
{
	FILE *file = fopen(path, "we");
	int rc = file ? 0 : -errno;

	for (unsigned i = 0; i < ratios->n; i++)
		fold(&ratios->records[i]);
	qsort(ratios->records, ratios->n, sizeof(ratios->records[0]), compare_records);
	if (file)
		fprintf(file, "# Made by ./dev bench --record; ./dev bench --check compares with it.\n"
			      "# case, placement, reference, unit, ratio, spread\n");
	for (unsigned i = 0; file && i < ratios->n; i++) {
		const struct record *r = &ratios->records[i];

		fprintf(file, "%s %s %s %s %.4g %.3f\n", r->name, r->placement, r->reference, r->unit, r->ratio,
			r->spread);
	}
	if (file && fclose(file))
		rc = -errno;
	if (rc)
		fprintf(stderr, "chimaera-bench: %s: %s\n", path, strerror(-rc));
	return rc;
}
