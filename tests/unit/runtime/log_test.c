/* SPDX-License-Identifier: BSD-3-Clause */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

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
		cmocka_unit_test(a_long_record_is_cut_and_still_a_line),
		cmocka_unit_test(a_limit_lets_a_burst_through_and_tells_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
