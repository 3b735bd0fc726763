/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fd_closer.h - close descriptors that a peer had a hand in, on threads of their own
 *
 * The close of a socket closes what was sent over it and not read. Among that may be a socket of the peer's own with
 * SO_LINGER: its last close waits for as long as the peer likes.
 */
#ifndef RUNTIME_FD_CLOSER_H
#define RUNTIME_FD_CLOSER_H

struct chi_fd_closer;

/* Returns 0 or -ENOMEM. Threads come when there is something to close. */
int chi_fd_closer_create(struct chi_fd_closer **ret_closer);

/* @fd: given; shut it down before, if that must happen now. Does not wait. Threads: any. */
void chi_fd_closer_close(struct chi_fd_closer *closer, int fd);

/* Wait a little for what is still open; threads that hang end by themselves, later. Accepts NULL. */
void chi_fd_closer_destroy(struct chi_fd_closer *closer);

#endif
