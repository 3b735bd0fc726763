/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ratios.h - the file of ratios that later measurements must not be worse than
 *
 * A line a case and placement: name, near or far, reference, unit, ratio, spread. What begins with # is a comment.
 */
#ifndef BENCH_RATIOS_H
#define BENCH_RATIOS_H

#include "bench.h"

/* How often --record measures each case: what matters is how far apart its runs lie. */
#define BENCH_RECORD_PASSES 3u
/* What a case may always be worse by: no run is as like another. */
#define BENCH_SPREAD_MIN 0.05

struct bench_ratios;

/* A file that is not there is empty, if @may_be_new. -EINVAL: a line that is none, told. */
int bench_ratios_load(const char *path, bool may_be_new, struct bench_ratios **ret_ratios);
/* Accepts NULL. */
void bench_ratios_free(struct bench_ratios *ratios);

enum bench_verdict { BENCH_HOLDS, BENCH_NO_RECORD, BENCH_WORSE };

/* @ret_text: why, in words */
enum bench_verdict bench_ratios_check(const struct bench_ratios *ratios, const char *name,
				      const struct bench_result *result, char *ret_text, size_t text_max);

/* In place of what the file said of this case and placement; several results of one are put together. */
int bench_ratios_put(struct bench_ratios *ratios, const char *name, const struct bench_result *result);
int bench_ratios_save(struct bench_ratios *ratios, const char *path);

#endif
