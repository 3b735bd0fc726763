/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe.h - the test module: one method for each thing that a test or a benchmark wants to see happen
 */
#ifndef TESTS_PROBE_H
#define TESTS_PROBE_H

#include <chimaera/task.h>

enum probe_method {
	PROBE_NOOP = 0,	 /* nothing */
	PROBE_NEST,	 /* noop subtasks, one after the other */
	PROBE_FAN,	 /* count subtasks at once; wait for all, or for any and then the rest */
	PROBE_ADD,	 /* in + 1, counted in the container */
	PROBE_FAIL,	 /* ends with the result asked for */
	PROBE_GATE_WAIT, /* yields until the gate is opened or, unless `count` is set, it is cancelled */
	PROBE_GATE_OPEN,
	PROBE_LOCKED, /* increments a counter under a chi_mutex, yielding inside */
	PROBE_SPIN, /* computes for so many ns; sets a word in buffer 0, if there is one, to 1 + its worker when it begins */
	PROBE_OVERFLOW, /* overflows its stack */
	PROBE_COPY,	/* copies buffer 0 to buffer 1 */
	PROBE_SUM,	/* broadcast: container ids, folded */
	PROBE_TIMEOUT,	/* waits for a gate_wait with a timeout, opens the gate, waits again */
	PROBE_DEEP,	/* waits for itself with depth - 1 */
	PROBE_DETACH,	/* fire-and-forget subtasks */
	PROBE_FLOOD,	/* count subtasks to one lane, more than it holds */
	PROBE_ORDER,	/* notes that it started: `in` is its number */
	PROBE_COUNTS,	/* answers what the container has counted */
	PROBE_LEAVE,	/* submits a gate_wait and returns without waiting for it */
	PROBE_OCCUPY, /* sleeps for so many ns on its worker's thread, as a call into a library may that knows no fibers; begun: as SPIN */
	PROBE_BLOCK,  /* waits for so many ns, blocked: its worker does other work */
	PROBE_HOLD,   /* keeps its worker until the word in buffer 0, which it sets to 1 + its worker, is cleared */
	PROBE_PIECES, /* computes for so many ns, `count` times, and lets others go first after each; answers how many have been done by all */
	PROBE_CALL_SPINS, /* calls a SPIN of so many ns, `count` times */
	PROBE_AMONG_PIECES, /* how many were done by others between the submit of a PIECES of none and its start, and until it went on */
};

struct probe_task {
	struct chi_task task;
	uint64_t in;
	uint64_t count;
	struct chi_buffer buffers[2];
	/* answer */
	uint64_t out;
	uint64_t out2;
};

#endif
