/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pipeline.h - all tasks of a setup outstanding: wait for the oldest, hand it in again
 */
#ifndef BENCH_PIPELINE_H
#define BENCH_PIPELINE_H

#include "setup.h"

/* All return 0, or what a task failed with, or a wait for it. */
int pipeline_fill(struct setup *setup);
/* Hand in @n more, as others end; @arg: the setup. */
int pipeline_run(void *arg, uint32_t n);
int pipeline_drain(struct setup *setup);

#endif
