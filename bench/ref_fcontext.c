/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ref_fcontext.c - the switch between contexts that our fibers are made of, bare
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "references.h"
#include "samples.h"

#define STACK_BYTES 65536u
#define TURNS	    32u /* there and back, in one call */

/* boost.context's C ABI, as in src/runtime/fiber.c */
typedef void *fcontext_t;
typedef struct {
	fcontext_t from;
	void *data;
} transfer_t;
extern transfer_t jump_fcontext(fcontext_t to, void *data);
extern fcontext_t make_fcontext(void *stack_top, size_t size, void (*fn)(transfer_t));

struct fibers {
	char *stack;
	fcontext_t other;
	uint64_t n_there; /* how often the other ran */
	uint64_t n_sent;
};

static void run_other(transfer_t from)
{
	struct fibers *fibers = from.data;

	for (;;) {
		fibers->n_there++;
		from = jump_fcontext(from.from, NULL);
	}
}

static int switch_there_and_back(void *arg)
{
	struct fibers *fibers = arg;

	for (unsigned i = 0; i < TURNS; i++)
		fibers->other = jump_fcontext(fibers->other, fibers).from;
	fibers->n_sent += TURNS;
	return 0;
}

static int slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct fibers *fibers = arg;
	int rc;

	samples->ops_per_call = 2 * TURNS;
	rc = bench_latency_slice(switch_there_and_back, fibers, slice_ns, samples);
	return !rc && fibers->n_there != fibers->n_sent ? -EBADMSG : rc;
}

static void stop(void *arg)
{
	struct fibers *fibers = arg;

	munmap(fibers->stack, STACK_BYTES);
	free(fibers);
}

static int start(struct bench *bench, void **ret_arg)
{
	struct fibers *fibers = calloc(1, sizeof(*fibers));

	(void)bench;
	if (!fibers)
		return -ENOMEM;
	fibers->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (fibers->stack == MAP_FAILED) {
		free(fibers);
		return -ENOMEM;
	}
	fibers->other = make_fcontext(fibers->stack + STACK_BYTES, STACK_BYTES, run_other);
	*ret_arg = fibers;
	return 0;
}

const struct bench_reference bench_ref_fcontext = { "fcontext", "ns", start, slice, stop };
