/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fd_closer.h - close descriptors that a peer had a hand in, on threads of their own
 *
 * The close of a socket closes what was sent over it and not read. Among that may be a socket of the peer's own with
 * SO_LINGER: its last close waits for as long as the peer likes. A peer that makes them all hang holds descriptors, up
 * to our limit, but never a thread that serves others.
 */
#ifndef RUNTIME_FD_CLOSER_H
#define RUNTIME_FD_CLOSER_H

#include "runtime/background.h"

/* Returns 0 or -ENOMEM. Release with chi_background_destroy(). */
int chi_fd_closer_create(struct chi_background **ret_closer);

/* @fd: given; shut it down before, if that must happen now. Does not wait. Threads: any. */
void chi_fd_closer_close(struct chi_background *closer, int fd);

#endif
