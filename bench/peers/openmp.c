/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * openmp.c - tasks of OpenMP (libgomp): one thread of a team of two makes them, both run them
 *
 * Not pinned, and with the waiting as libgomp has it by default: pinned threads, or OMP_WAIT_POLICY active or passive, make
 * fewer tasks.
 */
#include "peer.h"

#include <errno.h>
#include <omp.h>

#include "bench.h"

static struct {
	/* by thread: no line is written by both */
	struct {
		uint64_t n;
		uint64_t apart[15];
	} ran[2];
} state;

static int start(const unsigned cpus[2], void **ret_own)
{
	*ret_own = &state;
	omp_set_dynamic(0);
	return bench_allow(cpus);
}

static int check(uint64_t n)
{
	uint64_t n_ran = state.ran[0].n + state.ran[1].n;

	state.ran[0].n = state.ran[1].n = 0;
	return n_ran == n ? 0 : -EBADMSG;
}

static int spawn(void *own, uint32_t n)
{
	(void)own;
#pragma omp parallel num_threads(2)
#pragma omp single
	for (uint32_t i = 0; i < n; i++) {
#pragma omp task
		state.ran[omp_get_thread_num()].n++;
	}
	return check(n);
}

static int nested(void *own, uint32_t n)
{
	(void)own;
#pragma omp parallel num_threads(2)
#pragma omp single
#pragma omp task
	for (uint32_t i = 0; i < n; i++) {
#pragma omp task
		state.ran[omp_get_thread_num()].n++;
#pragma omp taskwait
	}
	return check(n);
}

static void stop(void *own)
{
	(void)own;
}

const struct bench_scheduler bench_schedulers_openmp[] = {
	{ "openmp", "tasks of OpenMP (libgomp)", true, start, spawn, nested, stop },
	{ 0 },
};
