/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report.h - results that chimaera-bench --json has written, to be told as tables and plots
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#define ROWS_MAX 1024u

/* What was null is 0, or "". */
struct row {
	char name[48], group[32], unit[16], reference[48], placement[8], commit[48], cpu[64];
	double p50, p99, p999, max, ratio, spread, pingpong;
	unsigned kept, discarded;
};

struct report {
	const char *docs; /* its folder */
	unsigned n;
	struct row rows[ROWS_MAX];
};

bool row_is_rate(const struct row *row);

/* Plots of the rows of a group, into docs/performance; @page gets a line for each, in Markdown. 0, or 1 after telling why. */
int plot_group(const struct report *report, const char *group, FILE *page);

#endif
