/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plots.c - plots of a group's results, by gnuplot
 *
 * Cases whose names differ in their last number (tasks-1, tasks-8 ...), three or more of them, are points of a line. The others
 * are bars, each beside its reference's; latencies and rates in a plot each.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

#define POINTS_MIN 3u
#define BARS_MIN   2u

/* ---- series ---- */

struct point {
	const struct row *row;
	char series[64]; /* the name with # for its last number, and the placement */
	double x;
	bool is_on_line;
};

/* "lanes-10k-one" -> "lanes-#-one", 10,000. k and m count where no letter follows: 20ms are 20. */
static void point_init(const struct row *row, struct point *ret_point)
{
	const char *end = row->name + strlen(row->name), *begin;
	double factor = 1;

	*ret_point = (struct point){ .row = row };
	while (end > row->name && !isdigit((unsigned char)end[-1]))
		end--;
	begin = end;
	while (begin > row->name && isdigit((unsigned char)begin[-1]))
		begin--;
	if (begin == end)
		return;
	ret_point->x = strtod(begin, NULL);
	if ((*end == 'k' || *end == 'm') && !isalpha((unsigned char)end[1]))
		factor = *end++ == 'k' ? 1e3 : 1e6;
	ret_point->x *= factor;
	snprintf(ret_point->series, sizeof(ret_point->series), "%.*s#%s %s", (int)(begin - row->name), row->name, end,
		 row->placement);
}

static unsigned collect(const struct report *report, const char *group, bool rates, struct point ret_points[ROWS_MAX])
{
	unsigned n = 0;

	for (unsigned i = 0; i < report->n; i++) {
		const struct row *row = &report->rows[i];

		if (!strcmp(row->group, group) && row->p50 > 0 && (rates ? row_is_rate(row) : !strcmp(row->unit, "ns")))
			point_init(row, &ret_points[n++]);
	}
	for (unsigned i = 0; i < n; i++) {
		unsigned n_alike = 0;

		for (unsigned j = 0; j < n; j++)
			n_alike += *ret_points[i].series && !strcmp(ret_points[i].series, ret_points[j].series);
		ret_points[i].is_on_line = n_alike >= POINTS_MIN;
	}
	return n;
}

/* ---- gnuplot ---- */

static FILE *plot_begin(const struct report *report, const char *group, const char *kind, const char *unit, FILE *page)
{
	FILE *plot = popen("gnuplot", "w");

	if (!plot) {
		fprintf(stderr, "bench_report: gnuplot: %s\n", strerror(errno));
		return NULL;
	}
	fprintf(plot, "set terminal svg size 900,420 font 'sans-serif,12' background 'white' name 'plot'\n");
	fprintf(plot, "set output '%s/performance/%s-%s.svg'\n", report->docs, group, kind);
	fprintf(plot, "set title '%s: %s'\nset ylabel '%s'\nset grid ytics\nset key left top\n", group, kind, unit);
	fprintf(page, "\n![%s: %s](performance/%s-%s.svg)\n", group, kind, group, kind);
	return plot;
}

static int plot_end(FILE *plot)
{
	if (!pclose(plot))
		return 0;
	fprintf(stderr, "bench_report: gnuplot failed (./dev deps plot)\n");
	return 1;
}

/* ---- bars ---- */

/* in the case's unit; 0: has none */
static double reference_of(const struct row *row)
{
	return row->ratio > 0 ? row->p50 / row->ratio : 0;
}

static int plot_bars(const struct report *report, const char *group, const char *kind, const struct point *points,
		     unsigned n, FILE *page)
{
	double low = INFINITY;
	unsigned n_bars = 0;
	FILE *plot;

	for (unsigned i = 0; i < n; i++) {
		double reference = reference_of(points[i].row);

		if (points[i].is_on_line)
			continue;
		n_bars++;
		low = fmin(low, points[i].row->p50);
		low = reference > 0 ? fmin(low, reference) : low;
	}
	if (n_bars < BARS_MIN)
		return 0;
	plot = plot_begin(report, group, kind, points[0].row->unit, page);
	if (!plot)
		return 1;
	fprintf(plot, "$bars << EOD\n");
	for (unsigned i = 0; i < n; i++) {
		const struct row *row = points[i].row;

		if (!points[i].is_on_line)
			fprintf(plot, "\"%s %s\" %g %g\n", row->name, row->placement, row->p50, reference_of(row));
	}
	fprintf(plot, "EOD\nset logscale y\nset format y '%%.0s%%c'\nset yrange [%g:*]\n", low / 2);
	fprintf(plot, "set style data histogram\nset style histogram clustered gap 1\nset style fill solid 0.8\n");
	fprintf(plot, "set xtics rotate by -35 noenhanced\n");
	fprintf(plot, "plot $bars using 2:xtic(1) title 'p50' linecolor rgb '#2060a0', "
		      "'' using 3 title 'its reference' linecolor rgb '#c0c0c0'\n");
	return plot_end(plot);
}

/* ---- lines ---- */

static bool is_first_of_series(const struct point *points, unsigned i)
{
	if (!points[i].is_on_line)
		return false;
	for (unsigned before = 0; before < i; before++)
		if (!strcmp(points[before].series, points[i].series))
			return false;
	return true;
}

static int plot_lines(const struct report *report, const char *group, const char *kind, const struct point *points,
		      unsigned n, FILE *page)
{
	bool is_first = true;
	char name[48];
	FILE *plot = NULL;

	for (unsigned i = 0; i < n; i++) {
		if (!is_first_of_series(points, i))
			continue;
		snprintf(name, sizeof(name), "%s-by-size", kind);
		plot = plot ? plot : plot_begin(report, group, name, points[0].row->unit, page);
		if (!plot)
			return 1;
		fprintf(plot, "$line%u << EOD\n", i);
		for (unsigned j = i; j < n; j++)
			if (!strcmp(points[j].series, points[i].series))
				fprintf(plot, "%g %g\n", points[j].x, points[j].row->p50);
		fprintf(plot, "EOD\n");
	}
	if (!plot)
		return 0;
	fprintf(plot,
		"set logscale x\nset format x '%%.0s%%c'\nset format y '%%.1s%%c'\nset yrange [0:*]\nset xlabel '#'\nplot");
	for (unsigned i = 0; i < n; i++) {
		if (!is_first_of_series(points, i))
			continue;
		fprintf(plot, "%s $line%u using 1:2 smooth unique with linespoints pointtype 7 title \"%s\" noenhanced",
			is_first ? "" : ",", i, points[i].series);
		is_first = false;
	}
	fputc('\n', plot);
	return plot_end(plot);
}

int plot_group(const struct report *report, const char *group, FILE *page)
{
	static struct point points[ROWS_MAX];
	int rc = 0;

	for (unsigned rates = 0; rates < 2 && !rc; rates++) {
		const char *kind = rates ? "rate" : "latency";
		unsigned n = collect(report, group, rates, points);

		rc = plot_bars(report, group, kind, points, n, page);
		if (!rc)
			rc = plot_lines(report, group, kind, points, n, page);
	}
	return rc;
}
