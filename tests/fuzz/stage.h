/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stage.h - a runtime in the fuzzer's process, and an honest client of it; both live as long as the process
 *
 * After each input the runtime has to be as it was: the honest client is served, and no session and no descriptor is left.
 */
#ifndef TESTS_FUZZ_STAGE_H
#define TESTS_FUZZ_STAGE_H

#include <stdint.h>

#include <chimaera/chimaera.h>
#include <chimaera/runtime.h>

#include "runtime/ipc_internal.h"
#include "runtime/ipc_manager.h"
#include "runtime/runtime.h"
#include "runtime/session.h"
#include "task/handshake.h"

struct fuzz_stage {
	struct chi_runtime *runtime;
	struct chi_client *honest;
	uint32_t n_fds; /* before the first input */
};

/* With a folder of its own for the socket. */
void fuzz_stage_start(struct fuzz_stage *stage, const char *config);
/* Before each input; what counts is the first: libFuzzer opens some files of its own when it begins. */
void fuzz_stage_note(struct fuzz_stage *stage);
/* Nothing is left of the input's clients. */
void fuzz_stage_check(struct fuzz_stage *stage);

uint32_t fuzz_count_fds(void);
/* A connection as that of another process, over a socket pair or the runtime's name. */
int fuzz_dial(struct fuzz_stage *stage, bool by_name);
/* The next message; one must come, or the hang-up. @fds: HSHM_FDS_MAX places. Returns its size, 0: hung up. */
long fuzz_receive(int socket, union chi_message *message, int *fds, uint32_t *ret_n_fds);

#endif
