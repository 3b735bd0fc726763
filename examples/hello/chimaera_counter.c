/* SPDX-License-Identifier: BSD-3-Clause */
#include <chimaera/module.h>
#include <errno.h>
#include <stdlib.h>
#include "counter.h"

/* One lane: one worker runs its tasks. As add() never waits, they run one after the other and need no lock. */
static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	int rc = chi_container_create_local_queue(container, 0, 1, 0);
	uint64_t *total = rc == 0 ? calloc(1, sizeof(*total)) : NULL;

	(void)params, (void)params_size;
	chi_container_set_state(container, total);
	return rc == 0 && !total ? -ENOMEM : rc;
}

static void destroy(struct chi_container *container)
{
	free(chi_container_state(container));
}

static int add(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct counter_add_task *request = (struct counter_add_task *)task;
	uint64_t *total = chi_container_state(container);

	(void)context;
	request->total = *total += request->amount;
	return 0;
}

static const struct chi_method methods[] = { CHI_METHOD_ENTRY(counter_add, "add", COUNTER_ADD, .run = add) };

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "counter",
	.n_methods = 1,
	.methods = methods,
	.create = create,
	.destroy = destroy,
};
CHI_MODULE(module);
