/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * runtime_name.c - what a runtime is called, and where it is found
 */
#include "runtime/ipc_internal.h"
#include "runtime/runtime.h"

const char *chi_runtime_name(const struct chi_runtime *runtime)
{
	return runtime->config.name;
}

const char *chi_runtime_socket(const struct chi_runtime *runtime)
{
	/* written before the ipc thread begins, then constant */
	return runtime->ipc && runtime->ipc->listener.named ? runtime->ipc->listener.where.path : NULL;
}
