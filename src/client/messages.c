/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * messages.c - send and receive one message before a deadline
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hshm/clock.h>
#include <hshm/segment.h>

#include "client/messages.h"
#include "task/error.h"

#define ERRNO_MAX 4095

/* Sleep until the socket is ready for @events or the other side is gone. Returns 0, -ETIMEDOUT, -EPIPE (process gone),
 * -ENOMEM (poll() failed; with a text). */
static int wait_ready(const struct chi_connection *connection, short events, uint64_t deadline_ns)
{
	struct pollfd fds[2] = { { connection->socket, events, 0 }, { connection->pidfd, POLLIN, 0 } };

	for (;;) {
		uint64_t now_ns = hshm_clock_ns();
		uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
		struct timespec left = { (time_t)(left_ns / HSHM_NSEC_PER_SEC), (long)(left_ns % HSHM_NSEC_PER_SEC) };
		int n = ppoll(fds, 2, deadline_ns == HSHM_FOREVER ? NULL : &left, NULL);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return chi_error_set(-ENOMEM, "cannot wait for the runtime: %s", strerror(errno));
		if (n > 0 && fds[0].revents)
			return 0;
		if (n > 0)
			return -EPIPE;
		if (n == 0)
			return -ETIMEDOUT;
	}
}

int chi_connection_send(const struct chi_connection *connection, const void *message, uint32_t size_bytes,
			uint64_t deadline_ns)
{
	for (;;) {
		long n = hshm_fds_send(connection->socket, message, size_bytes, NULL, 0);
		int rc;

		if (n >= 0)
			return 0;
		if (n != -EAGAIN)
			return -EPIPE;
		rc = wait_ready(connection, POLLOUT, deadline_ns);
		if (rc < 0)
			return rc;
	}
}

static uint32_t size_of_type(uint32_t type)
{
	switch (type) {
	case CHI_MESSAGE_WELCOME:
		return sizeof(struct chi_welcome);
	case CHI_MESSAGE_LANE_OPENED:
		return sizeof(struct chi_lane_opened);
	case CHI_MESSAGE_EVENTS_OPENED:
		return sizeof(struct chi_events_opened);
	case CHI_MESSAGE_REFUSAL:
		return sizeof(struct chi_refusal);
	default:
		return 0;
	}
}

static int take_refusal(struct chi_refusal *refusal)
{
	refusal->text[sizeof(refusal->text) - 1] = '\0';
	if (refusal->error >= 0 || refusal->error < -ERRNO_MAX)
		return chi_error_set(-EPROTO, "the runtime refused for no reason (%d): %s", refusal->error,
				     refusal->text);
	return chi_error_set(refusal->error, "the runtime refused: %s", refusal->text);
}

/* Of what has the size of its type. A welcome has none: there is one, and it comes first. */
static uint32_t serial_of(const union chi_message *message)
{
	switch (message->type) {
	case CHI_MESSAGE_LANE_OPENED:
		return message->lane_opened.serial;
	case CHI_MESSAGE_EVENTS_OPENED:
		return message->events_opened.serial;
	case CHI_MESSAGE_REFUSAL:
		return message->refusal.serial;
	default:
		return 0;
	}
}

/* The answer to a question that we gave up on. 0: concerns whatever is asked. */
static bool is_late(const union chi_message *message, long n_bytes, uint32_t serial)
{
	return n_bytes >= (long)sizeof(message->type) && n_bytes == (long)size_of_type(message->type) &&
	       serial_of(message) != 0 && serial_of(message) != serial;
}

static void close_all(const int *fds, uint32_t n_fds)
{
	for (uint32_t i = 0; i < n_fds; i++)
		close(fds[i]);
}

/* The next message, whatever it is. @fds: out; HSHM_FDS_MAX places. */
static int receive_any(const struct chi_connection *connection, union chi_message *ret_message, long *ret_n_bytes,
		       int *fds, uint32_t *ret_n_fds, uint64_t deadline_ns)
{
	bool was_reset = false;
	long n;

	for (;;) {
		n = hshm_fds_receive(connection->socket, ret_message, sizeof(*ret_message), fds, HSHM_FDS_MAX,
				     ret_n_fds);
		/* A peer that closed with something of ours unread: the kernel says so first and then gives what it
		 * sent. */
		if (n == -ECONNRESET && !was_reset) {
			was_reset = true;
			continue;
		}
		if (n == -EAGAIN) {
			int rc = wait_ready(connection, POLLIN, deadline_ns);

			if (rc < 0)
				return rc;
			continue;
		}
		break;
	}
	if (n == -EMFILE)
		return chi_error_set(-EMFILE,
				     "no descriptors left for what the runtime sent: close some, or raise the limit of "
				     "open files (ulimit -n)");
	if (n == -EPROTO)
		return chi_error_set(-EPROTO, "the runtime sent a message that is longer than any we know");
	*ret_n_bytes = n;
	return n > 0 ? 0 : -EPIPE;
}

int chi_connection_receive(const struct chi_connection *connection, uint32_t type, uint32_t serial,
			   union chi_message *ret_message, int *fds, uint32_t n_fds, uint64_t deadline_ns)
{
	int came[HSHM_FDS_MAX];
	uint32_t n_came = 0;
	long n = 0;
	int rc;

	while ((rc = receive_any(connection, ret_message, &n, came, &n_came, deadline_ns)) == 0 &&
	       is_late(ret_message, n, serial)) {
		close_all(came, n_came);
		if (hshm_clock_ns() >= deadline_ns)
			return -ETIMEDOUT;
	}
	if (rc < 0)
		return rc;

	if (n >= (long)sizeof(ret_message->type) && n == (long)size_of_type(ret_message->type)) {
		if (ret_message->type == type && serial_of(ret_message) == serial && n_came == n_fds) {
			for (uint32_t i = 0; i < n_fds; i++)
				fds[i] = came[i];
			return 0;
		}
		if (ret_message->type == CHI_MESSAGE_REFUSAL && n_came == 0)
			return take_refusal(&ret_message->refusal);
	}
	close_all(came, n_came);
	return chi_error_set(-EPROTO, "the runtime sent an unexpected message (%ld bytes, %u descriptors)", n, n_came);
}

bool chi_connection_alive(const struct chi_connection *connection)
{
	struct pollfd fds[2] = { { connection->socket, POLLRDHUP, 0 }, { connection->pidfd, POLLIN, 0 } };

	/* an error (no memory in the kernel) is no news of the runtime's death */
	return poll(fds, 2, 0) <= 0;
}

bool chi_connection_process_lives(const struct chi_connection *connection, uint64_t timeout_ns)
{
	struct pollfd ended = { connection->pidfd, POLLIN, 0 };

	return poll(&ended, 1, (int)(timeout_ns / HSHM_NSEC_PER_MSEC)) == 0;
}
