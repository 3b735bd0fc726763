/* SPDX-License-Identifier: BSD-3-Clause */
/* The note is right, the table is not: two methods have one id. */
#include <chimaera/module.h>

static int run(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	(void)context;
	return 0;
}

static const struct chi_method methods[] = {
	{ .name = "first", .id = 3, .task_size = sizeof(struct chi_task), .run = run },
	{ .name = "second", .id = 3, .task_size = sizeof(struct chi_task), .run = run },
};

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "bad_table",
	.n_methods = 2,
	.methods = methods,
};
CHI_MODULE(module);
