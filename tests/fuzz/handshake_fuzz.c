/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handshake_fuzz.c - messages, with and without descriptors, to the runtime's ipc thread, and to a client that attaches
 *
 * A decoder makes a program of the input's bytes: its first byte says which side is lied to.
 *
 *   the runtime   up to three connections, over a socket pair or the runtime's name: connect, send (a message of some type, some
 *                 of its bytes changed, cut or longer, with descriptors of any kind), look at the answers, hang up. What it has
 *                 to answer is known: type, serial, descriptors, and whether it hangs up.
 *   a client      one connection with a welcome and answers that lie ready in it, descriptors of any kind with them: memfds of
 *                 any size, seals and contents; chi_attachment_open() and what follows.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/attachment.h"
#include "stage.h"
#include "task/error.h"
#include "task/handshake.h"

#define N_PEERS	     3u
#define OPS_MAX	     48u
#define SENT_FDS_MAX 20u
#define LANES	     2u
#define ANSWERS_MAX  (LANES * CHI_PRIOS + 16u) /* as ipc_answer.c counts them */
#define GENERATION   UINT64_C(0x1234567)

static struct fuzz_stage stage;

/* ---- a message ---- */

struct letter {
	unsigned char bytes[320];
	uint32_t size;
	int fds[SENT_FDS_MAX];
	uint32_t n_fds;
};

static void close_all(struct letter *letter)
{
	while (letter->n_fds)
		close(letter->fds[--letter->n_fds]);
}

/* Returns whether it went. */
static bool post(int socket, const struct letter *letter)
{
	char control[CMSG_SPACE(SENT_FDS_MAX * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec part = { (void *)(uintptr_t)letter->bytes, letter->size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (letter->n_fds) {
		struct cmsghdr *header = (struct cmsghdr *)control;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(letter->n_fds * sizeof(int));
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(letter->n_fds * sizeof(int));
		memcpy(CMSG_DATA(header), letter->fds, letter->n_fds * sizeof(int));
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)letter->size;
}

static void put(struct letter *letter, const void *message, uint32_t size)
{
	memcpy(letter->bytes, message, size);
	letter->size = size;
}

static uint32_t odd_u32(struct fuzz_input *input)
{
	static const uint32_t odd[] = {
		0, 1, 2, 3, 4, 6, 16, 64, 4096, UINT32_MAX, INT32_MAX, 65536, 65535, 8192, 7, 5
	};
	uint8_t kind = fuzz_u8(input);

	return kind < 64 ? odd[kind % 16] : fuzz_u32(input);
}

static void change(struct fuzz_input *input, struct letter *letter)
{
	uint8_t n = fuzz_u8(input) % 8;

	for (uint8_t i = 0; n > 3 && i < n - 3; i++) {
		uint32_t value, at = fuzz_u8(input) % 80;

		value = odd_u32(input);
		memcpy(letter->bytes + (at & ~3u), &value, sizeof(value));
	}
	n = fuzz_u8(input);
	if (n >= 192)
		letter->size = n == 255 ? fuzz_u16(input) % sizeof(letter->bytes) : n - 192u;
}

static int memfd(struct fuzz_input *input, uint64_t size, const void *bytes, size_t n)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t how = fuzz_u8(input);

	fuzz_check(fd >= 0);
	if (how & 1)
		size = (uint64_t)fuzz_u8(input) << (fuzz_u8(input) % 20);
	fuzz_check(ftruncate(fd, (off_t)size) == 0);
	if (n && size >= n)
		fuzz_check(pwrite(fd, bytes, n, 0) == (ssize_t)n);
	if (how & 2)
		fcntl(fd, F_ADD_SEALS, fuzz_u8(input) & 0x1f);
	else
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	return fd;
}

static int other_fd(struct fuzz_input *input)
{
	int ends[2], fd = -1;

	switch (fuzz_u8(input) % 8) {
	case 0:
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		break;
	case 1:
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		break;
	case 2:
		fd = open("/", O_PATH | O_CLOEXEC);
		break;
	case 3:
		fuzz_check(pipe2(ends, O_CLOEXEC) == 0);
		close(ends[1]);
		fd = ends[0];
		break;
	case 4:
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		break;
	case 5:
		fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		break;
	case 6: /* the runtime's own */
		fd = fcntl(stage.runtime->main.fd, F_DUPFD_CLOEXEC, 3);
		break;
	default:
		fd = memfd(input, 4096, NULL, 0);
	}
	fuzz_check(fd >= 0);
	return fd;
}

/* ---- the runtime ---- */

struct expected {
	uint32_t type, serial, n_fds;
};

struct peer {
	int socket; /* -1: none */
	bool attached;
	bool over; /* it hangs up, or has */
	uint32_t n_answers;
	struct expected expected[OPS_MAX + 1];
	uint32_t n_expected;
};

static void expect(struct peer *peer, uint32_t type, uint32_t serial, uint32_t n_fds)
{
	peer->expected[peer->n_expected++] = (struct expected){ type, serial, n_fds };
}

static void expect_refusal(struct peer *peer, uint32_t serial)
{
	expect(peer, CHI_MESSAGE_REFUSAL, serial, 0);
	peer->over = true;
}

static void expect_answer(struct peer *peer, uint32_t type, uint32_t serial)
{
	if (peer->n_answers > ANSWERS_MAX) {
		expect_refusal(peer, serial);
		return;
	}
	peer->n_answers++;
	expect(peer, type, serial, 1);
}

/* What the runtime has to make of it. */
static void foresee(struct peer *peer, const struct letter *letter)
{
	union chi_message message;

	memcpy(&message, letter->bytes, sizeof(message));
	if (letter->n_fds) {
		expect_refusal(peer, 0);
	} else if (letter->size == 0) {
		peer->over = true; /* an empty message is a hang-up */
	} else if (!peer->attached && letter->size == sizeof(message.hello) && message.type == CHI_MESSAGE_HELLO) {
		if (message.hello.magic == CHI_HELLO_MAGIC && message.hello.layout_version == CHI_LAYOUT_VERSION &&
		    message.hello.abi_version == CHI_ABI_VERSION) {
			expect(peer, CHI_MESSAGE_WELCOME, 0, CHI_WELCOME_FDS);
			peer->attached = true;
		} else {
			expect_refusal(peer, 0);
		}
	} else if (peer->attached && letter->size == sizeof(message.lane_open) &&
		   message.type == CHI_MESSAGE_LANE_OPEN) {
		if (message.lane_open.lane >= LANES || message.lane_open.prio >= CHI_PRIOS)
			expect_refusal(peer, message.lane_open.serial);
		else
			expect_answer(peer, CHI_MESSAGE_LANE_OPENED, message.lane_open.serial);
	} else if (peer->attached && letter->size == sizeof(message.events_open) &&
		   message.type == CHI_MESSAGE_EVENTS_OPEN) {
		expect_answer(peer, CHI_MESSAGE_EVENTS_OPENED, message.events_open.serial);
	} else {
		expect_refusal(peer, 0);
	}
}

static void check_welcome_fds(const union chi_message *message, const int *fds)
{
	int main_seals = fcntl(fds[0], F_GET_SEALS), seals = fcntl(fds[1], F_GET_SEALS);

	fuzz_check(main_seals & F_SEAL_FUTURE_WRITE);
	fuzz_check((seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) ==
		   (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
	fuzz_check((fcntl(fds[2], F_GETFL) & O_ACCMODE) == O_RDONLY);
	fuzz_check(message->welcome.n_lanes == LANES && message->welcome.client_segment_id >= CHI_SEGMENT_CLIENTS);
}

static void look_at_answer(struct peer *peer, const struct expected *expected)
{
	union chi_message message;
	int fds[HSHM_FDS_MAX];
	uint32_t n_fds, serial = 0;
	long n = fuzz_receive(peer->socket, &message, fds, &n_fds);

	if (n < 8)
		fuzz_fail("%ld bytes in place of a message of type %u", n, expected->type);
	if (message.type != CHI_MESSAGE_WELCOME)
		serial = message.refusal.serial; /* in the same place in all of them */
	if (message.type != expected->type || serial != expected->serial || n_fds != expected->n_fds)
		fuzz_fail("answer of type %u, serial %u, %u descriptors; expected %u, %u, %u", message.type, serial,
			  n_fds, expected->type, expected->serial, expected->n_fds);
	if (message.type == CHI_MESSAGE_WELCOME)
		check_welcome_fds(&message, fds);
	while (n_fds)
		close(fds[--n_fds]);
}

static void look_at_answers(struct peer *peer)
{
	union chi_message message;
	int fds[HSHM_FDS_MAX];
	uint32_t n_fds;

	for (uint32_t i = 0; i < peer->n_expected; i++)
		look_at_answer(peer, &peer->expected[i]);
	peer->n_expected = 0;
	if (peer->over)
		fuzz_check(fuzz_receive(peer->socket, &message, fds, &n_fds) == 0);
}

static void hang_up(struct peer *peer)
{
	if (peer->socket >= 0)
		close(peer->socket);
	peer->socket = -1;
}

static void write_letter(struct fuzz_input *input, struct letter *letter)
{
	const struct chi_hello hello = { CHI_MESSAGE_HELLO, CHI_HELLO_MAGIC, CHI_LAYOUT_VERSION, CHI_ABI_VERSION };
	struct chi_lane_open lane = { CHI_MESSAGE_LANE_OPEN, 0, 0, 0 };
	struct chi_events_open events = { CHI_MESSAGE_EVENTS_OPEN, 0 };
	uint8_t kind = fuzz_u8(input), what = fuzz_u8(input);

	switch (kind % 8) {
	case 0:
	case 1:
		put(letter, &hello, sizeof(hello));
		break;
	case 2:
	case 3:
	case 4:
		lane.lane = what % 3;
		lane.prio = what / 3 % 2;
		lane.serial = what / 6;
		put(letter, &lane, sizeof(lane));
		break;
	case 5:
		events.serial = what;
		put(letter, &events, sizeof(events));
		break;
	default: /* of a type that no client sends, or of none */
		letter->size = what;
		fuzz_bytes(input, letter->bytes, 8);
	}
	if (kind & 8)
		change(input, letter);
	if ((kind & 0xf0) == 0xf0)
		for (uint32_t n = fuzz_u8(input) % (SENT_FDS_MAX + 1);
		     letter->n_fds < n && letter->n_fds < SENT_FDS_MAX;)
			letter->fds[letter->n_fds++] = other_fd(input);
}

static void send_to_runtime(struct fuzz_input *input, struct peer *peer)
{
	struct letter letter = { .size = 0 };

	write_letter(input, &letter);
	if (peer->socket >= 0 && !peer->over && post(peer->socket, &letter))
		foresee(peer, &letter);
	close_all(&letter);
}

static void lie_to_runtime(struct fuzz_input *input)
{
	struct peer peers[N_PEERS];

	for (uint32_t i = 0; i < N_PEERS; i++)
		peers[i].socket = -1;
	for (uint32_t i = 0; i < OPS_MAX && input->left; i++) {
		uint8_t op = fuzz_u8(input);
		struct peer *peer = &peers[op / 16 % N_PEERS];

		if (peer->socket < 0) {
			*peer = (struct peer){ .socket = fuzz_dial(&stage, op & 1) };
			continue;
		}
		if (op % 16 < 12) {
			send_to_runtime(input, peer);
		} else if (op % 16 < 14) {
			look_at_answers(peer);
			if (peer->over)
				hang_up(peer);
		} else {
			if (op & 1)
				shutdown(peer->socket, SHUT_RDWR);
			hang_up(peer);
		}
	}
	for (uint32_t i = 0; i < N_PEERS; i++) {
		if (peers[i].socket >= 0)
			look_at_answers(&peers[i]);
		hang_up(&peers[i]);
	}
}

/* ---- a client ---- */

static void add_fd(struct letter *letter, int fd)
{
	if (letter->n_fds < SENT_FDS_MAX)
		letter->fds[letter->n_fds++] = fd;
	else
		close(fd);
}

static void add_other_fds(struct fuzz_input *input, struct letter *letter, uint8_t how)
{
	if ((how & 0xf0) == 0xf0) /* others, or too many */
		for (uint8_t n = fuzz_u8(input) % 6; n; n--)
			add_fd(letter, other_fd(input));
}

static void write_welcome(struct fuzz_input *input, struct letter *letter)
{
	struct chi_main_header header = {
		.magic = CHI_MAIN_MAGIC,
		.layout_version = { CHI_LAYOUT_VERSION },
		.generation = GENERATION,
	};
	struct chi_welcome welcome = {
		.type = CHI_MESSAGE_WELCOME,
		.layout_version = CHI_LAYOUT_VERSION,
		.generation = GENERATION,
		.main_bytes = 8192,
		.client_bytes = 65536,
		.main_segment_id = CHI_SEGMENT_MAIN,
		.client_segment_id = CHI_SEGMENT_CLIENTS,
		.client_id = 1,
		.runtime_pid = 1,
		.n_lanes = LANES,
		.lane_depth = 16,
		.n_workers = 1,
		.abi_version = CHI_ABI_VERSION,
	};
	uint8_t how = fuzz_u8(input);

	put(letter, &welcome, sizeof(welcome));
	if (how & 1)
		change(input, letter);
	if (how & 2)
		fuzz_bytes(input, &header, 24);
	if (how & 4)
		add_fd(letter, other_fd(input));
	add_fd(letter, memfd(input, welcome.main_bytes, &header, sizeof(header)));
	if (!(how & 8))
		add_fd(letter, memfd(input, welcome.client_bytes, NULL, 0));
	add_fd(letter, memfd(input, 4096, NULL, 0));
	add_other_fds(input, letter, how);
}

static void write_answer(struct fuzz_input *input, struct letter *letter)
{
	struct chi_lane_opened lane = { .type = CHI_MESSAGE_LANE_OPENED };
	struct chi_events_opened events = { .type = CHI_MESSAGE_EVENTS_OPENED };
	struct chi_refusal refusal = { .type = CHI_MESSAGE_REFUSAL, .error = -EAGAIN };
	uint8_t how = fuzz_u8(input);

	lane.serial = events.serial = refusal.serial = fuzz_u8(input) % 4;
	switch (how % 4) {
	case 0:
		put(letter, &lane, sizeof(lane));
		break;
	case 1:
		put(letter, &events, sizeof(events));
		break;
	case 2:
		fuzz_bytes(input, &refusal.error, 4);
		memset(refusal.text, 'x', fuzz_u8(input) % sizeof(refusal.text));
		put(letter, &refusal, sizeof(refusal));
		break;
	default:
		write_welcome(input, letter);
	}
	if (how & 4)
		change(input, letter);
	if (how % 4 < 2 && !(how & 8))
		add_fd(letter, how & 16 ? other_fd(input) : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	add_other_fds(input, letter, how);
}

static void lie_to_client(struct fuzz_input *input)
{
	struct chi_attachment *attachment;
	struct letter letter = { .size = 0 };
	int ends[2], rc;

	fuzz_check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
	write_welcome(input, &letter);
	post(ends[1], &letter);
	close_all(&letter);
	for (uint32_t i = 0; i < 4 && input->left; i++) {
		memset(&letter, 0, sizeof(letter));
		write_answer(input, &letter);
		post(ends[1], &letter);
		close_all(&letter);
	}
	/* no time to wait: what there is lies ready */
	rc = chi_attachment_open(ends[0], -1, 1, 1, &attachment);
	if (rc == 0) {
		(void)!chi_attachment_open_lane(attachment, 0, CHI_PRIO_LOW_LATENCY);
		(void)!chi_attachment_open_lane(attachment, attachment->welcome.n_lanes - 1, CHI_PRIO_HIGH_LATENCY);
		(void)!chi_attachment_open_events(attachment, 1);
		(void)chi_attachment_alive(attachment);
		chi_attachment_destroy(attachment);
	} else {
		fuzz_check(*chi_error_text());
	}
	close(ends[1]);
}

/* ---- one input ---- */

static void check_honest_client(void)
{
	struct chi_pool_info pools[2];

	if (chi_pool_list(stage.honest, pools, 2) != 1)
		fuzz_fail("the honest client: %s", chi_error_text());
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	fuzz_init();
	fuzz_stage_start(&stage, "log_level: error\nworkers: { count: 1, spin_us: 10 }\nmemory: { private_mib: 64 }\n"
				 "clients: { max: 64, memory_mib: 1, lanes: 2, lane_depth: 16 }\n");
	check_honest_client();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };

	fuzz_stage_note(&stage);
	if (fuzz_u8(&input) % 4 == 3)
		lie_to_client(&input);
	else
		lie_to_runtime(&input);
	fuzz_stage_check(&stage);
	check_honest_client();
	return 0;
}
