/* SPDX-License-Identifier: BSD-3-Clause */
/* The note is right, but the table's symbol is hidden. */
#include <chimaera/module.h>

static const struct chi_module module = { .size = sizeof(module), .name = "bad_no_symbol" };
#undef CHI_API
#define CHI_API __attribute__((visibility("hidden")))
CHI_MODULE(module);
