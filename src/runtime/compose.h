/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * compose.h - the pools that the configuration names, made before anybody may connect
 */
#ifndef RUNTIME_COMPOSE_H
#define RUNTIME_COMPOSE_H

struct chi_runtime;

/* Workers and ipc run, nobody is let in yet. Returns 0, or why a pool was not made: chi_error_text() says its place in
 * the configuration, its name and the cause. Those before it are there then. */
int chi_compose_pools(struct chi_runtime *runtime);

#endif
