/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report.c - tables and plots from what chimaera-bench --json has written: the same from the same, whenever it runs
 *
 * usage: bench_report DOCS FILE...; by way of ./dev bench --report. Writes DOCS/performance/GROUP-*.svg by gnuplot, and what stands
 * between the two marks in DOCS/PERFORMANCE.md. Of two results of a case with the same placement the later one counts.
 */
#include <errno.h>
#include <json-c/json_object.h>
#include <json-c/json_tokener.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report.h"

#define MARK_BEGIN "<!-- figures: ./dev bench --report writes all up to the next mark -->\n"
#define MARK_END   "<!-- end of the figures -->\n"

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "bench_report: %s: %s\n", what, why);
	return 1;
}

/* ---- results ---- */

static void text_of(struct json_object *object, const char *key, char *ret_text, size_t text_max)
{
	struct json_object *value = json_object_object_get(object, key);

	snprintf(ret_text, text_max, "%s", value ? json_object_get_string(value) : "");
}

static double number_of(struct json_object *object, const char *key)
{
	return json_object_get_double(json_object_object_get(object, key));
}

static void row_read(struct json_object *object, struct row *ret_row)
{
	struct row *row = ret_row;

	text_of(object, "bench", row->name, sizeof(row->name));
	text_of(object, "group", row->group, sizeof(row->group));
	text_of(object, "unit", row->unit, sizeof(row->unit));
	text_of(object, "reference", row->reference, sizeof(row->reference));
	text_of(object, "placement", row->placement, sizeof(row->placement));
	text_of(object, "commit", row->commit, sizeof(row->commit));
	text_of(object, "cpu", row->cpu, sizeof(row->cpu));
	row->p50 = number_of(object, "p50");
	row->p99 = number_of(object, "p99");
	row->p999 = number_of(object, "p99.9");
	row->max = number_of(object, "max");
	row->ratio = number_of(object, "ratio");
	row->spread = number_of(object, "spread");
	row->pingpong = number_of(object, "pingpong");
	row->kept = (unsigned)number_of(object, "kept");
	row->discarded = (unsigned)number_of(object, "discarded");
	if (!*row->group)
		snprintf(row->group, sizeof(row->group), "others");
}

/* In place of an earlier one of the same case and placement, or at the end. */
static int report_add(struct report *report, const struct row *row)
{
	unsigned i = 0;

	while (i < report->n &&
	       (strcmp(report->rows[i].name, row->name) || strcmp(report->rows[i].placement, row->placement)))
		i++;
	if (i == ROWS_MAX)
		return complain(row->name, "too many results");
	report->rows[i] = *row;
	report->n += i == report->n;
	return 0;
}

static int report_read(struct report *report, const char *path)
{
	FILE *file = fopen(path, "re");
	char line[4096];
	int rc = 0;

	if (!file)
		return complain(path, strerror(errno));
	while (!rc && fgets(line, sizeof(line), file)) {
		struct json_object *object = json_tokener_parse(line);
		struct row row = { 0 };

		if (!json_object_is_type(object, json_type_object)) {
			rc = complain(path, "not what chimaera-bench --json writes");
		} else {
			row_read(object, &row);
			rc = report_add(report, &row);
		}
		json_object_put(object);
	}
	fclose(file);
	return rc;
}

bool row_is_rate(const struct row *row)
{
	size_t n = strlen(row->unit);

	return n >= 2 && !strcmp(row->unit + n - 2, "/s");
}

/* ---- tables ---- */

/* 12345 ns -> "12.3 us", 5.38e6 tasks/s -> "5.38 M/s": three digits */
static const char *human(const struct row *row, double value, char text[32])
{
	static const char *const times[] = { "ns", "µs", "ms", "s" };
	static const char *const rates[] = { "/s", " k/s", " M/s", " G/s" };
	static const char *const sizes[] = { "B", "kB", "MB", "GB" };
	bool is_time = !strcmp(row->unit, "ns"), is_size = !strcmp(row->unit, "bytes");
	unsigned i = 0;
	int n_digits;

	if (!(value > 0))
		return strcpy(text, "");
	while (value >= 999.5 && i < 3) {
		value /= 1000;
		i++;
	}
	n_digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
	snprintf(text, 32, "%.*f%s%s", n_digits, value, is_time || is_size ? " " : "",
		 is_time	    ? times[i]
		 : is_size	    ? sizes[i]
		 : row_is_rate(row) ? rates[i]
				    : row->unit);
	return text;
}

static void print_row(FILE *page, const struct row *row)
{
	char p50[32], p99[32], p999[32], ratio[96] = "", placement[48] = "";
	bool is_one = row->p99 == row->p50 && row->p999 == row->p50; /* measured once */

	if (row->ratio > 0)
		snprintf(ratio, sizeof(ratio), "%.*f %s (%.0f %%)",
			 row->ratio < 1	    ? 3
			 : row->ratio < 10  ? 2
			 : row->ratio < 100 ? 1
					    : 0,
			 row->ratio, row->reference, row->spread * 100);
	if (*row->placement)
		snprintf(placement, sizeof(placement), "%s, %.0f ns", row->placement, row->pingpong);
	fprintf(page, "| `%s` | %s | %s | %s | %s | %s | %u", row->name, human(row, row->p50, p50),
		human(row, is_one ? 0 : row->p99, p99), human(row, is_one ? 0 : row->p999, p999), ratio, placement,
		row->kept);
	fprintf(page, row->discarded ? " of %u |\n" : " |\n", row->kept + row->discarded);
}

static bool is_first_of_group(const struct report *report, unsigned i)
{
	for (unsigned before = 0; before < i; before++)
		if (!strcmp(report->rows[before].group, report->rows[i].group))
			return false;
	return true;
}

static int print_group(const struct report *report, const char *group, FILE *page)
{
	fprintf(page, "\n### %s\n\n| case | p50 | p99 | p99.9 | ratio to (spread) | placement, ping-pong | rounds |\n",
		group);
	fprintf(page, "|---|---|---|---|---|---|---|\n");
	for (unsigned i = 0; i < report->n; i++)
		if (!strcmp(report->rows[i].group, group))
			print_row(page, &report->rows[i]);
	return plot_group(report, group, page);
}

static int print_figures(const struct report *report, FILE *page)
{
	int rc = 0;

	fprintf(page,
		"\n%s, commit %s. A ratio is how many times its reference a latency or rate is; for a rate, which has p99 at "
		"its low end, against\na latency: how many in the time of one.\n",
		report->rows[0].cpu, report->rows[0].commit);
	for (unsigned i = 0; i < report->n && !rc; i++)
		if (is_first_of_group(report, i))
			rc = print_group(report, report->rows[i].group, page);
	fputc('\n', page);
	return rc;
}

/* ---- the page ---- */

static char *read_whole(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t n = 0;

	if (!file)
		return NULL;
	if (getdelim(&text, &n, '\0', file) < 0) {
		free(text);
		text = NULL;
	}
	fclose(file);
	return text;
}

static int write_page(const struct report *report, const char *path, const char *old)
{
	const char *begin = strstr(old, MARK_BEGIN), *end = begin ? strstr(begin, MARK_END) : NULL;
	FILE *page;
	int rc;

	if (!end)
		return complain(path, "the two marks are not in it");
	page = fopen(path, "we");
	if (!page)
		return complain(path, strerror(errno));
	fwrite(old, 1, (size_t)(begin - old) + strlen(MARK_BEGIN), page);
	rc = print_figures(report, page);
	fputs(end, page);
	return fclose(page) ? complain(path, strerror(errno)) : rc;
}

int main(int argc, char **argv)
{
	static struct report report;
	char path[4096], *old;
	int rc = 0;

	if (argc < 3)
		return complain("usage", "bench_report DOCS FILE...");
	report.docs = argv[1];
	for (int i = 2; i < argc && !rc; i++)
		rc = report_read(&report, argv[i]);
	if (rc)
		return rc;
	if (!report.n)
		return complain(argv[2], "no results");
	snprintf(path, sizeof(path), "%s/performance", report.docs);
	if (mkdir(path, 0777) && errno != EEXIST)
		return complain(path, strerror(errno));
	snprintf(path, sizeof(path), "%s/PERFORMANCE.md", report.docs);
	old = read_whole(path);
	rc = old ? write_page(&report, path, old) : complain(path, strerror(errno));
	free(old);
	return rc;
}
