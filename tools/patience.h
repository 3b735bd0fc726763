/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * patience.h - a command that asks a runtime gives up when it gets no answer
 */
#ifndef TOOLS_PATIENCE_H
#define TOOLS_PATIENCE_H

#include <stdint.h>

#define PATIENCE_MS    10000u
#define TIMEOUT_MS_MAX UINT64_C(86400000) /* a day */

/* From here on the command has so many milliseconds (1 at least): then it says that the runtime does not answer, and
 * ends with EXIT_FAILED, wherever it waits. For main threads of commands that leave nothing behind. */
void lose_patience_after(const char *name, uint64_t timeout_ms);

/* The answer is there. */
void keep_patience(void);

#endif
