/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reload.h - the log's place and level, at the start and again at chi_runtime_reload()
 */
#ifndef RUNTIME_RELOAD_H
#define RUNTIME_RELOAD_H

struct chi_runtime;

/* Point the log to where the configuration says, and set its level. Returns 0, -EACCES ...: the file's, or its
 * folder's. */
int chi_runtime_open_log(struct chi_runtime *runtime);

#endif
