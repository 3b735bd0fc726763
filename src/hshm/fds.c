/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fds.c - one message with file descriptors over a Unix SOCK_SEQPACKET socket
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <hshm/segment.h>

/* Room beyond the descriptors for credentials, should the socket's owner have asked for them (SO_PASSCRED). */
#define CONTROL_BYTES	(CMSG_SPACE(HSHM_FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred)))
#define CONTROL_FDS_MAX (CONTROL_BYTES / sizeof(int))

union control {
	struct cmsghdr align;
	char bytes[CONTROL_BYTES];
};

static int socket_errno(int error)
{
	switch (error) {
	case EAGAIN:
	case EPIPE:
	case ECONNRESET:
	case EMSGSIZE:
	case ETOOMANYREFS:
		return -error;
	case ENOTCONN:
		return -EPIPE;
	case ENOBUFS:
	case ENOMEM:
		return -EAGAIN;
	default:
		return -EINVAL;
	}
}

long hshm_fds_send(int socket, const void *bytes, size_t size_bytes, const int *fds, uint32_t n_fds)
{
	union control control;
	struct iovec part = { (void *)(uintptr_t)bytes, size_bytes };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t n;

	/* an empty message would look like a hang-up */
	if (size_bytes == 0 || size_bytes > LONG_MAX || n_fds > HSHM_FDS_MAX)
		return -EINVAL;
	if (n_fds > 0) {
		struct cmsghdr *header;

		memset(&control, 0, sizeof(control));
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(header), fds, n_fds * sizeof(int));
	}
	do {
		n = sendmsg(socket, &message, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? socket_errno(errno) : n;
}

/* Collects every descriptor that came, also those the caller will not want: they are open in this process now. */
static uint32_t collect_fds(struct msghdr *message, int *fds)
{
	uint32_t n_fds = 0;

	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		size_t size_bytes = header->cmsg_len - CMSG_LEN(0);

		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(fds + n_fds, CMSG_DATA(header), size_bytes);
		n_fds += (uint32_t)(size_bytes / sizeof(int));
	}
	return n_fds;
}

static void close_fds(const int *fds, uint32_t n_fds)
{
	for (uint32_t i = 0; i < n_fds; i++)
		close(fds[i]);
}

long hshm_fds_receive(int socket, void *bytes, size_t size_max, int *fds, uint32_t fds_max, uint32_t *ret_n_fds)
{
	union control control;
	int came[CONTROL_FDS_MAX];
	struct iovec part = { bytes, size_max };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	uint32_t n_came;
	ssize_t n;

	do {
		n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return socket_errno(errno);
	n_came = collect_fds(&message, came);
	/* cut short though there was room: the kernel found no free descriptor in this process */
	if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == MSG_CTRUNC && n_came < HSHM_FDS_MAX) {
		close_fds(came, n_came);
		return -EMFILE;
	}
	/* descriptors with no byte are nothing we send: they would be lost in what looks like a hang-up */
	if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || n_came > fds_max || (n == 0 && n_came > 0)) {
		close_fds(came, n_came);
		return -EPROTO;
	}
	if (n_came > 0)
		memcpy(fds, came, n_came * sizeof(int));
	if (ret_n_fds)
		*ret_n_fds = n_came;
	return n;
}
