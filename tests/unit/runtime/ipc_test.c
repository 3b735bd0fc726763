/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_test.c - the runtime's socket: its name, who may come, what it answers, and what is left when they go
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chimaera/runtime.h>
#include <hshm/segment.h>
#include <hshm/thread_model.h>

#include "runtime/ipc_manager.h"
#include "runtime/ipc_socket.h"
#include "runtime/runtime.h"
#include "support/skip.h"
#include "task/handshake.h"
#include "task/segment_layout.h"
#include "task/socket_path.h"

#define PLACES	3u
#define LANES	2u
#define WAIT_MS 10000

static const char config[] = "log_level: error\n"
			     "workers: {count: 2}\n"
			     "clients: {max: 3, memory_mib: 8, lanes: 2, lane_depth: 64}\n"
			     "memory: {private_mib: 256}\n";

static struct chi_runtime *start(const char *name)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.listen = true, .config_text = config, .name = name);
	struct chi_runtime *runtime = NULL;
	int rc = chi_runtime_start(&opts, &runtime);

	if (rc < 0)
		fail_msg("start: %d %s", rc, chi_error_text());
	return runtime;
}

static int setup(void **state)
{
	char folder[] = "/tmp/chi-ipc.XXXXXX";

	if (!mkdtemp(folder))
		return -1;
	setenv("XDG_RUNTIME_DIR", folder, 1);
	*state = start("ipc-test");
	return 0;
}

/* Nothing of the name may be left. */
static int teardown(void **state)
{
	char folder[256];
	int rc;

	chi_runtime_stop(*state, 0, NULL);
	snprintf(folder, sizeof(folder), "%s/chimaera", getenv("XDG_RUNTIME_DIR"));
	rc = rmdir(folder);
	if (rmdir(getenv("XDG_RUNTIME_DIR")) < 0 || rc < 0) {
		print_error("left in %s: %s\n", folder, strerror(errno));
		return -1;
	}
	return 0;
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Sockets are closed by threads of their own, soon; and one that was connected may be accepted between two counts. */
static void wait_fds(int n)
{
	int now = count_fds();

	for (int i = 0; i < WAIT_MS && now > n; i++) {
		usleep(1000);
		now = count_fds();
	}
	assert_in_range(now, 1, n);
}

/* ---- a client by hand ---- */

static int try_connect(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct chi_socket_path where;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (chi_socket_path(name, CHI_SOCKET_FIND, &where) == 0) {
		memcpy(address.sun_path, where.path, sizeof(where.path));
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
	}
	close(fd);
	return -1;
}

static int connect_raw(void)
{
	int fd = try_connect("ipc-test");

	assert_true(fd >= 0);
	return fd;
}

/* Whatever comes, descriptors closed. Returns its bytes, 0: hung up. */
static long receive(int fd, union chi_message *message, int *ret_fd, uint32_t *ret_n_fds)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	int fds[HSHM_FDS_MAX];
	uint32_t n_fds = 0;
	long n;

	assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
	n = hshm_fds_receive(fd, message, sizeof(*message), fds, HSHM_FDS_MAX, &n_fds);
	if (n == -ECONNRESET) /* it closed with something of ours unread; what it sent comes after */
		n = hshm_fds_receive(fd, message, sizeof(*message), fds, HSHM_FDS_MAX, &n_fds);
	for (uint32_t i = 0; i < n_fds; i++) {
		if (ret_fd && i == 0)
			*ret_fd = fds[0];
		else
			close(fds[i]);
	}
	if (ret_n_fds)
		*ret_n_fds = n_fds;
	return n;
}

static void send_bytes(int fd, const void *bytes, size_t size_bytes)
{
	assert_int_equal(hshm_fds_send(fd, bytes, size_bytes, NULL, 0), size_bytes);
}

static struct chi_hello honest_hello(void)
{
	return (struct chi_hello){ CHI_MESSAGE_HELLO, CHI_HELLO_MAGIC, CHI_LAYOUT_VERSION, CHI_ABI_VERSION };
}

static int attach_raw(struct chi_welcome *ret_welcome)
{
	struct chi_hello hello = honest_hello();
	union chi_message message;
	uint32_t n_fds;
	int fd = connect_raw();

	send_bytes(fd, &hello, sizeof(hello));
	assert_int_equal(receive(fd, &message, NULL, &n_fds), sizeof(struct chi_welcome));
	assert_int_equal(message.type, CHI_MESSAGE_WELCOME);
	assert_int_equal(n_fds, CHI_WELCOME_FDS);
	if (ret_welcome)
		*ret_welcome = message.welcome;
	return fd;
}

static void expect_refusal(int fd, int error, const char *text)
{
	union chi_message message;
	uint32_t n_fds;

	assert_int_equal(receive(fd, &message, NULL, &n_fds), sizeof(struct chi_refusal));
	assert_int_equal(message.type, CHI_MESSAGE_REFUSAL);
	assert_int_equal(message.refusal.error, error);
	assert_non_null(strstr(message.refusal.text, text));
	assert_int_equal(n_fds, 0);
}

static void expect_hang_up(int fd)
{
	union chi_message message;

	assert_true(receive(fd, &message, NULL, NULL) <= 0);
	close(fd);
}

static void wait_sessions(struct chi_runtime *runtime, uint32_t n)
{
	for (int i = 0; i < WAIT_MS && chi_ipc_n_sessions(runtime->ipc) != n; i++)
		HSHM_THREAD_MODEL->sleep_for_us(1000);
	assert_int_equal(chi_ipc_n_sessions(runtime->ipc), n);
}

/* ---- hello ---- */

static void welcome_says_what_the_runtime_has(void **state)
{
	struct chi_runtime *runtime = *state;
	struct chi_welcome welcome;
	int fd = attach_raw(&welcome);

	assert_int_equal(welcome.layout_version, CHI_LAYOUT_VERSION);
	assert_int_equal(welcome.generation, runtime->generation);
	assert_int_equal(welcome.runtime_pid, getpid());
	assert_int_equal(welcome.n_lanes, LANES);
	assert_int_equal(welcome.lane_depth, 64);
	assert_int_equal(welcome.n_workers, 2);
	assert_int_equal(welcome.client_bytes, 8 << 20);
	wait_sessions(runtime, 1);
	close(fd);
	wait_sessions(runtime, 0);
}

static void other_layout_version_is_refused_naming_both(void **state)
{
	struct chi_hello hello = honest_hello();
	int fd = connect_raw();

	(void)state;
	hello.layout_version = 4711;
	send_bytes(fd, &hello, sizeof(hello));
	expect_refusal(fd, -EPROTO, "4711");
	expect_hang_up(fd);
}

static void another_abi_is_refused_and_both_are_named(void **state)
{
	struct chi_hello other = honest_hello();
	char text[64];
	int fd = connect_raw();

	(void)state;
	other.abi_version = 9999;
	snprintf(text, sizeof(text), "ABI version 9999 of the client, %u of this runtime", CHI_ABI_VERSION);
	send_bytes(fd, &other, sizeof(other));
	expect_refusal(fd, -EPROTO, text);
	expect_hang_up(fd);
}

static void rubbish_is_refused_and_hung_up(void **state)
{
	const struct chi_lane_open early = { .type = CHI_MESSAGE_LANE_OPEN };
	struct chi_hello bad_magic = honest_hello();
	char long_message[4096] = { 1 };
	const struct {
		const void *bytes;
		size_t size_bytes;
	} cases[] = {
		{ "x", 1 },
		{ &early, sizeof(early) },
		{ &bad_magic, sizeof(bad_magic) },
		{ &bad_magic, sizeof(bad_magic) - 4 },
		{ long_message, sizeof(long_message) },
		{ "\0\0\0\0", 4 },
	};

	(void)state;
	bad_magic.magic = 0;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = connect_raw();

		send_bytes(fd, cases[i].bytes, cases[i].size_bytes);
		expect_refusal(fd, -EPROTO, "");
		expect_hang_up(fd);
	}
	close(attach_raw(NULL));
}

static void descriptors_from_a_client_are_refused_and_closed(void **state)
{
	struct chi_hello hello = honest_hello();
	int before = count_fds();
	int fd = connect_raw();

	(void)state;
	if (hshm_fds_send(fd, &hello, sizeof(hello), &fd, 1) < 0) {
		assert_int_equal(errno, EPERM); /* newer kernels (Linux 6.16) refuse for the runtime */
		close(fd);
	} else {
		expect_refusal(fd, -EPROTO, "");
		expect_hang_up(fd);
	}
	wait_fds(before);
}

static void second_hello_ends_the_session(void **state)
{
	struct chi_hello hello = honest_hello();
	int fd = attach_raw(NULL);

	send_bytes(fd, &hello, sizeof(hello));
	expect_refusal(fd, -EPROTO, "");
	expect_hang_up(fd);
	wait_sessions(*state, 0);
}

static void silent_connection_is_hung_up(void **state)
{
	int fd = connect_raw();

	(void)state;
	expect_refusal(fd, -ETIMEDOUT, "");
	expect_hang_up(fd);
}

static void client_past_the_limit_is_refused_until_one_goes(void **state)
{
	struct chi_hello hello = honest_hello();
	int fds[PLACES], fd;

	for (uint32_t i = 0; i < PLACES; i++)
		fds[i] = attach_raw(NULL);
	fd = connect_raw();
	send_bytes(fd, &hello, sizeof(hello));
	expect_refusal(fd, -EUSERS, "clients.max");
	expect_hang_up(fd);
	close(fds[1]);
	wait_sessions(*state, PLACES - 1);
	fds[1] = attach_raw(NULL);
	for (uint32_t i = 0; i < PLACES; i++)
		close(fds[i]);
	wait_sessions(*state, 0);
}

static void another_user_is_refused(void **state)
{
	union chi_message message;
	struct chi_socket_path where;
	int status;
	pid_t child;

	(void)state;
	if (geteuid() != 0)
		skip_because("only root can become another user");
	/* let it past the folder and the file: what is tested is the look at who connects */
	assert_int_equal(chi_socket_path("ipc-test", CHI_SOCKET_FIND, &where), 0);
	assert_int_equal(chmod(where.path, 0666), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct sockaddr_un address = { .sun_family = AF_UNIX };
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

		/* the folder is entered as root, the connection is made as nobody */
		*strrchr(where.path, '/') = '\0';
		if (chdir(where.path) < 0 || setgid(65534) < 0 || setuid(65534) < 0)
			_exit(2);
		strcpy(address.sun_path, "ipc-test.sock");
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
			_exit(errno == EACCES ? 3 : 4);
		if (receive(fd, &message, NULL, NULL) != sizeof(struct chi_refusal))
			_exit(5);
		_exit(message.refusal.error == -EACCES ? 0 : 6);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	/* 3: the folder, 0700, stopped it already */
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3);
}

/* ---- lanes ---- */

static int ask_lane(int fd, uint32_t lane, uint32_t prio, uint32_t *ret_armed)
{
	struct chi_lane_open request = { .type = CHI_MESSAGE_LANE_OPEN, .serial = 9, .lane = lane, .prio = prio };
	union chi_message message;
	uint32_t n_fds;
	int bell = -1;

	send_bytes(fd, &request, sizeof(request));
	assert_int_equal(receive(fd, &message, &bell, &n_fds), sizeof(struct chi_lane_opened));
	assert_int_equal(message.type, CHI_MESSAGE_LANE_OPENED);
	assert_int_equal(message.lane_opened.serial, 9);
	assert_int_equal(n_fds, 1);
	*ret_armed = message.lane_opened.armed_index;
	return bell;
}

static void lanes_have_armed_words_of_their_own_and_open_once(void **state)
{
	struct chi_runtime *runtime = *state;
	uint32_t armed[LANES * CHI_PRIOS], again;
	int fd = attach_raw(NULL), bells[LANES * CHI_PRIOS], before, bell;

	for (uint32_t i = 0; i < LANES * CHI_PRIOS; i++) {
		const hshm_au32 *word;

		bells[i] = ask_lane(fd, i / CHI_PRIOS, i % CHI_PRIOS, &armed[i]);
		word = (const hshm_au32 *)((char *)runtime->main.map.base + chi_main_armed_offset(armed[i]));
		assert_int_equal(hshm_load_relaxed(word), 1);
		for (uint32_t j = 0; j < i; j++)
			assert_int_not_equal(armed[i], armed[j]);
	}
	before = count_fds();
	bell = ask_lane(fd, 0, 1, &again);
	assert_int_equal(again, armed[1]);
	close(bell);
	wait_fds(before);
	for (uint32_t i = 0; i < LANES * CHI_PRIOS; i++)
		close(bells[i]);
	close(fd);
	wait_sessions(runtime, 0);
}

static void lane_that_is_not_there_is_refused_and_hung_up(void **state)
{
	static const struct chi_lane_open requests[] = {
		{ CHI_MESSAGE_LANE_OPEN, 3, LANES, 0 },
		{ CHI_MESSAGE_LANE_OPEN, 3, 0, CHI_PRIOS },
		{ CHI_MESSAGE_LANE_OPEN, 3, UINT32_MAX, UINT32_MAX },
	};

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		int fd = attach_raw(NULL);

		send_bytes(fd, &requests[i], sizeof(requests[i]));
		expect_refusal(fd, -EPROTO, "");
		expect_hang_up(fd);
		wait_sessions(*state, 0);
	}
}

static void client_that_does_not_read_is_hung_up(void **state)
{
	struct chi_lane_open request = { .type = CHI_MESSAGE_LANE_OPEN };
	int fd = attach_raw(NULL);
	struct timeval second = { 1, 0 };

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second)), 0);
	/* our own buffer holds some hundreds; then sending blocks until the runtime reads, or it fails */
	for (int i = 0; i < 100000 && hshm_fds_send(fd, &request, sizeof(request), NULL, 0) > 0; i++)
		;
	wait_sessions(*state, 0);
	close(fd);
	/* and the thread is free for others */
	close(attach_raw(NULL));
}

static void many_sessions_leave_nothing_behind(void **state)
{
	struct chi_runtime *runtime = *state;
	struct hshm_heap_stats first, last;
	uint32_t armed;
	int before = 0;

	for (int i = 0; i < 200; i++) {
		int fd = attach_raw(NULL);

		for (uint32_t j = 0; j < LANES * CHI_PRIOS; j++)
			close(ask_lane(fd, j / CHI_PRIOS, j % CHI_PRIOS, &armed));
		/* words are given again: there are PLACES x LANES x CHI_PRIOS of them */
		assert_true(armed < PLACES * LANES * CHI_PRIOS);
		close(fd);
		wait_sessions(runtime, 0);
		if (i == 10) {
			before = count_fds();
			hshm_heap_get_stats(runtime->heap, &first);
		}
	}
	/* a few may have been on their way to be closed and freed at the first count, too: a leak would be one a session */
	wait_fds(before);
	hshm_heap_get_stats(runtime->heap, &last);
	for (int i = 0; i < WAIT_MS && last.n_blocks > first.n_blocks; i++) {
		usleep(1000);
		hshm_heap_get_stats(runtime->heap, &last);
	}
	assert_in_range(last.n_blocks, 0, first.n_blocks);
}

/* ---- ends ---- */

static void killed_process_is_noticed_though_its_child_holds_the_socket(void **state)
{
	int pipes[2], status;
	pid_t child, grandchild;

	assert_int_equal(pipe(pipes), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		attach_raw(NULL);
		grandchild = fork();
		if (grandchild == 0) {
			pause();
			_exit(0);
		}
		if (write(pipes[1], &grandchild, sizeof(grandchild)) != sizeof(grandchild))
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(pipes[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
	wait_sessions(*state, 1);
	assert_int_equal(kill(child, SIGKILL), 0);
	wait_sessions(*state, 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(kill(grandchild, SIGKILL), 0);
	close(pipes[0]);
	close(pipes[1]);
}

static void client_outlives_the_runtime(void **state)
{
	struct chi_runtime *runtime = start("ipc-other");
	struct chi_client *embedded, *connected;
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "ipc-other");
	void *memory;

	(void)state;
	assert_int_equal(chi_runtime_client(runtime, NULL, &embedded), 0);
	assert_int_equal(chi_client_connect(&opts, &connected), 0);
	assert_int_equal(chi_client_alive(embedded), 0);
	assert_int_equal(chi_client_alive(connected), 0);
	assert_int_equal(chi_alloc(embedded, 4096, &memory), 0);
	assert_int_equal(chi_runtime_stop(runtime, 0, NULL), 0);
	assert_int_equal(chi_client_alive(embedded), -EOWNERDEAD);
	assert_int_equal(chi_client_alive(connected), -EOWNERDEAD);
	/* what it has is its own; there is nothing more to be had */
	memset(memory, 1, 4096);
	chi_free(embedded, memory);
	assert_int_equal(chi_alloc(embedded, 4096, &memory), -EOWNERDEAD);
	chi_client_disconnect(embedded);
	chi_client_disconnect(connected);
	assert_int_equal(chi_client_connect(&opts, &connected), -ENOENT);
}

static void who_comes_while_it_stops_is_told_so(void **state)
{
	struct chi_runtime *runtime = *state, *second;
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.listen = true, .config_text = config, .name = "ipc-test");
	struct chi_lane_open request = { .type = CHI_MESSAGE_LANE_OPEN };
	struct chi_hello hello = honest_hello();
	int fd = attach_raw(NULL), late, socket;

	chi_ipc_let_nobody_in(runtime->ipc);
	late = connect_raw();
	send_bytes(late, &hello, sizeof(hello));
	expect_refusal(late, -ESHUTDOWN, "stopping");
	close(late);
	/* and its name is its own until it has ended */
	assert_int_equal(chi_runtime_start(&opts, &second), -EADDRINUSE);
	assert_int_equal(chi_ipc_connect_local(runtime->ipc, &socket), -ESHUTDOWN);
	send_bytes(fd, &request, sizeof(request));
	expect_refusal(fd, -ESHUTDOWN, "stopping");
	close(fd);
}

/* ---- the name ---- */

static void second_runtime_of_a_name_is_refused_naming_path_and_pid(void **state)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.listen = true, .config_text = config, .name = "ipc-test");
	struct chi_runtime *second;
	char pid[32];

	(void)state;
	assert_int_equal(chi_runtime_start(&opts, &second), -EADDRINUSE);
	snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
	assert_non_null(strstr(chi_error_text(), pid));
	assert_non_null(strstr(chi_error_text(), "/ipc-test.sock"));
	/* and the first has its name still */
	close(attach_raw(NULL));
}

static void socket_of_a_dead_runtime_is_replaced(void **state)
{
	struct chi_ipc_socket left, taken;
	struct stat st;

	(void)state;
	assert_int_equal(chi_ipc_socket_open("ipc-stale", CHI_NO_GROUP, &left), 0);
	assert_int_equal(stat(left.where.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	chi_ipc_socket_close(&left); /* as after SIGKILL: the file stays */
	assert_int_equal(chi_ipc_socket_open("ipc-stale", CHI_NO_GROUP, &taken), 0);
	chi_ipc_socket_remove(&taken);
	chi_ipc_socket_close(&taken);
	assert_int_equal(stat(taken.where.path, &st), -1);
}

static void name_that_became_anothers_is_left_to_it(void **state)
{
	struct chi_ipc_socket first, second;
	struct stat st;

	(void)state;
	assert_int_equal(chi_ipc_socket_open("ipc-lost", CHI_NO_GROUP, &first), 0);
	assert_int_equal(unlink(first.where.path), 0); /* somebody tidied up */
	assert_int_equal(chi_ipc_socket_open("ipc-lost", CHI_NO_GROUP, &second), 0);
	chi_ipc_socket_remove(&first);
	chi_ipc_socket_close(&first);
	assert_int_equal(stat(second.where.path, &st), 0);
	chi_ipc_socket_remove(&second);
	chi_ipc_socket_close(&second);
	assert_int_equal(stat(second.where.path, &st), -1);
}

static void socket_held_by_a_child_of_a_dead_runtime_is_replaced(void **state)
{
	struct chi_ipc_socket taken;
	int pipes[2], status;
	pid_t child, grandchild;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct chi_ipc_socket socket;

		if (chi_ipc_socket_open("ipc-held", CHI_NO_GROUP, &socket) < 0)
			_exit(1);
		grandchild = fork();
		if (grandchild == 0) {
			pause();
			_exit(0);
		}
		_exit(write(pipes[1], &grandchild, sizeof(grandchild)) != sizeof(grandchild));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(read(pipes[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
	assert_int_equal(chi_ipc_socket_open("ipc-held", CHI_NO_GROUP, &taken), 0);
	assert_int_equal(kill(grandchild, SIGKILL), 0);
	chi_ipc_socket_remove(&taken);
	chi_ipc_socket_close(&taken);
	close(pipes[0]);
	close(pipes[1]);
}

#define STARTERS 6

/* One of the starters: 0 won, and holds the name until told; else the error. */
static void start_at_once(int go, int answers, int end)
{
	struct chi_ipc_socket taken;
	char byte;
	int rc;

	if (read(go, &byte, 1) < 0)
		_exit(1);
	rc = chi_ipc_socket_open("ipc-race", CHI_NO_GROUP, &taken);
	if (write(answers, &rc, sizeof(rc)) != sizeof(rc) || read(end, &byte, 1) < 0)
		_exit(1);
	_exit(0); /* a winner leaves its socket behind, as one that was killed */
}

static void of_many_that_start_at_once_one_wins(void **state)
{
	struct chi_ipc_socket taken;

	(void)state;
	/* from the second round on a dead one's socket is there, which all want to replace */
	for (int round = 0; round < 20; round++) {
		int go[2], answers[2], end[2], n_won = 0;
		pid_t children[STARTERS];

		assert_true(pipe(go) == 0 && pipe(answers) == 0 && pipe(end) == 0);
		for (int i = 0; i < STARTERS; i++) {
			children[i] = fork();
			if (children[i] == 0) {
				close(go[1]);
				close(end[1]);
				start_at_once(go[0], answers[1], end[0]);
			}
		}
		close(go[1]);
		for (int i = 0; i < STARTERS; i++) {
			int rc;

			assert_int_equal(read(answers[0], &rc, sizeof(rc)), sizeof(rc));
			assert_true(rc == 0 || rc == -EADDRINUSE);
			n_won += rc == 0;
		}
		assert_int_equal(n_won, 1);
		close(end[1]);
		for (int i = 0; i < STARTERS; i++)
			waitpid(children[i], NULL, 0);
		close(go[0]);
		close(answers[0]);
		close(answers[1]);
		close(end[0]);
	}
	assert_int_equal(chi_ipc_socket_open("ipc-race", CHI_NO_GROUP, &taken), 0);
	chi_ipc_socket_remove(&taken);
	chi_ipc_socket_close(&taken);
}

static void file_that_is_no_socket_is_left_alone(void **state)
{
	struct chi_ipc_socket taken;
	struct chi_socket_path where;
	FILE *file;

	(void)state;
	assert_int_equal(chi_socket_path("ipc-file", CHI_SOCKET_MAKE, &where), 0);
	file = fopen(where.path, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(chi_ipc_socket_open("ipc-file", CHI_NO_GROUP, &taken), -EADDRINUSE);
	assert_int_equal(unlink(where.path), 0);
}

static void unknown_group_returns_einval(void **state)
{
	gid_t group;

	(void)state;
	assert_int_equal(chi_ipc_group("", &group), 0);
	assert_true(group == CHI_NO_GROUP);
	assert_int_equal(chi_ipc_group("no-such-group-here", &group), -EINVAL);
	assert_int_equal(chi_ipc_group("root", &group), 0);
	assert_int_equal(group, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(welcome_says_what_the_runtime_has),
		CASE(other_layout_version_is_refused_naming_both),
		CASE(another_abi_is_refused_and_both_are_named),
		CASE(rubbish_is_refused_and_hung_up),
		CASE(descriptors_from_a_client_are_refused_and_closed),
		CASE(second_hello_ends_the_session),
		CASE(silent_connection_is_hung_up),
		CASE(client_past_the_limit_is_refused_until_one_goes),
		CASE(another_user_is_refused),
		CASE(lanes_have_armed_words_of_their_own_and_open_once),
		CASE(lane_that_is_not_there_is_refused_and_hung_up),
		CASE(client_that_does_not_read_is_hung_up),
		CASE(many_sessions_leave_nothing_behind),
		CASE(killed_process_is_noticed_though_its_child_holds_the_socket),
		CASE(client_outlives_the_runtime),
		CASE(who_comes_while_it_stops_is_told_so),
		CASE(second_runtime_of_a_name_is_refused_naming_path_and_pid),
		CASE(socket_of_a_dead_runtime_is_replaced),
		CASE(name_that_became_anothers_is_left_to_it),
		CASE(socket_held_by_a_child_of_a_dead_runtime_is_replaced),
		CASE(of_many_that_start_at_once_one_wins),
		CASE(file_that_is_no_socket_is_left_alone),
		CASE(unknown_group_returns_einval),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
