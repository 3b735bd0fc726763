/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * builtin.h - modules that are part of the runtime's library
 */
#ifndef RUNTIME_BUILTIN_H
#define RUNTIME_BUILTIN_H

#include <chimaera/module.h>

extern const struct chi_module chi_admin_module; /* modules/admin/admin.c */

#endif
