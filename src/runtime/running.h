/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * running.h - what a worker that does not come back is in, seen from another thread
 */
#ifndef RUNTIME_RUNNING_H
#define RUNTIME_RUNNING_H

#include <stdbool.h>
#include <stdint.h>

#include <chimaera/admin.h>

struct chi_worker;

struct chi_running {
	char pool[CHI_NAME_MAX], module[CHI_NAME_MAX], method[CHI_NAME_MAX];
	uint64_t root; /* number of the client's task that it is, or belongs to; 0: none */
	bool is_subtask;
};

/* Copies of the names, good for ever. False: it is in no method, or has gone on meanwhile. Threads: any but in a
 * method. */
bool chi_running_look(const struct chi_worker *worker, struct chi_running *ret_running);

#endif
