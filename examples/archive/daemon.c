/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon.c - a daemon of the demonstration's own, in a runtime directory that nobody else uses
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "archive.h"

#define STOP_TIMEOUT_NS (30 * HSHM_NSEC_PER_SEC)

const char *program_dir(void)
{
	static char dir[4096];

	if (!dir[0]) {
		ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
		char *slash;

		dir[n > 0 ? n : 0] = '\0';
		slash = strrchr(dir, '/');
		if (slash)
			slash[1] = '\0';
		else
			strcpy(dir, "./");
	}
	return dir;
}

void set_module_path(void)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s../modules", program_dir());
	if (!getenv("CHI_REPO_PATH") && access(path, X_OK) == 0)
		setenv("CHI_REPO_PATH", path, 1);
}

static const char *daemon_program(void)
{
	static char path[4200];
	const char *given = getenv("CHIMAERA_BIN");

	if (given)
		return given;
	snprintf(path, sizeof(path), "%s../bin/chimaera", program_dir());
	return access(path, X_OK) == 0 ? path : "chimaera";
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *position)
{
	(void)status;
	(void)kind;
	(void)position;
	return remove(path);
}

static void log_path(const struct daemon *daemon, char path[320])
{
	snprintf(path, 320, "%s/daemon.log", daemon->dir);
}

static bool write_config(const struct daemon *daemon, uint32_t n_workers, char path[320])
{
	FILE *file;

	snprintf(path, 320, "%s/chimaera.yaml", daemon->dir);
	file = fopen(path, "we");
	if (!file)
		return false;
	fprintf(file, "workers:\n  count: %u\n", n_workers);
	return fclose(file) == 0;
}

static void exec_daemon(const struct daemon *daemon, const char *config)
{
	char log[320];
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGTERM); /* it goes with us, however we go */
	log_path(daemon, log);
	fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd >= 0) {
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
	}
	execlp(daemon_program(), "chimaera", "start", "--foreground", "--config", config, (char *)NULL);
	fprintf(stderr, "%s: %s\n", daemon_program(), strerror(errno));
	_exit(127);
}

bool daemon_start(struct daemon *daemon, uint32_t n_workers)
{
	const char *tmp = getenv("TMPDIR");
	char config[320];

	snprintf(daemon->dir, sizeof(daemon->dir), "%s/archive.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(daemon->dir)) {
		fprintf(stderr, "archive: %s: %s\n", daemon->dir, strerror(errno));
		return false;
	}
	setenv("XDG_RUNTIME_DIR", daemon->dir, 1);
	unsetenv("CHIMAERA_NAME");
	if (!write_config(daemon, n_workers, config)) {
		fprintf(stderr, "archive: %s: %s\n", config, strerror(errno));
		return false;
	}
	fflush(NULL);
	daemon->pid = fork();
	if (daemon->pid == 0)
		exec_daemon(daemon, config);
	if (daemon->pid < 0)
		fprintf(stderr, "archive: fork: %s\n", strerror(errno));
	return daemon->pid > 0;
}

bool daemon_lives(struct daemon *daemon)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)daemon->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

static void print_log(const struct daemon *daemon)
{
	char path[320], line[512];
	FILE *file;

	log_path(daemon, path);
	file = fopen(path, "re");
	if (!file)
		return;
	fprintf(stderr, "archive: the daemon said:\n");
	while (fgets(line, sizeof(line), file))
		fprintf(stderr, "    %s", line);
	fclose(file);
}

/* Its wait status; SIGKILL when it does not end in time. */
static int reap(struct daemon *daemon)
{
	uint64_t deadline_ns = hshm_deadline_ns(STOP_TIMEOUT_NS);
	int status = -1;
	pid_t pid;

	kill(daemon->pid, SIGTERM);
	while ((pid = waitpid(daemon->pid, &status, WNOHANG)) == 0) {
		if (hshm_clock_ns() > deadline_ns) {
			fprintf(stderr, "archive: the daemon did not end within 30 s of SIGTERM\n");
			kill(daemon->pid, SIGKILL);
			waitpid(daemon->pid, &status, 0);
			break;
		}
		usleep(2000);
	}
	return status;
}

bool daemon_stop(struct daemon *daemon, bool show_log)
{
	int status = reap(daemon);
	bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;

	if (!ok)
		fprintf(stderr, "archive: the daemon ended with %s %d\n", WIFSIGNALED(status) ? "signal" : "exit code",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (!ok || show_log)
		print_log(daemon);
	nftw(daemon->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return ok;
}
