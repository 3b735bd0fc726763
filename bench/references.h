/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * references.h - what the machine can do without us, one idea a file
 */
#ifndef BENCH_REFERENCES_H
#define BENCH_REFERENCES_H

#include "bench.h"

struct bench_reference {
	const char *name;
	const char *unit;
	/* Gets ready; from then on the other side, if there is one, sleeps until there is a slice. */
	int (*start)(struct bench *bench, void **ret_arg);
	int (*slice)(void *arg, uint64_t slice_ns, struct bench_samples *samples);
	void (*stop)(void *arg);
};

extern const struct bench_reference bench_ref_pingpong;		/* pingpong.c */
extern const struct bench_reference bench_ref_pingpong_threads; /* pingpong.c */
extern const struct bench_reference bench_ref_poll;		/* pingpong.c */
extern const struct bench_reference bench_ref_ring;		/* ref_ring.c */
extern const struct bench_reference bench_ref_ring_done;	/* ref_ring.c */
extern const struct bench_reference bench_ref_eventfd;		/* ref_wake.c */
extern const struct bench_reference bench_ref_epoll;		/* ref_wake.c */
extern const struct bench_reference bench_ref_futex;		/* ref_wake.c */
extern const struct bench_reference bench_ref_fcontext;		/* ref_fcontext.c */

#endif
