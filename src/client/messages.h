/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * messages.h - the client's end of the conversation: send one message, receive one, before a deadline
 */
#ifndef CLIENT_MESSAGES_H
#define CLIENT_MESSAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "task/handshake.h"

/* A connection to a runtime. The socket's hang-up tells that the runtime hung up; the pidfd that its process is gone,
 * which a forked child of it that holds the other end of the socket would hide. */
struct chi_connection {
	int socket; /* non-blocking */
	int pidfd;  /* -1: not to be had, or the runtime is in this process */
};

/* Returns: 0, -ETIMEDOUT, -EPIPE (hung up or gone; there may still be a message to receive). */
int chi_connection_send(const struct chi_connection *connection, const void *message, uint32_t size_bytes,
			uint64_t deadline_ns);

/**
 * chi_connection_receive - the next message, its size checked against its type
 * @serial:  of the question, which the answer repeats; what answers an earlier one is dropped, with its descriptors
 * @fds:     out; taken by the caller; room for @n_fds
 * @n_fds:   how many a message of the type @type must bring; others must bring none
 *
 * Returns: 0 (message->type is @type), or the error of a refusal with its text set, -ETIMEDOUT, -EPIPE, -EPROTO
 *          (anything else; what came with it is closed).
 */
int chi_connection_receive(const struct chi_connection *connection, uint32_t type, uint32_t serial,
			   union chi_message *ret_message, int *fds, uint32_t n_fds, uint64_t deadline_ns);

/* Is the other side there? One system call. */
bool chi_connection_alive(const struct chi_connection *connection);
/* It has hung up; there is a pidfd: does its process live all the same? One that dies hangs up a little before its end:
 * wait for that at most
 * @timeout_ns. */
bool chi_connection_process_lives(const struct chi_connection *connection, uint64_t timeout_ns);

#endif
