/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/hostile/lies_messages.c - lies on the socket: what is no message, or not now, or too often, or is never read
 */
#include <errno.h>
#include <hshm/clock.h>
#include <hshm/segment.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile/lies.h"

/* The answer to a lie: a refusal, or a hang-up. */
static void expect_no(struct liar *liar, int socket)
{
	union chi_message answer;
	long n = raw_receive(socket, &answer, NULL, NULL);

	if (n == -ETIMEDOUT)
		lie_violation(liar, "no answer in %d ms", RAW_ANSWER_MS);
	else if (n == sizeof(answer.refusal) && answer.type == CHI_MESSAGE_REFUSAL)
		lie_answered(liar, answer.refusal.error);
	else if (n <= 0)
		lie_answered(liar, -ECONNRESET);
	else
		lie_violation(liar, "answered with a message of type %u, %ld bytes", answer.type, n);
}

static void send_lie(struct liar *liar, int socket, const void *bytes, size_t n)
{
	if (raw_send(socket, bytes, n) >= 0)
		lie_sent(liar);
	expect_no(liar, socket);
}

/* ---- instead of a hello ---- */

void lie_greetings(struct liar *liar)
{
	while (lie_goes_on(liar)) {
		struct chi_hello hello = raw_hello;
		uint32_t *words = (uint32_t *)&hello;
		size_t size = sizeof(hello);
		int fd = raw_dial();

		if (fd < 0)
			continue;
		if (lie_pick(liar, 2))
			size = 1 + lie_pick(liar, sizeof(hello) - 1);
		else
			words[lie_pick(liar, 4)] ^= 1u << lie_pick(liar, 32);
		send_lie(liar, fd, &hello, size);
		close(fd);
	}
}

/* ---- instead of a request ---- */

static size_t make_request(struct liar *liar, const struct raw *raw, union chi_message *message)
{
	static const uint32_t types[] = { 0,
					  CHI_MESSAGE_HELLO,
					  CHI_MESSAGE_WELCOME,
					  CHI_MESSAGE_LANE_OPENED,
					  CHI_MESSAGE_REFUSAL,
					  CHI_MESSAGE_EVENTS_OPENED,
					  8,
					  UINT32_MAX };
	static const uint32_t sizes[] = { 4, 7, 8, 12, 16, 17, 72, 256 };

	memset(message, (int)lie_pick(liar, 256), sizeof(*message));
	switch (lie_pick(liar, 4)) {
	case 0:
		message->type = types[lie_pick(liar, sizeof(types) / sizeof(types[0]))];
		return sizes[lie_pick(liar, sizeof(sizes) / sizeof(sizes[0]))];
	case 1:
		message->lane_open = (struct chi_lane_open){ CHI_MESSAGE_LANE_OPEN, (uint32_t)lie_word(liar),
							     raw->welcome.n_lanes + (uint32_t)lie_pick(liar, 1u << 30),
							     0 };
		return sizeof(message->lane_open);
	case 2:
		message->lane_open = (struct chi_lane_open){ CHI_MESSAGE_LANE_OPEN, (uint32_t)lie_word(liar), 0,
							     CHI_PRIOS + (uint32_t)lie_pick(liar, 1u << 30) };
		return sizeof(message->lane_open);
	default:
		message->type = lie_pick(liar, 2) ? CHI_MESSAGE_LANE_OPEN : CHI_MESSAGE_EVENTS_OPEN;
		/* one byte more or less than such a message has */
		return (message->type == CHI_MESSAGE_LANE_OPEN ? sizeof(message->lane_open)
							       : sizeof(message->events_open)) +
		       (lie_pick(liar, 2) ? 1 : -1);
	}
}

void lie_requests(struct liar *liar)
{
	while (lie_goes_on(liar)) {
		union chi_message message;
		struct raw raw;

		if (raw_greet(&raw) < 0)
			return;
		send_lie(liar, raw.socket, &message, make_request(liar, &raw, &message));
		raw_detach(&raw);
	}
}

/* ---- byte by byte, and more than fits ---- */

void lie_bytes(struct liar *liar)
{
	char bytes[4096];

	while (lie_goes_on(liar)) {
		int fd = raw_dial();

		if (fd < 0)
			continue;
		if (lie_pick(liar, 2)) {
			/* a good hello, one byte a message, slowly */
			for (size_t i = 0; i < sizeof(raw_hello); i++) {
				if (raw_send(fd, (const char *)&raw_hello + i, 1) >= 0)
					lie_sent(liar);
				usleep((useconds_t)lie_pick(liar, 300));
			}
			expect_no(liar, fd);
		} else {
			for (size_t i = 0; i < sizeof(bytes); i++)
				bytes[i] = (char)next_random(&liar->random);
			send_lie(liar, fd, bytes, 1 + lie_pick(liar, sizeof(bytes)));
		}
		close(fd);
	}
}

/* ---- as many as go ---- */

void lie_floods(struct liar *liar)
{
	while (lie_goes_on(liar)) {
		struct chi_lane_open request = { .type = CHI_MESSAGE_LANE_OPEN, .serial = 1 };
		bool greeted = lie_pick(liar, 2);
		int fd = raw_dial();

		if (fd < 0)
			continue;
		if (greeted)
			(void)raw_send(fd, &raw_hello, sizeof(raw_hello));
		for (int i = 0; i < 500 && lie_goes_on(liar); i++) {
			long n = greeted ? raw_send(fd, &request, sizeof(request))
					 : raw_send(fd, &raw_hello, sizeof(raw_hello));

			if (n < 0 && n != -EAGAIN)
				break;
			if (n >= 0)
				lie_sent(liar);
		}
		lie_unanswered(liar);
		close(fd);
	}
}

/* ---- descriptors that nobody asked for ---- */

/* Its last close waits for a peer that never reads. */
static int make_lingering(int *ret_peer)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct linger linger = { 1, 1 };
	socklen_t length = sizeof(address);
	static const char bytes[65536];

	*ret_peer = -1;
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(listener, 1) == 0 &&
	    getsockname(listener, (struct sockaddr *)&address, &length) == 0 &&
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		*ret_peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	for (int i = 0; *ret_peer >= 0 && i < 64 && send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0; i++)
		;
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	return fd;
}

void lie_descriptors(struct liar *liar)
{
	while (lie_goes_on(liar)) {
		int fds[HSHM_FDS_MAX], peer = -1, slow = -1, fd = raw_dial();
		uint32_t n_fds = 1 + (uint32_t)lie_pick(liar, HSHM_FDS_MAX);
		bool whole = lie_pick(liar, 2);

		if (fd < 0)
			continue;
		for (uint32_t i = 0; i < HSHM_FDS_MAX; i++)
			fds[i] = STDERR_FILENO;
		if (lie_pick(liar, 4) == 0)
			fds[0] = slow = make_lingering(&peer);
		lie_sent(liar);
		if (hshm_fds_send(fd, &raw_hello, sizeof(raw_hello) - !whole, fds, n_fds) < 0)
			lie_answered(liar, -EPERM); /* by the kernel: SO_PASSRIGHTS is off since Linux 6.16 */
		else
			expect_no(liar, fd);
		/* the peer first, with bytes unread: a reset, and ours does not linger */
		if (peer >= 0)
			close(peer);
		if (slow >= 0)
			close(slow);
		close(fd);
	}
}

/* ---- it never reads ---- */

void lie_never_reads(struct liar *liar)
{
	const struct chi_events_open events = { .type = CHI_MESSAGE_EVENTS_OPEN, .serial = 1 };
	const struct chi_lane_open lane = { .type = CHI_MESSAGE_LANE_OPEN, .serial = 2 };
	struct raw raw;

	if (raw_greet(&raw) < 0)
		return;
	for (uint64_t i = 0; lie_goes_on(liar); i++) {
		long n = i % 2 ? raw_send(raw.socket, &events, sizeof(events))
			       : raw_send(raw.socket, &lane, sizeof(lane));

		if (n == -EAGAIN) {
			usleep(50);
			continue;
		}
		if (n < 0) {
			lie_answered(liar, -ECONNRESET);
			break;
		}
		lie_sent(liar);
	}
	raw_detach(&raw);
}

/* ---- many at once ---- */

#define CROWD 24u

void lie_crowds(struct liar *liar)
{
	struct raw raws[CROWD];
	int dialled[CROWD];

	while (lie_goes_on(liar)) {
		uint32_t n = 1 + (uint32_t)lie_pick(liar, CROWD);
		bool greets = lie_pick(liar, 2);

		for (uint32_t i = 0; i < n; i++) {
			int ret = greets ? raw_greet(&raws[i]) : (dialled[i] = raw_dial());

			lie_sent(liar);
			lie_answered(liar, ret < 0 ? ret : 0);
			if (greets && ret < 0)
				raws[i] = (struct raw){
					.socket = -1, .main_fd = -1, .segment_fd = -1, .counters_fd = -1, .bell = -1
				};
		}
		for (uint32_t i = 0; i < n; i++) {
			if (greets)
				raw_detach(&raws[i]);
			else if (dialled[i] >= 0)
				close(dialled[i]);
		}
	}
}
