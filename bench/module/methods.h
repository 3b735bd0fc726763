/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * methods.h - the methods of the module, and what a container keeps
 */
#ifndef BENCH_METHODS_H
#define BENCH_METHODS_H

#include <chimaera/module.h>

#include "bench_module.h"

struct bench_container {
	/* what the ticks have noted */
	hshm_au64 n_ticks;
	uint64_t late_ns[BENCH_TICKS_MAX];
};

/* A task of the container's own pool and of the container itself. */
void bench_subtask(struct chi_container *container, struct chi_task *task, uint32_t size_bytes,
		   enum bench_method method);

#define METHOD(name) int name(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
METHOD(bench_nest);
METHOD(bench_block);
METHOD(bench_parallel);
METHOD(bench_deep);
METHOD(bench_lock);
METHOD(bench_tick);
METHOD(bench_lateness);
METHOD(bench_hold);
METHOD(bench_stall);
METHOD(bench_stalled);
METHOD(bench_release);
METHOD(bench_wait_high);
METHOD(bench_read);
METHOD(bench_write);

#endif
