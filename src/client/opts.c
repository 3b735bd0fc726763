/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * opts.c - the client's options: size first, zero means default, a longer struct is accepted while its tail is zero
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "client/client.h"
#include "task/error.h"

#define CONNECT_TIMEOUT_NS (5 * HSHM_NSEC_PER_SEC)
#define SPIN_NS		   (30 * HSHM_NSEC_PER_USEC)
#define OPTS_SIZE_MAX	   4096u /* no header will ever have more: a larger one was never set */

int chi_client_opts_read(const struct chi_client_opts *opts, struct chi_client_opts *ret_opts)
{
	struct chi_client_opts read = { .size = sizeof(read) };

	if (opts) {
		const unsigned char *bytes = (const unsigned char *)opts;
		uint32_t size = opts->size;

		if (size < sizeof(opts->size) || size > OPTS_SIZE_MAX)
			return chi_error_set(-EINVAL, "options of %u bytes: set by CHI_CLIENT_OPTS()?", size);
		for (uint32_t i = sizeof(read); i < size; i++) {
			if (bytes[i])
				return chi_error_set(-E2BIG,
						     "the options set something that this library (%s) does not know",
						     CHI_VERSION_TEXT);
		}
		memcpy(&read, opts, size < sizeof(read) ? size : sizeof(read));
		read.size = sizeof(read);
	}
	if (read.wait_policy > CHI_WAIT_HYBRID)
		return chi_error_set(-EINVAL, "wait policy %u: there are %u to %u, 0 is the default", read.wait_policy,
				     CHI_WAIT_SLEEP, CHI_WAIT_HYBRID);
	if (read.wait_policy == 0)
		read.wait_policy = CHI_WAIT_SLEEP;
	if (read.connect_timeout_ns == 0)
		read.connect_timeout_ns = CONNECT_TIMEOUT_NS;
	if (read.spin_ns == 0)
		read.spin_ns = SPIN_NS;
	*ret_opts = read;
	return 0;
}
