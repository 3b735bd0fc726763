/* SPDX-License-Identifier: BSD-3-Clause */
#include <chimaera/chimaera.h>
#include <stdio.h>
#include "counter.h"

int main(void)
{
	struct chi_pool_spec spec = { .module = "counter" };
	struct counter_add_task *task = NULL;
	struct chi_client *client = NULL;
	uint32_t pool;

	if (chi_client_connect(NULL, &client) < 0 || chi_pool_create(client, &spec, &pool) < 0 ||
	    chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), COUNTER_ADD, &task) < 0)
		goto failed;
	task->amount = 42;
	if (chi_call(client, task) < 0)
		goto failed;
	printf("total %llu\n", (unsigned long long)task->total);
	chi_task_free(client, task);
	chi_client_disconnect(client);
	return 0;

failed:
	fprintf(stderr, "hello: %s\n", chi_error_text());
	chi_client_disconnect(client);
	return 1;
}
