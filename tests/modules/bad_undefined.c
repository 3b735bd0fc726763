/* SPDX-License-Identifier: BSD-3-Clause */
/* A module that needs a function which nobody has. */
#include <chimaera/module.h>

int chi_test_nobody_has_this(void);

static int run(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	(void)context;
	return chi_test_nobody_has_this();
}

static const struct chi_method methods[] = {
	{ .name = "run", .id = 0, .task_size = sizeof(struct chi_task), .run = run },
};

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "bad_undefined",
	.n_methods = 1,
	.methods = methods,
};
CHI_MODULE(module);
