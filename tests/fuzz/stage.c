/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stage.c - a runtime in the fuzzer's process, and an honest client of it
 */
#include "stage.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"

static struct fuzz_stage *started;

static void stop(void)
{
	chi_client_disconnect(started->honest);
	if (chi_runtime_stop(started->runtime, 5 * HSHM_NSEC_PER_SEC, NULL) < 0)
		fuzz_fail("the runtime's stop: tasks are left");
}

/* Those of our build, unless somebody says where they are. */
static void find_modules(void)
{
	char exe[2048], path[8192];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n <= 0)
		fuzz_fail("/proc/self/exe");
	exe[n] = '\0';
	*strrchr(exe, '/') = '\0';
	snprintf(path, sizeof(path), "%s/../../modules:%s/../modules", exe, exe);
	setenv("CHI_REPO_PATH", path, 0);
}

void fuzz_stage_start(struct fuzz_stage *stage, const char *config)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.listen = true, .name = "fuzz", .config_text = config,
							.handle_faults = true);
	struct chi_client_opts hybrid = CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID);
	char here[4096];

	find_modules();
	fuzz_enter_folder();
	if (!getcwd(here, sizeof(here)) || setenv("XDG_RUNTIME_DIR", here, 1) != 0)
		fuzz_fail("no folder");
	if (chi_runtime_start(&opts, &stage->runtime) < 0 ||
	    chi_runtime_client(stage->runtime, &hybrid, &stage->honest) < 0)
		fuzz_fail("no runtime: %s", chi_error_text());
	started = stage;
	atexit(stop);
}

uint32_t fuzz_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t n = 0;

	fuzz_check(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

void fuzz_stage_note(struct fuzz_stage *stage)
{
	if (!stage->n_fds)
		stage->n_fds = fuzz_count_fds();
}

/* For who looks for what was left. */
static void list_fds(void)
{
	char path[64], what[256];

	for (int fd = 0; fd < 256; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, what, sizeof(what) - 1);
		if (n > 0)
			fuzz_say("%d %.*s", fd, (int)n, what);
	}
}

static bool fds_as_before(const struct fuzz_stage *stage)
{
	uint64_t deadline_ns = hshm_deadline_ns(FUZZ_DEADLINE_NS);

	while (fuzz_count_fds() != stage->n_fds) {
		if (hshm_clock_ns() > deadline_ns)
			return false;
		fuzz_pause(); /* sockets are closed by a thread of their own */
	}
	return true;
}

void fuzz_stage_check(struct fuzz_stage *stage)
{
	fuzz_await(chi_ipc_n_sessions(stage->runtime->ipc) == 1);
	if (!fds_as_before(stage)) {
		list_fds();
		fuzz_fail("%u descriptors, %u before", fuzz_count_fds(), stage->n_fds);
	}
}

int fuzz_dial(struct fuzz_stage *stage, bool by_name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (!by_name) {
		fuzz_check(chi_ipc_connect_local(stage->runtime->ipc, &fd) == 0);
		return fd;
	}
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", chi_runtime_socket(stage->runtime));
	fuzz_check(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

long fuzz_receive(int socket, union chi_message *message, int *fds, uint32_t *ret_n_fds)
{
	struct pollfd ready = { .fd = socket, .events = POLLIN };
	long n;
	int rc;

	*ret_n_fds = 0;
	do
		rc = poll(&ready, 1, (int)(FUZZ_DEADLINE_NS / HSHM_NSEC_PER_MSEC));
	while (rc < 0 && errno == EINTR); /* libFuzzer's alarm */
	if (rc != 1)
		fuzz_fail("no answer");
	do
		n = hshm_fds_receive(socket, message, sizeof(*message), fds, HSHM_FDS_MAX, ret_n_fds);
	while (n == -ECONNRESET); /* what it had sent comes after */
	return n;
}
