/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * output.h - a result, as a row for people or as a line of JSON
 */
#ifndef BENCH_OUTPUT_H
#define BENCH_OUTPUT_H

#include "bench.h"

void bench_print_header(void);
void bench_print_row(const char *name, const struct bench_result *result);
void bench_print_json(const char *name, const struct bench_result *result, const struct bench *bench, const char *cpu);

/* 1234567.8 -> "1.235 M": four digits are more than such figures are worth */
const char *bench_human(double value, char text[16]);

/* "near", "far", or "" when it was not looked at */
const char *bench_placement_name(double pingpong_ns);

#endif
