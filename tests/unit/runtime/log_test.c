/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <chimaera/runtime.h>
#include <chimaera/task.h>
#include <hshm/clock.h>

#include "runtime/log.h"

static int saved_stderr, pipe_fds[2];
static char seen[65536];

static void capture(void)
{
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(pipe_fds[1], STDERR_FILENO);
}

static const char *captured(void)
{
	ssize_t n = read(pipe_fds[0], seen, sizeof(seen) - 1);

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	seen[n > 0 ? n : 0] = 0;
	return seen;
}

static void a_record_is_one_line_without_control_bytes(void **state)
{
	(void)state;
	capture();
	chi_log_error("pool '%s' %d", "a\nb\x1b[1m", 7);
	assert_string_equal(captured(), "chimaera: error: pool 'a?b?[1m' 7\n");
}

static void records_above_the_level_are_left_out(void **state)
{
	(void)state;
	capture();
	chi_log_set_level(CHI_LOG_WARN);
	chi_log_info("not this");
	chi_log_warn("but this");
	chi_log_set_level(CHI_LOG_DEBUG);
	chi_log_debug("and this");
	chi_log_set_level(CHI_LOG_INFO);
	assert_string_equal(captured(), "chimaera: warning: but this\nchimaera: debug: and this\n");
}

static char *read_file(const char *path)
{
	FILE *in = fopen(path, "r");
	size_t n;

	assert_non_null(in);
	n = fread(seen, 1, sizeof(seen) - 1, in);
	seen[n] = 0;
	fclose(in);
	return seen;
}

/* "2026-11-25T00:30:13.123Z chimaera[123]: " */
static const char *after_time_and_pid(const char *line)
{
	char head[32];

	snprintf(head, sizeof(head), "Z chimaera[%d]: ", (int)getpid());
	assert_true(strlen(line) > 23);
	assert_memory_equal(line + 23, head, strlen(head));
	return line + 23 + strlen(head);
}

static void a_file_is_opened_anew_and_then_left(void **state)
{
	(void)state;
	assert_int_equal(chi_log_open("own.log"), 0);
	chi_log_error("first");
	assert_int_equal(rename("own.log", "moved.log"), 0);
	chi_log_error("still first");
	assert_int_equal(chi_log_open("own.log"), 0);
	chi_log_error("second");
	assert_string_equal(after_time_and_pid(read_file("own.log")), "error: second\n");
	assert_string_equal(after_time_and_pid(strchr(read_file("moved.log"), '\n') + 1), "error: still first\n");

	/* what cannot be opened changes nothing */
	assert_int_equal(chi_log_open("no/such/folder"), -ENOENT);
	assert_string_equal(chi_error_text(), "log file no/such/folder: No such file or directory");
	chi_log_error("third");
	assert_string_equal(after_time_and_pid(strchr(read_file("own.log"), '\n') + 1), "error: third\n");

	assert_int_equal(chi_log_open(""), 0);
	capture();
	chi_log_error("here");
	assert_string_equal(captured(), "chimaera: error: here\n");
	unlink("own.log");
	unlink("moved.log");
}

/* Without a reader it cannot be opened, and a full one loses lines: no worker waits for somebody else. */
static void a_pipe_holds_nobody(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(mkfifo("pipe.log", 0600), 0);
	assert_int_equal(chi_log_open("pipe.log"), -ENXIO);
	fd = open("pipe.log", O_RDONLY | O_NONBLOCK);
	assert_int_equal(chi_log_open("pipe.log"), 0);
	for (int i = 0; i < 10000; i++)
		chi_log_error("line %d", i);
	while (read(fd, seen, sizeof(seen)) > 0)
		continue;
	chi_log_error("after");
	seen[read(fd, seen, sizeof(seen) - 1)] = 0;
	assert_non_null(strstr(seen, " lines were lost: there was no room for them\n"));
	assert_int_equal(chi_log_open(""), 0);
	close(fd);
	unlink("pipe.log");
}

/* Fill @write_end, which blocks; then log to it, and look whether @read_end is told what was lost. */
static void check_full(int read_end, int write_end)
{
	static char drained[1 << 20];
	ssize_t n;

	saved_stderr = dup(STDERR_FILENO);
	dup2(write_end, STDERR_FILENO);
	alarm(20); /* it would be blocked for ever */
	for (int i = 0; i < 20000; i++)
		chi_log_error("line %d", i);
	alarm(0);
	fcntl(read_end, F_SETFL, O_NONBLOCK);
	do
		n = read(read_end, drained, sizeof(drained));
	while (n > 0);
	assert_int_equal(errno, EAGAIN);
	chi_log_error("after");
	n = read(read_end, drained, sizeof(drained) - 1);
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(read_end);
	close(write_end);
	assert_true(n > 0);
	drained[n] = 0;
	assert_non_null(strstr(drained, "warning: "));
	assert_non_null(strstr(drained, " lines were lost: there was no room for them\nchimaera: error: after\n"));
	/* and it is told once */
	capture();
	chi_log_error("here");
	assert_string_equal(captured(), "chimaera: error: here\n");
}

static void a_reader_that_stands_still_holds_nobody(void **state)
{
	int ends[2], terminal;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	check_full(ends[0], ends[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	check_full(ends[0], ends[1]);

	/* a terminal that nobody looks at: how much it takes in one piece is its own affair */
	terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
	saved_stderr = dup(STDERR_FILENO);
	ends[1] = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(ends[1] >= 0);
	dup2(ends[1], STDERR_FILENO);
	alarm(20);
	for (int i = 0; i < 20000; i++)
		chi_log_error("line %d", i);
	alarm(0);
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(ends[1]);
	close(terminal);
	chi_log_error("the terminal's lost lines are told here");
}

/* In a child that does as a program does that knows of no signals: how did it end? */
static int status_of(void (*log_into)(void))
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		sigset_t pipe_only, after;

		signal(SIGPIPE, SIG_DFL);
		log_into();
		sigemptyset(&pipe_only);
		sigaddset(&pipe_only, SIGPIPE);
		sigprocmask(SIG_UNBLOCK, &pipe_only, &after); /* a signal that waits comes now */
		_exit(sigismember(&after, SIGPIPE) ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void log_to_stderr_without_reader(void)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0 || dup2(ends[1], STDERR_FILENO) < 0)
		_exit(2);
	close(ends[0]);
	chi_log_error("nobody reads this");
}

static void start_without_reader(void)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.listen = true, .config_text = "memory: { private_mib: 64 }");
	struct chi_runtime *runtime;

	log_to_stderr_without_reader();
	if (chi_runtime_start(&opts, &runtime) < 0 || chi_runtime_stop(runtime, 0, NULL) < 0)
		_exit(3);
}

static void log_to_file_without_reader(void)
{
	int fd = open("gone.log", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (chi_log_open("gone.log") < 0)
		_exit(2);
	close(fd);
	chi_log_error("nobody reads this");
}

static void raise_before_the_log(void)
{
	sigset_t pipe_only;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigprocmask(SIG_BLOCK, &pipe_only, NULL);
	raise(SIGPIPE);
	log_to_stderr_without_reader();
}

static void without_a_reader_no_signal_comes(void **state)
{
	int status;

	(void)state;
	assert_int_equal(mkfifo("gone.log", 0600), 0);
	assert_int_equal(status_of(log_to_stderr_without_reader), 0);
	assert_int_equal(status_of(log_to_file_without_reader), 0);
	assert_int_equal(status_of(start_without_reader), 0);
	unlink("gone.log");
	/* one of the program's own stays */
	status = status_of(raise_before_the_log);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
}

static void the_journal_gets_the_levels(void **state)
{
	char stream[64];
	struct stat st;

	(void)state;
	capture();
	fstat(STDERR_FILENO, &st);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	assert_int_equal(chi_log_open(""), 0);
	chi_log_error("a");
	chi_log_warn("b");
	chi_log_info("c");
	unsetenv("JOURNAL_STREAM");
	assert_int_equal(chi_log_open(""), 0);
	chi_log_info("d");
	assert_string_equal(captured(), "<3>chimaera: error: a\n<4>chimaera: warning: b\n<6>chimaera: info: c\n"
					"chimaera: info: d\n");
}

static void a_long_record_is_cut_and_still_a_line(void **state)
{
	char text[5000];
	size_t size;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	capture();
	chi_log_error("%s", text);
	size = strlen(captured());
	assert_in_range(size, 1000, 1024);
	assert_int_equal(seen[size - 1], '\n');
	assert_ptr_equal(strchr(seen, '\n'), seen + size - 1);
}

static void a_limit_lets_a_burst_through_and_tells_the_rest(void **state)
{
	struct chi_log_limit limit = { 0 };
	int allowed = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		allowed += chi_log_allowed(&limit, 3);
	assert_int_equal(allowed, 3);
	/* the next window, by the clock of the limit */
	hshm_store_relaxed(&limit.window_ns, hshm_clock_ns() - 2 * HSHM_NSEC_PER_SEC);
	capture();
	assert_true(chi_log_allowed(&limit, 3));
	assert_string_equal(captured(), "chimaera: warning: 97 lines like the next were held back\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_is_one_line_without_control_bytes),
		cmocka_unit_test(records_above_the_level_are_left_out),
		cmocka_unit_test(a_file_is_opened_anew_and_then_left),
		cmocka_unit_test(a_pipe_holds_nobody),
		cmocka_unit_test(a_reader_that_stands_still_holds_nobody),
		cmocka_unit_test(without_a_reader_no_signal_comes),
		cmocka_unit_test(the_journal_gets_the_levels),
		cmocka_unit_test(a_long_record_is_cut_and_still_a_line),
		cmocka_unit_test(a_limit_lets_a_burst_through_and_tells_the_rest),
	};

	if (chdir(getenv("XDG_RUNTIME_DIR") ? getenv("XDG_RUNTIME_DIR") : "/tmp"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
