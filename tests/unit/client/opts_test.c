/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * opts_test.c - options of older and newer headers
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "client/client.h"

struct newer_opts {
	struct chi_client_opts known;
	uint64_t unknown;
};

static void no_options_are_all_defaults(void **state)
{
	struct chi_client_opts read;

	(void)state;
	assert_int_equal(chi_client_opts_read(NULL, &read), 0);
	assert_int_equal(read.wait_policy, CHI_WAIT_SLEEP);
	assert_int_equal(read.connect_timeout_ns, 5 * HSHM_NSEC_PER_SEC);
	assert_int_equal(read.start_timeout_ns, 0);
	assert_int_equal(read.spin_ns, 30 * HSHM_NSEC_PER_USEC);
	assert_null(read.name);
}

static void set_options_are_kept(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_BUSY, .name = "x",
						      .connect_timeout_ns = 7, .start_timeout_ns = 8, .spin_ns = 9);
	struct chi_client_opts read;

	(void)state;
	assert_int_equal(chi_client_opts_read(&opts, &read), 0);
	assert_int_equal(read.wait_policy, CHI_WAIT_BUSY);
	assert_string_equal(read.name, "x");
	assert_int_equal(read.connect_timeout_ns, 7);
	assert_int_equal(read.start_timeout_ns, 8);
	assert_int_equal(read.spin_ns, 9);
}

static void shorter_options_are_filled_up(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID, .name = "not there yet");
	struct chi_client_opts read;

	(void)state;
	opts.size = offsetof(struct chi_client_opts, name);
	assert_int_equal(chi_client_opts_read(&opts, &read), 0);
	assert_int_equal(read.wait_policy, CHI_WAIT_HYBRID);
	assert_null(read.name);
	assert_int_equal(read.size, sizeof(read));
}

static void longer_options_are_accepted_while_the_tail_is_zero(void **state)
{
	struct newer_opts opts = { .known = { .size = sizeof(opts), .name = "x" } };
	struct chi_client_opts read;

	(void)state;
	assert_int_equal(chi_client_opts_read(&opts.known, &read), 0);
	assert_string_equal(read.name, "x");
	opts.unknown = UINT64_C(1) << 63;
	assert_int_equal(chi_client_opts_read(&opts.known, &read), -E2BIG);
}

static void sizes_that_no_header_has_are_refused(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = "x");
	struct chi_client_opts read;

	(void)state;
	opts.size = 0;
	assert_int_equal(chi_client_opts_read(&opts, &read), -EINVAL);
	opts.size = 3;
	assert_int_equal(chi_client_opts_read(&opts, &read), -EINVAL);
	opts.size = UINT32_MAX;
	assert_int_equal(chi_client_opts_read(&opts, &read), -EINVAL);
}

static void unknown_wait_policy_is_refused(void **state)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID + 1);
	struct chi_client_opts read;

	(void)state;
	assert_int_equal(chi_client_opts_read(&opts, &read), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_options_are_all_defaults),
		cmocka_unit_test(set_options_are_kept),
		cmocka_unit_test(shorter_options_are_filled_up),
		cmocka_unit_test(longer_options_are_accepted_while_the_tail_is_zero),
		cmocka_unit_test(sizes_that_no_header_has_are_refused),
		cmocka_unit_test(unknown_wait_policy_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
