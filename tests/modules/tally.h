/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tally.h - the test module that counts how often each task was run: a number that comes twice is noticed
 */
#ifndef TESTS_TALLY_H
#define TESTS_TALLY_H

#include <chimaera/task.h>

enum tally_method {
	TALLY_OPEN = 0, /* a key whose numbers shall be counted */
	TALLY_RUN,	/* the number was run; buffer 1 = buffer 0, each word exclusive-or the key */
	TALLY_READ,	/* what was counted for the key */
};

/* A number may come at most so far behind the highest that came before. */
#define TALLY_WINDOW 1024u

struct tally_task {
	struct chi_task task;
	uint64_t key; /* a secret of the client's: nobody else runs tasks in its name */
	uint64_t number;
	struct chi_buffer buffers[2];
	/* answer */
	uint64_t echo;	  /* tally_echo() of a run; of a read: how many runs */
	uint64_t n_twice; /* how many of the key's numbers came twice, so far */
};

/* What only a run of this very task answers. */
static inline uint64_t tally_echo(uint64_t key, uint64_t number)
{
	uint64_t x = (key ^ number) * UINT64_C(0x9e3779b97f4a7c15);

	return x ^ x >> 29;
}

#endif
