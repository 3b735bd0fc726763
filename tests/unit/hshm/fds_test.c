/* SPDX-License-Identifier: BSD-3-Clause */
#include "hshm_test.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <hshm/segment.h>

struct pair {
	int here, there;
};

static struct pair make_pair(void)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
	return (struct pair){ ends[0], ends[1] };
}

static void close_pair(struct pair pair)
{
	close(pair.here);
	close(pair.there);
}

static void message_arrives_with_its_bytes(void **state)
{
	struct pair pair = make_pair();
	uint32_t n_fds = 99;
	char bytes[16];

	(void)state;
	assert_int_equal(hshm_fds_send(pair.here, "hello", 6, NULL, 0), 6);
	assert_int_equal(hshm_fds_receive(pair.there, bytes, sizeof(bytes), NULL, 0, &n_fds), 6);
	assert_string_equal(bytes, "hello");
	assert_int_equal(n_fds, 0);
	close_pair(pair);
}

/* By a user without privileges, as root has no such limit. */
static int hoard(void)
{
	struct rlimit limit = { 8, 8 };
	struct pair pair = make_pair();
	long n;

	if ((geteuid() == 0 && setresuid(65534, 65534, 65534) < 0) || setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1;
	for (int i = 0; i < 64; i++) {
		n = hshm_fds_send(pair.here, "s", 1, &pair.here, 1);
		if (n < 0)
			break;
	}
	if (n != -ETOOMANYREFS)
		return 2;
	/* what carries none goes through */
	return hshm_fds_send(pair.here, "s", 1, NULL, 0) == 1 ? 0 : 3;
}

static void too_many_descriptors_on_their_way_are_told(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0)
		_exit(hoard());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void segment_travels_and_shows_the_same_bytes(void **state)
{
	struct pair pair = make_pair();
	struct hshm_segment segment, peer;
	int fds[HSHM_FDS_MAX];
	uint32_t n_fds;
	char byte;

	(void)state;
	assert_int_equal(hshm_segment_create("test", 4096, 3, HSHM_SEAL_SIZE, &segment), 0);
	assert_int_equal(hshm_fds_send(pair.here, "s", 1, &segment.fd, 1), 1);
	assert_int_equal(hshm_fds_receive(pair.there, &byte, 1, fds, HSHM_FDS_MAX, &n_fds), 1);
	assert_int_equal(n_fds, 1);
	assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(hshm_segment_open(fds[0], segment.map.size_bytes, 3, HSHM_SEGMENT_READ_WRITE, &peer), 0);
	strcpy(segment.map.base, "shared");
	assert_memory_equal(peer.map.base, "shared", 7);
	hshm_segment_close(&peer);
	hshm_segment_close(&segment);
	close_pair(pair);
}

static void most_descriptors_travel_in_one_message(void **state)
{
	struct pair pair = make_pair();
	int fds[HSHM_FDS_MAX + 1], came[HSHM_FDS_MAX];
	int n_before = count_fds();
	uint32_t n_fds;
	char byte;

	(void)state;
	for (int i = 0; i <= HSHM_FDS_MAX; i++)
		fds[i] = pair.here;
	assert_int_equal(hshm_fds_send(pair.here, "s", 1, fds, HSHM_FDS_MAX + 1), -EINVAL);
	assert_int_equal(hshm_fds_send(pair.here, "s", 1, fds, HSHM_FDS_MAX), 1);
	assert_int_equal(hshm_fds_receive(pair.there, &byte, 1, came, HSHM_FDS_MAX, &n_fds), 1);
	assert_int_equal(n_fds, HSHM_FDS_MAX);
	assert_int_equal(count_fds(), n_before + HSHM_FDS_MAX);
	for (int i = 0; i < HSHM_FDS_MAX; i++)
		close(came[i]);
	close_pair(pair);
}

static void more_descriptors_than_wanted_are_closed_and_refused(void **state)
{
	struct pair pair = make_pair();
	int fds[3] = { pair.here, pair.here, pair.here }, came[2] = { -1, -1 };
	int n_before = count_fds();
	uint32_t n_fds;
	char byte;

	(void)state;
	assert_int_equal(hshm_fds_send(pair.here, "s", 1, fds, 3), 1);
	assert_int_equal(hshm_fds_receive(pair.there, &byte, 1, came, 2, &n_fds), -EPROTO);
	assert_int_equal(came[0], -1);
	assert_int_equal(count_fds(), n_before);
	close_pair(pair);
}

/* A sender that is not ours puts in as many as the kernel takes. */
static void send_many(int socket, int fd, uint32_t n_fds)
{
	char control[CMSG_SPACE(253 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec part = { (void *)(uintptr_t) "x", 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control };
	struct cmsghdr *header;

	message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	for (uint32_t i = 0; i < n_fds; i++)
		memcpy(CMSG_DATA(header) + i * sizeof(int), &fd, sizeof(fd));
	assert_int_equal(sendmsg(socket, &message, 0), 1);
}

static void flood_of_descriptors_leaks_none(void **state)
{
	static const uint32_t counts[] = { HSHM_FDS_MAX + 1, HSHM_FDS_MAX + 4, HSHM_FDS_MAX + 8, 100, 253 };
	struct pair pair = make_pair();
	int n_before = count_fds(), came[HSHM_FDS_MAX];
	uint32_t n_fds;
	char byte;

	(void)state;
	skip_under_qemu("loses the descriptors it cuts off");
	for (size_t i = 0; i < N_ELEMENTS(counts); i++) {
		send_many(pair.here, pair.here, counts[i]);
		assert_int_equal(hshm_fds_receive(pair.there, &byte, 1, came, HSHM_FDS_MAX, &n_fds), -EPROTO);
		assert_int_equal(count_fds(), n_before);
	}
	close_pair(pair);
}

static void message_that_does_not_fit_is_refused_whole(void **state)
{
	struct pair pair = make_pair();
	int n_before = count_fds(), came[1];
	uint32_t n_fds;
	char bytes[3];

	(void)state;
	assert_int_equal(hshm_fds_send(pair.here, "long", 4, &pair.here, 1), 4);
	assert_int_equal(hshm_fds_receive(pair.there, bytes, sizeof(bytes), came, 1, &n_fds), -EPROTO);
	assert_int_equal(count_fds(), n_before);
	close_pair(pair);
}

static void credentials_beside_the_descriptors_do_no_harm(void **state)
{
	struct pair pair = make_pair();
	int on = 1, fds[HSHM_FDS_MAX], came[HSHM_FDS_MAX];
	uint32_t n_fds;
	char byte;

	(void)state;
	assert_int_equal(setsockopt(pair.there, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	for (int i = 0; i < HSHM_FDS_MAX; i++)
		fds[i] = pair.here;
	assert_int_equal(hshm_fds_send(pair.here, "s", 1, fds, HSHM_FDS_MAX), 1);
	assert_int_equal(hshm_fds_receive(pair.there, &byte, 1, came, HSHM_FDS_MAX, &n_fds), 1);
	assert_int_equal(n_fds, HSHM_FDS_MAX);
	for (int i = 0; i < HSHM_FDS_MAX; i++)
		close(came[i]);
	close_pair(pair);
}

static void peer_that_hung_up_is_told_without_a_signal(void **state)
{
	struct pair pair = make_pair();
	char byte;

	(void)state;
	assert_int_equal(hshm_fds_receive(pair.here, &byte, 1, NULL, 0, NULL), -EAGAIN);
	assert_int_equal(hshm_fds_send(pair.here, "", 0, NULL, 0), -EINVAL);
	close(pair.there);
	assert_int_equal(hshm_fds_receive(pair.here, &byte, 1, NULL, 0, NULL), 0);
	assert_int_equal(hshm_fds_send(pair.here, "x", 1, NULL, 0), -EPIPE);
	close(pair.here);
}

static void full_socket_says_eagain_and_huge_message_emsgsize(void **state)
{
	static char huge[8 << 20];
	struct pair pair = make_pair();
	long rc;

	(void)state;
	do {
		rc = hshm_fds_send(pair.here, huge, 1024, NULL, 0);
	} while (rc == 1024);
	assert_int_equal(rc, -EAGAIN);
	assert_int_equal(hshm_fds_send(pair.there, huge, sizeof(huge), NULL, 0), -EMSGSIZE);
	close_pair(pair);
}

static volatile sig_atomic_t n_alarms;
static int ticked[2];

static void on_alarm(int number)
{
	(void)number;
	if (++n_alarms == 5)
		(void)!write(ticked[1], "t", 1);
}

/* The socket blocks here, and a timer without SA_RESTART interrupts the wait; a child sends after five ticks. */
static void signal_does_not_end_a_receive(void **state)
{
	const struct itimerval ticks = { { 0, 5000 }, { 0, 5000 } }, none = { { 0, 0 }, { 0, 0 } };
	struct sigaction action = { .sa_handler = on_alarm };
	struct pair pair = make_pair();
	int status;
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(fcntl(pair.there, F_SETFL, 0), 0);
	assert_int_equal(pipe(ticked), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (read(ticked[0], &byte, 1) != 1)
			_exit(2);
		_exit(hshm_fds_send(pair.here, "x", 1, NULL, 0) == 1 ? 0 : 1);
	}
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &ticks, NULL);
	assert_int_equal(hshm_fds_receive(pair.there, &byte, 1, NULL, 0, NULL), 1);
	setitimer(ITIMER_REAL, &none, NULL);
	assert_true(n_alarms >= 5);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(ticked[0]);
	close(ticked[1]);
	close_pair(pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(message_arrives_with_its_bytes),
		cmocka_unit_test(too_many_descriptors_on_their_way_are_told),
		cmocka_unit_test(segment_travels_and_shows_the_same_bytes),
		cmocka_unit_test(most_descriptors_travel_in_one_message),
		cmocka_unit_test(more_descriptors_than_wanted_are_closed_and_refused),
		cmocka_unit_test(flood_of_descriptors_leaks_none),
		cmocka_unit_test(message_that_does_not_fit_is_refused_whole),
		cmocka_unit_test(credentials_beside_the_descriptors_do_no_harm),
		cmocka_unit_test(peer_that_hung_up_is_told_without_a_signal),
		cmocka_unit_test(full_socket_says_eagain_and_huge_message_emsgsize),
		cmocka_unit_test(signal_does_not_end_a_receive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
