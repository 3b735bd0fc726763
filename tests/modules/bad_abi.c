/* SPDX-License-Identifier: BSD-3-Clause */
/* A module of another ABI. Its constructor would end the process: nothing of such a file may run. */
#include <stdlib.h>

#include <chimaera/module.h>

#undef CHI_ABI_VERSION
#define CHI_ABI_VERSION 9999u

__attribute__((constructor)) static void must_not_run(void)
{
	abort();
}

static const struct chi_module module = { .size = sizeof(module), .name = "bad_abi" };
CHI_MODULE(module);
