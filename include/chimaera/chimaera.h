/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/chimaera.h - everything a client needs
 */
#ifndef CHIMAERA_CHIMAERA_H
#define CHIMAERA_CHIMAERA_H

#include <chimaera/admin.h>
#include <chimaera/cdefs.h>
#include <chimaera/client.h>
#include <chimaera/method.h>
#include <chimaera/task.h>

#endif
