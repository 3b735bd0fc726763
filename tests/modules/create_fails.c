/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A module whose create() fails when the parameters say so: the container with that number returns that error; with "die" it
 * takes the process with it, with "hang" it does not return. Counts what was made and not destroyed in a file-wide number, which
 * the method `alive` returns.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <chimaera/module.h>

struct create_fails_params {
	uint32_t container; /* which one fails */
	int32_t error;
};

static hshm_au32 n_alive;

static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	struct create_fails_params fail;
	/* on the way out of a failed create these lanes must go again */
	int error = chi_container_create_local_queue(container, 0, 4, 0);

	if (error)
		return error;
	if (params_size == sizeof(fail)) {
		memcpy(&fail, params, sizeof(fail));
		if (chi_container_id(container) == fail.container)
			return fail.error;
	} else if (params_size == 3 && memcmp(params, "die", 3) == 0) {
		raise(SIGKILL);
	} else if (params_size == 4 && memcmp(params, "hang", 4) == 0) {
		for (;;)
			pause();
	} else if (params_size) {
		return -EINVAL;
	}
	/* relaxed: a count that is read after the tasks which changed it */
	hshm_fetch_add_relaxed(&n_alive, 1);
	return 0;
}

static void destroy(struct chi_container *container)
{
	(void)container;
	hshm_fetch_sub_relaxed(&n_alive, 1);
}

static int alive(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	(void)context;
	return (int)hshm_load_relaxed(&n_alive);
}

static const struct chi_method methods[] = {
	{ .name = "alive", .id = 0, .task_size = sizeof(struct chi_task), .run = alive },
};

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "create_fails",
	.version = 1,
	.n_methods = 1,
	.interface_hash = 0xc0ffee,
	.methods = methods,
	.create = create,
	.destroy = destroy,
};
CHI_MODULE(module);
