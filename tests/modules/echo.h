/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * echo.h - a module for clients that lie: no method of it runs for long, whatever its task holds
 */
#ifndef TESTS_ECHO_H
#define TESTS_ECHO_H

#include <chimaera/task.h>

enum echo_method {
	ECHO_ADD = 0, /* in + 1 */
	ECHO_COPY,    /* as much of buffer 0 as buffer 1 holds */
	ECHO_SUM,     /* container ids, folded */
	ECHO_NEST,    /* up to 3 ECHO_ADD, one after the other */
	ECHO_YIELD,   /* up to 7 times */
	ECHO_FAIL,    /* with any errno */
	ECHO_DETACH,  /* up to 3 fire-and-forget ECHO_ADD */
	ECHO_UNTIL,   /* yields until it is cancelled, or 200 times */
	ECHO_METHODS
};

struct echo_task {
	struct chi_task task;
	uint64_t in;
	struct chi_buffer buffers[2];
	uint64_t out;
};

#endif
