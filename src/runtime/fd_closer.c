/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fd_closer.c - closes in the background
 */
#include "runtime/fd_closer.h"

#include <stdint.h>
#include <unistd.h>

#define THREADS_MAX 8u

static void close_it(void *fd)
{
	close((int)(intptr_t)fd);
}

int chi_fd_closer_create(struct chi_background **ret_closer)
{
	return chi_background_create("closes of clients' sockets", THREADS_MAX, ret_closer);
}

void chi_fd_closer_close(struct chi_background *closer, int fd)
{
	if (chi_background_run(closer, close_it, (void *)(intptr_t)fd) < 0)
		close(fd); /* it may wait: better than never to close any */
}
