/* SPDX-License-Identifier: BSD-3-Clause */
/* A table, but no note: the file was not made with CHI_MODULE(). */
#include <stdlib.h>

#include <chimaera/module.h>

__attribute__((constructor)) static void must_not_run(void)
{
	abort();
}

static const struct chi_module module = { .size = sizeof(module), .name = "bad_no_note" };
CHI_API extern const struct chi_module *const chi_module_table;
const struct chi_module *const chi_module_table = &module;
