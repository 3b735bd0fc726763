/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * limits_test.c - at each limit a runtime serves or refuses, and never gets stuck
 *
 * usage: fault_limits [--full] [CASE]
 *
 * Descriptors, a client's memory, the runtime's memory, address space, the disk under its folder, clients at once, client threads, lanes,
 * queued tasks: more is asked for than there is. Each request is served with the right answer, or refused with an errno that the
 * case allows; while it is at the limit the runtime answers a steady client, and when the load has gone its descriptors and
 * segments are as many as before. A line of the table for each.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <chimaera/chimaera.h>
#include <errno.h>
#include <fcntl.h>
#include <hshm/clock.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../modules/probe.h"
#include "support/commit.h"
#include "support/daemon.h"
#include "support/holdings.h"
#include "support/skip.h"

#define NAME	     "limits"
#define SOON_NS	     (30 * HSHM_NSEC_PER_SEC)
#define ERRORS_MAX   6
#define MIB	     (UINT64_C(1) << 20)
#define N_THREADS    32u /* at once */
#define LANES_OF_ONE 250u

static bool full;
static pid_t daemon_pid;
static struct chi_client *steady;
static uint32_t pool;

/* ---- what was asked, and what came of it ---- */

struct tally {
	char what[80];
	uint64_t asked, served, begin_ns;
	struct {
		int error;
		uint64_t n;
	} refused[ERRORS_MAX];
};

static struct tally begin_tally(const char *format, ...) __attribute__((format(printf, 1, 2)));

static struct tally begin_tally(const char *format, ...)
{
	struct tally tally = { .begin_ns = hshm_clock_ns() };
	va_list args;

	va_start(args, format);
	vsnprintf(tally.what, sizeof(tally.what), format, args);
	va_end(args);
	return tally;
}

static void count(struct tally *tally, int ret)
{
	tally->asked++;
	if (ret >= 0) {
		tally->served++;
		return;
	}
	for (int i = 0; i < ERRORS_MAX; i++) {
		if (tally->refused[i].n && tally->refused[i].error != ret)
			continue;
		tally->refused[i].error = ret;
		tally->refused[i].n++;
		return;
	}
	fail_msg("%s: too many different errors: %d", tally->what, ret);
}

static uint64_t n_refused(const struct tally *tally)
{
	return tally->asked - tally->served;
}

/* @allowed: ends with 0 */
static void end_tally(const struct tally *tally, const int *allowed)
{
	printf("| %-48s | %8llu | %8llu |", tally->what, (unsigned long long)tally->asked,
	       (unsigned long long)tally->served);
	for (int i = 0; i < ERRORS_MAX && tally->refused[i].n; i++)
		printf("%s %llu %s", i ? "," : "", (unsigned long long)tally->refused[i].n,
		       strerrorname_np(-tally->refused[i].error));
	printf(" | %.1f s |\n", (double)(hshm_clock_ns() - tally->begin_ns) / HSHM_NSEC_PER_SEC);
	fflush(stdout);
	for (int i = 0; i < ERRORS_MAX && tally->refused[i].n; i++) {
		const int *at = allowed;

		while (*at && *at != tally->refused[i].error)
			at++;
		if (!*at)
			fail_msg("%s: refused with %d, which is none of the errors for it", tally->what,
				 tally->refused[i].error);
	}
}

/* ---- the runtime ---- */

/* False: it had not ended, and was killed. */
static bool ends_within(uint64_t ns, pid_t pid, int *ret_status)
{
	uint64_t deadline_ns = hshm_deadline_ns(ns);
	pid_t ended;

	while ((ended = waitpid(pid, ret_status, WNOHANG)) == 0) {
		if (hshm_clock_ns() > deadline_ns) {
			kill(pid, SIGKILL);
			waitpid(pid, ret_status, 0);
			return false;
		}
		usleep(2000);
	}
	return ended == pid;
}

/* What ends does so a moment after its client has. */
static void expect_usage(const struct holdings *before)
{
	uint64_t deadline_ns = hshm_deadline_ns(SOON_NS);
	struct holdings now;

	do {
		now = holdings_of(daemon_pid);
		if (now.n_fds == before->n_fds && now.n_segments == before->n_segments)
			return;
		usleep(2000);
	} while (hshm_clock_ns() < deadline_ns);
	fail_msg("%u descriptors and %u segments, before it was %u and %u", now.n_fds, now.n_segments, before->n_fds,
		 before->n_segments);
}

/* Without an assertion, for other processes and threads. -EDEADLK: no answer; -EBADMSG: a wrong one. */
static int try_add(struct chi_client *client, uint64_t container, uint64_t in)
{
	struct probe_task *task;
	int ret = chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(container), PROBE_ADD, &task);

	if (ret < 0)
		return ret;
	task->in = in;
	ret = chi_submit(client, task);
	if (ret == 0)
		ret = chi_wait(task, SOON_NS);
	if (ret == -ETIMEDOUT)
		ret = -EDEADLK;
	if (ret == 0)
		ret = task->task.result;
	if (ret == 0 && task->out != in + 1)
		ret = -EBADMSG;
	chi_task_free(client, task);
	return ret;
}

static int add(struct chi_client *client, uint64_t container, uint64_t in)
{
	int ret = try_add(client, container, in);

	assert_int_not_equal(ret, -EDEADLK);
	assert_int_not_equal(ret, -EBADMSG);
	return ret;
}

static void expect_steady(void)
{
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(add(steady, 0, i), 0);
}

/* At the limit's end: a client that was not there before. */
static void expect_all_well(const struct holdings *before)
{
	struct chi_client *client;

	expect_steady();
	expect_usage(before);
	assert_int_equal(chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &client), 0);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(add(client, 0, i), 0);
	chi_client_disconnect(client);
	expect_usage(before);
}

/* @n_fds: the daemon's limit; 0: as ours */
static void start(const char *config, uint64_t n_fds, uint32_t n_containers, unsigned char n_lanes)
{
	struct chi_pool_spec spec = {
		.module = "probe", .n_containers = n_containers, .params = &n_lanes, .params_size = n_lanes ? 1 : 0
	};
	struct rlimit limit = { n_fds, n_fds };

	daemon_pid = daemon_start(NAME, config);
	assert_true(daemon_pid > 0);
	if (n_fds)
		assert_int_equal(prlimit(daemon_pid, RLIMIT_NOFILE, &limit, NULL), 0);
	assert_int_equal(chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &steady), 0);
	assert_int_equal(chi_pool_create(steady, &spec, &pool), 1);
	expect_steady();
}

static void end(void)
{
	int status;

	chi_client_disconnect(steady);
	status = daemon_end(daemon_pid, SIGTERM);
	daemon_pid = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("the daemon's end: status 0x%x", (unsigned int)status);
}

/* ---- descriptors, address space ---- */

/* Clients one after the other, which all stay, until so many in a row were refused. */
static void ask_for_clients(struct tally *tally, uint32_t n_max)
{
	struct chi_client **clients = calloc(n_max, sizeof(struct chi_client *));
	uint32_t n_clients = 0, n_in_a_row = 0;

	assert_non_null(clients);
	while (n_clients < n_max && n_in_a_row < 5) {
		struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = NAME,
							      .connect_timeout_ns = HSHM_NSEC_PER_SEC / 4);
		int ret = chi_client_connect(&opts, &clients[n_clients]);

		if (ret == 0) {
			n_clients++;
			ret = add(clients[n_clients - 1], 0, n_clients);
		}
		count(tally, ret);
		n_in_a_row = ret < 0 ? n_in_a_row + 1 : 0;
	}
	expect_steady();
	while (n_clients)
		chi_client_disconnect(clients[--n_clients]);
	free(clients);
}

/* Another number of them, another call that gets none: accept(), the pidfd, a segment, an eventfd ... */
static void descriptors(void **state)
{
	static const int allowed[] = { -EMFILE, -ETIMEDOUT, -ENOMEM, 0 };
	struct tally tally = begin_tally("clients, RLIMIT_NOFILE %s for the runtime", full ? "90 to 97" : "93, 94");

	(void)state;
	for (uint32_t n_fds = full ? 90 : 93; n_fds <= (full ? 97 : 94); n_fds++) {
		struct holdings before;

		start("log_level: error\nworkers: { count: 2 }\nclients: { memory_mib: 4, lanes: 2 }\n"
		      "memory: { private_mib: 256 }\n",
		      n_fds, 1, 0);
		before = holdings_of(daemon_pid);
		ask_for_clients(&tally, 200);
		expect_all_well(&before);
		end();
	}
	assert_true(tally.served > 5 && n_refused(&tally) >= 5);
	end_tally(&tally, allowed);
}

static uint64_t address_space_of_daemon(void)
{
	unsigned long long pages = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)daemon_pid);
	file = fopen(path, "re");
	assert_int_equal(fscanf(file, "%llu", &pages), 1);
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void address_space(void **state)
{
	static const int allowed[] = { -ENOMEM, -EAGAIN, -ETIMEDOUT, 0 };
	struct rlimit limit = { .rlim_max = RLIM_INFINITY };
	struct holdings before;
	struct tally tally;

	(void)state;
	start("log_level: error\nworkers: { count: 2 }\nclients: { memory_mib: 64, lanes: 2 }\nmemory: { private_mib: 256 }\n",
	      0, 1, 0);
	before = holdings_of(daemon_pid);
	limit.rlim_cur = address_space_of_daemon() + 1024 * MIB;
	assert_int_equal(prlimit(daemon_pid, RLIMIT_AS, &limit, NULL), 0);
	tally = begin_tally("clients of 64 MiB, RLIMIT_AS 1 GiB above the start");
	ask_for_clients(&tally, 200);
	assert_true(tally.served > 5 && n_refused(&tally) >= 5);
	end_tally(&tally, allowed);
	expect_all_well(&before);
	end();
}

/* Ready, or ended with an error: never by a signal. */
static int start_in_address_space(uint64_t bytes)
{
	uint64_t deadline_ns = hshm_deadline_ns(SOON_NS);
	struct rlimit ours, theirs;
	struct chi_client *client;
	int status;

	assert_int_equal(getrlimit(RLIMIT_AS, &ours), 0);
	theirs = (struct rlimit){ bytes, ours.rlim_max };
	daemon_pid = daemon_launch(
		NAME,
		"log_level: error\nmemory: { private_mib: 64 }\nclients: { memory_mib: 4 }\nworkers: { count: 2 }\n");
	assert_int_equal(prlimit(daemon_pid, RLIMIT_AS, &theirs, NULL), 0);
	while (hshm_clock_ns() < deadline_ns) {
		if (waitpid(daemon_pid, &status, WNOHANG) == daemon_pid) {
			daemon_pid = 0;
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 0);
			return -ENOMEM;
		}
		if (chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &client) == 0) {
			chi_client_disconnect(client);
			status = daemon_end(daemon_pid, SIGTERM);
			daemon_pid = 0;
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
			return 0;
		}
		usleep(5000);
	}
	fail_msg("neither ready nor ended with %llu bytes of address space", (unsigned long long)bytes);
	return -ETIMEDOUT;
}

static void starts_in_little_address_space(void **state)
{
	static const int allowed[] = { -ENOMEM, 0 };
	struct tally tally = begin_tally("starts, RLIMIT_AS from 8 MiB to 1 GiB");

	(void)state;
	for (uint64_t mib = 8; mib <= 1024; mib *= full ? 2 : 8)
		count(&tally, start_in_address_space(mib * MIB));
	assert_true(n_refused(&tally) > 0);
	end_tally(&tally, allowed);
}

/* ---- memory ---- */

static void a_clients_memory(void **state)
{
	static const int allowed[] = { -ENOMEM, 0 };
	void *blocks[600];
	struct holdings before;
	struct tally tally;

	(void)state;
	start("log_level: error\nworkers: { count: 2 }\nclients: { memory_mib: 16, lanes: 2 }\nmemory: { private_mib: 256 }\n",
	      0, 1, 0);
	before = holdings_of(daemon_pid);
	tally = begin_tally("blocks of 64 KiB, clients.memory_mib 16");
	for (uint32_t round = 0; round < 2; round++) {
		uint32_t n = 0;

		while (n < 600) {
			int ret = chi_alloc(steady, 65536, &blocks[n]);

			count(&tally, ret);
			if (ret < 0)
				break;
			memset(blocks[n++], 0x5a, 65536);
		}
		assert_in_range(n, 100, 260);
		while (n)
			chi_free(steady, blocks[--n]);
		expect_steady();
	}
	end_tally(&tally, allowed);
	expect_all_well(&before);
	end();
}

/* The lane's worker of each container: a task that computes for no time says where it was. */
static uint32_t begin_on(struct chi_client *client, uint32_t method, uint64_t container, uint64_t ns,
			 struct probe_task **ret_task)
{
	uint64_t deadline_ns = hshm_deadline_ns(SOON_NS);
	uint32_t worker;
	hshm_au32 *begun;
	void *memory;

	assert_int_equal(
		chi_task_alloc(client, sizeof(**ret_task), pool, CHI_QUERY_LOCAL_ID(container), method, ret_task), 0);
	assert_int_equal(chi_alloc(client, sizeof(*begun), &memory), 0);
	begun = memset(memory, 0, sizeof(*begun));
	(*ret_task)->in = ns;
	assert_int_equal(chi_buffer_set(client, &(*ret_task)->buffers[0], begun, sizeof(*begun), CHI_BUFFER_OUT), 0);
	assert_int_equal(chi_submit(client, *ret_task), 0);
	/* acquire: pairs with the release in the method */
	while (!(worker = hshm_load_acquire(begun))) {
		assert_true(hshm_clock_ns() < deadline_ns);
		usleep(200);
	}
	return worker - 1;
}

static uint32_t worker_of(uint64_t container)
{
	struct probe_task *task;
	uint32_t worker = begin_on(steady, PROBE_SPIN, container, 0, &task);

	assert_int_equal(chi_wait(task, SOON_NS), 0);
	return worker;
}

/* A method submits subtasks to a lane whose worker is held: each has a run context, until there is no memory for one more. Two
 * clients ask for it, as the lane of one of them is at the worker that is held. */
static void the_runtimes_memory(void **state)
{
	static const int allowed[] = { -ENOMEM, 0 };
	struct chi_client *clients[2];
	uint64_t held = 0, from = 1;
	struct holdings before;
	struct tally tally;

	(void)state;
	start("log_level: error\nworkers: { count: 2 }\nclients: { memory_mib: 16, lanes: 2 }\n"
	      "memory: { private_mib: 64, lane_depth: 131072 }\n",
	      0, 4, 0);
	while (worker_of(from) == worker_of(held))
		assert_true(++from < 4);
	before = holdings_of(daemon_pid);
	tally = begin_tally("subtasks under way, memory.private_mib 64");
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &clients[i]), 0);
	for (uint32_t round = 0; round < 2; round++) {
		struct probe_task *hold, *floods[2];

		begin_on(steady, PROBE_OCCUPY, held, HSHM_NSEC_PER_SEC, &hold);
		for (uint32_t i = 0; i < 2; i++) {
			assert_int_equal(chi_task_alloc(clients[i], sizeof(*floods[i]), pool, CHI_QUERY_LOCAL_ID(from),
							PROBE_FLOOD, &floods[i]),
					 0);
			floods[i]->in = held;
			floods[i]->count = 100000;
			assert_int_equal(chi_submit(clients[i], floods[i]), 0);
		}
		for (uint32_t i = 0; i < 2; i++) {
			assert_int_equal(chi_wait(floods[i], SOON_NS), 0);
			tally.asked += floods[i]->out;
			tally.served += floods[i]->out;
			if (floods[i]->task.result < 0)
				count(&tally, floods[i]->task.result);
			chi_task_free(clients[i], floods[i]);
		}
		assert_int_equal(chi_wait(hold, SOON_NS), 0);
		expect_steady();
	}
	for (uint32_t i = 0; i < 2; i++)
		chi_client_disconnect(clients[i]);
	assert_true(tally.served > 10000 && n_refused(&tally) > 0);
	end_tally(&tally, allowed);
	expect_all_well(&before);
	end();
}

/* ---- the disk ---- */

static void fill_disk(const char *folder)
{
	static const char zeros[4096];
	size_t part = sizeof(zeros);
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "%s/ballast", folder);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	while (part) {
		if (write(fd, zeros, part) <= 0)
			part /= 2;
	}
	close(fd);
}

/* In a process with a mount namespace of its own, and a program of its own: assertions end there. */
static void on_a_small_disk(void **state)
{
	static const char config[] = "log_level: info\nworkers: { count: 2 }\nclients: { memory_mib: 4, lanes: 2 }\n"
				     "memory: { private_mib: 256 }\n";
	static const int allowed[] = { -ENOSPC, 0 };
	struct tally tally = begin_tally("starts and clients, full disk under the folder");
	char folder[256], log[400], whole[1024];
	struct holdings before;
	bool ended;
	int status;

	(void)state;
	snprintf(folder, sizeof(folder), "%s/small", getenv("XDG_RUNTIME_DIR"));
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("tmpfs", folder, "tmpfs", 0, "size=24m,mode=0700"), 0);
	setenv("XDG_RUNTIME_DIR", folder, 1);
	snprintf(log, sizeof(log), "%s/log", folder);
	snprintf(whole, sizeof(whole), "log_file: %s\n%s", log, config);

	start(whole, 0, 1, 0);
	count(&tally, 0);
	fill_disk(folder);
	before = holdings_of(daemon_pid);
	for (uint32_t i = 0; i < 50; i++) {
		struct chi_client *client;
		int ret = chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &client);

		if (ret == 0) {
			ret = add(client, 0, i);
			chi_client_disconnect(client);
		}
		count(&tally, ret);
	}
	assert_int_equal(n_refused(&tally), 0); /* it is there already: it needs no disk */
	expect_all_well(&before);
	end();

	/* nothing fits any more: it says so and ends */
	fill_disk(folder);
	daemon_pid = daemon_launch(NAME, config);
	ended = ends_within(SOON_NS, daemon_pid, &status);
	daemon_pid = 0;
	assert_true(ended);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 0);
	count(&tally, -ENOSPC);
	end_tally(&tally, allowed);
	umount2(folder, MNT_DETACH);
}

static void a_full_disk(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip_because("a small file system of its own needs root");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0)
			_exit(77);
		execl("/proc/self/exe", "fault_limits", "on_a_small_disk", (char *)NULL);
		_exit(1);
	}
	assert_true(pid > 0);
	assert_true(ends_within(3 * SOON_NS, pid, &status));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip_because("no mount namespace may be made here");
	assert_int_equal(status, 0);
}

/* ---- clients at once ---- */

/* In a child: attach, one round trip, tell; stay until all have; another round trip. */
static int one_client(int tell, int all_there)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = NAME, .connect_timeout_ns = SOON_NS);
	struct chi_client *client;
	int ret = chi_client_connect(&opts, &client), attached = ret;
	char byte;

	if (ret == 0)
		ret = try_add(client, 0, (uint64_t)getpid());
	if (write(tell, &ret, sizeof(ret)) != sizeof(ret) || read(all_there, &byte, 1) != 0)
		return 1;
	if (attached < 0)
		return 0;
	ret = try_add(client, 0, 1);
	chi_client_disconnect(client);
	return ret < 0;
}

/* A child that is silent fails the case; the others go. */
static int take_told(int tell, int all_there)
{
	struct pollfd told = { .fd = tell, .events = POLLIN };
	int ret = -1;

	if (poll(&told, 1, SOON_NS / HSHM_NSEC_PER_MSEC) != 1 || read(tell, &ret, sizeof(ret)) != sizeof(ret)) {
		close(all_there);
		fail_msg("not all client processes tell how they fare");
	}
	return ret;
}

static void clients_at_once(void **state)
{
	static const int allowed[] = { -EUSERS, 0 };
	uint32_t n_max = full ? 1000 : 100, n_asked = n_max + 20;
	pid_t *pids = calloc(n_asked, sizeof(*pids));
	int tell[2], all_there[2], status;
	struct holdings before;
	struct tally tally;
	char config[400];

	(void)state;
	snprintf(config, sizeof(config),
		 "log_level: error\nworkers: { count: 2 }\nclients: { max: %u, memory_mib: 4, lanes: 2 }\n"
		 "memory: { private_mib: 256 }\n",
		 n_max + 1);
	start(config, 0, 1, 0);
	before = holdings_of(daemon_pid);
	tally = begin_tally("client processes at once, clients.max %u", n_max + 1);
	assert_int_equal(pipe2(tell, O_CLOEXEC), 0);
	assert_int_equal(pipe2(all_there, O_CLOEXEC), 0);
	for (uint32_t i = 0; i < n_asked; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			close(all_there[1]);
			_exit(one_client(tell[1], all_there[0]));
		}
	}
	close(tell[1]);
	for (uint32_t i = 0; i < n_asked; i++)
		count(&tally, take_told(tell[0], all_there[1]));
	expect_steady();
	close(all_there[1]);
	for (uint32_t i = 0; i < n_asked; i++) {
		assert_true(ends_within(SOON_NS, pids[i], &status));
		assert_int_equal(status, 0);
	}
	free(pids);
	close(all_there[0]);
	close(tell[0]);
	assert_int_equal(tally.served, n_max);
	end_tally(&tally, allowed);
	expect_all_well(&before);
	end();
}

/* ---- client threads ---- */

static void *client_thread(void *arg)
{
	return (void *)(intptr_t)try_add(arg, 0, 7);
}

static void client_threads(void **state)
{
	static const int allowed[] = { 0 };
	uint32_t n = full ? 5024 : 512;
	struct holdings before;
	struct tally tally;

	(void)state;
	start("log_level: error\nworkers: { count: 2 }\nclients: { memory_mib: 16, lanes: 8 }\nmemory: { private_mib: 256 }\n",
	      0, 1, 0);
	before = holdings_of(daemon_pid);
	tally = begin_tally("threads of a client, %u at once, 8 lanes", N_THREADS);
	for (uint32_t i = 0; i < n; i += N_THREADS) {
		struct chi_client *client;
		pthread_t threads[N_THREADS];
		void *ret;

		assert_int_equal(chi_client_connect(&CHI_CLIENT_OPTS(.name = NAME), &client), 0);
		for (uint32_t j = 0; j < N_THREADS; j++)
			assert_int_equal(pthread_create(&threads[j], NULL, client_thread, client), 0);
		for (uint32_t j = 0; j < N_THREADS; j++) {
			pthread_join(threads[j], &ret);
			count(&tally, (int)(intptr_t)ret);
		}
		chi_client_disconnect(client);
	}
	end_tally(&tally, allowed);
	expect_all_well(&before);
	end();
}

/* ---- lanes ---- */

static void lanes(void **state)
{
	static const int allowed[] = { 0 };
	uint32_t n_containers = full ? 400 : 20, n_lanes = n_containers * LANES_OF_ONE;
	struct probe_task **tasks = calloc(LANES_OF_ONE, sizeof(struct probe_task *));
	struct holdings before;
	struct tally tally;
	uint32_t first_pool;

	(void)state;
	start("log_level: error\nworkers: { count: 2 }\nclients: { memory_mib: 16, lanes: 2 }\n"
	      "memory: { private_mib: 4096, lane_depth: 16 }\n",
	      0, 1, 0);
	before = holdings_of(daemon_pid);
	first_pool = pool;
	tally = begin_tally("tasks over %u lanes", n_lanes);
	for (uint32_t round = 0; round < 2; round++) {
		unsigned char lanes_of_one = LANES_OF_ONE;
		struct chi_pool_spec spec = { .module = "probe",
					      .name = "lanes",
					      .n_containers = n_containers,
					      .params = &lanes_of_one,
					      .params_size = 1 };

		assert_int_equal(chi_pool_create(steady, &spec, &pool), 1);
		for (uint32_t i = 0; i < n_lanes; i += LANES_OF_ONE) {
			for (uint32_t j = 0; j < LANES_OF_ONE; j++) {
				assert_int_equal(chi_task_alloc(steady, sizeof(*tasks[j]), pool,
								CHI_QUERY_LOCAL_HASH(i + j), PROBE_ADD, &tasks[j]),
						 0);
				tasks[j]->in = i + j;
				assert_int_equal(chi_submit(steady, tasks[j]), 0);
			}
			for (uint32_t j = 0; j < LANES_OF_ONE; j++) {
				assert_int_equal(chi_wait(tasks[j], SOON_NS), 0);
				assert_int_equal(tasks[j]->out, i + j + 1);
				count(&tally, tasks[j]->task.result);
				chi_task_free(steady, tasks[j]);
			}
		}
		assert_int_equal(chi_pool_destroy(steady, pool), 0);
	}
	pool = first_pool;
	end_tally(&tally, allowed);
	free(tasks);
	expect_all_well(&before);
	end();
}

/* ---- queued tasks ---- */

/* Nobody takes them out while the daemon is stopped. */
static void queued_tasks(void **state)
{
	static const int allowed[] = { -EAGAIN, 0 };
	uint32_t depth = full ? 1u << 20 : 1u << 16, n_asked = depth + 1000, n_accepted = 0;
	struct probe_task **tasks = calloc(n_asked, sizeof(struct probe_task *));
	struct holdings before;
	struct tally tally;
	char config[400];

	(void)state;
	snprintf(config, sizeof(config),
		 "log_level: error\nworkers: { count: 2 }\nclients: { memory_mib: 1024, lanes: 1, lane_depth: %u }\n"
		 "memory: { private_mib: 256 }\n",
		 depth);
	start(config, 0, 1, 0);
	before = holdings_of(daemon_pid);
	tally = begin_tally("tasks queued in one lane of %u, runtime stopped", depth);
	for (uint32_t i = 0; i < n_asked; i++) {
		assert_int_equal(
			chi_task_alloc(steady, sizeof(*tasks[i]), pool, CHI_QUERY_LOCAL_ID(0), PROBE_ADD, &tasks[i]),
			0);
		tasks[i]->in = i;
	}
	assert_int_equal(daemon_freeze(daemon_pid), 0);
	for (uint32_t i = 0; i < n_asked; i++) {
		int ret = chi_submit(steady, tasks[i]);

		n_accepted += ret == 0;
		count(&tally, ret);
	}
	assert_true(n_accepted >= depth - 64 && n_accepted <= depth);
	kill(daemon_pid, SIGCONT);
	for (uint32_t i = 0; i < n_asked; i++) {
		if (i < n_accepted) {
			assert_int_equal(chi_wait(tasks[i], SOON_NS), 0);
			assert_int_equal(tasks[i]->task.result, 0);
			assert_int_equal(tasks[i]->out, i + 1);
		}
		chi_task_free(steady, tasks[i]);
	}
	end_tally(&tally, allowed);
	free(tasks);
	expect_all_well(&before);
	end();
}

/* A case that failed leaves no daemon to the next. */
static int after(void **state)
{
	(void)state;
	if (daemon_pid > 0)
		daemon_end(daemon_pid, SIGKILL);
	daemon_pid = 0;
	return 0;
}

#define LIMIT(name) cmocka_unit_test_teardown(name, after)

/* Returns only when it is one. */
static void expect_case(const char *name, const struct CMUnitTest *tests, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(tests[i].name, name) == 0)
			return;
	fprintf(stderr, "no case '%s'; there are:", name);
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, " %s", tests[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		LIMIT(descriptors),	 LIMIT(address_space),	     LIMIT(starts_in_little_address_space),
		LIMIT(a_clients_memory), LIMIT(the_runtimes_memory), LIMIT(a_full_disk),
		LIMIT(clients_at_once),	 LIMIT(client_threads),	     LIMIT(lanes),
		LIMIT(queued_tasks),
	};
	const struct CMUnitTest of_a_full_disk[] = { LIMIT(on_a_small_disk) };

	if (argc == 2 && strcmp(argv[1], of_a_full_disk[0].name) == 0)
		return cmocka_run_group_tests(of_a_full_disk, NULL, NULL);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--full") == 0) {
			full = true;
			continue;
		}
		expect_case(argv[i], tests, sizeof(tests) / sizeof(tests[0]));
		cmocka_set_test_filter(argv[i]);
	}
	printf("commit %s\n\n| what, limit | asked | served | refused | time |\n|---|---:|---:|---|---:|\n",
	       commit_name());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
