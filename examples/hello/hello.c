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

	if (chi_client_connect(NULL, &client) < 0 || chi_pool_create(client, &spec, &pool) < 0 ||
	    counter_add_call(client, pool, CHI_QUERY_LOCAL_ID(0), 42, &total) < 0)
		goto failed;
	printf("total %llu\n", (unsigned long long)total);
	chi_client_disconnect(client);
	return 0;

failed:
	fprintf(stderr, "hello: %s\n", chi_error_text());
	chi_client_disconnect(client);
	return 1;
}
