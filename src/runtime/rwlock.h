/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rwlock.h - what chi_cond needs of the locks
 */
#ifndef RUNTIME_RWLOCK_H
#define RUNTIME_RWLOCK_H

#include <chimaera/module.h>

struct chi_run_context;

/* By the mutex's holder, for a blocked task: it stands in line as if it had asked, and has the mutex when its work is
 * posted. */
void chi_mutex_ask_for(struct chi_mutex *mutex, struct chi_run_context *context);

#endif
