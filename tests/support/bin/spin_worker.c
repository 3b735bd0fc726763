/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * spin_worker.c - keep a worker of the default runtime in a method that does not come back for a while
 *
 * usage: spin_worker SECONDS
 * Prints a line when the method has begun, and ends then: the method goes on.
 */
#include <stdio.h>
#include <stdlib.h>

#include <chimaera/admin.h>
#include <chimaera/client.h>
#include <hshm/atomic.h>
#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "modules/probe.h"

int main(int argc, char **argv)
{
	struct chi_client *client;
	struct probe_task *task;
	hshm_au32 *begun;
	uint32_t pool;

	if (argc != 2 || chi_client_connect(&CHI_CLIENT_OPTS(.name = NULL), &client) ||
	    chi_pool_create(client, &(struct chi_pool_spec){ .module = "probe" }, &pool) < 0 ||
	    chi_alloc(client, sizeof(*begun), &begun) ||
	    chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), PROBE_SPIN, &task)) {
		fprintf(stderr, "spin_worker: %s\n", chi_error_text());
		return EXIT_FAILURE;
	}
	hshm_store_relaxed(begun, 0); /* relaxed: submitted below */
	task->in = strtoull(argv[1], NULL, 10) * HSHM_NSEC_PER_SEC;
	if (chi_buffer_set(client, &task->buffers[0], begun, sizeof(*begun), CHI_BUFFER_OUT) ||
	    chi_submit(client, task))
		return EXIT_FAILURE;
	/* acquire: pairs with the release in the method */
	while (!hshm_load_acquire(begun))
		HSHM_THREAD_MODEL->sleep_for_us(1000);
	puts("begun");
	fflush(stdout);
	_Exit(EXIT_SUCCESS); /* a disconnect would wait for the task */
}
