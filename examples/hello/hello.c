/* SPDX-License-Identifier: BSD-3-Clause */
#include <chimaera/chimaera.h>
#include <stdio.h>
#include "counter.h"

int main(void)
{
	struct chi_pool_spec spec = { .module = "counter" };
	struct chi_client *client = NULL;
	uint64_t total = 0;
	uint32_t pool;
	int failed = chi_client_connect(NULL, &client) < 0 || chi_pool_create(client, &spec, &pool) < 0 ||
		     counter_add_call(client, pool, CHI_QUERY_LOCAL_ID(0), 42, &total) < 0;

	if (failed)
		fprintf(stderr, "hello: %s\n", chi_error_text());
	else
		printf("total %llu\n", (unsigned long long)total);
	chi_client_disconnect(client);
	return failed;
}
