/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * throughput.h - for others that keep tasks outstanding
 */
#ifndef BENCH_THROUGHPUT_H
#define BENCH_THROUGHPUT_H

#include "setup.h"

/* A slice with all tasks of the setup outstanding all the time; @arg: the setup. */
int throughput_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples);

#endif
