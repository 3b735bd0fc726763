/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * runtime.h - a runtime to measure, with a pool of our module in it and a client of it
 */
#ifndef BENCH_RUNTIME_H
#define BENCH_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <chimaera/client.h>

enum bench_runtime_kind {
	BENCH_FORKED = 0, /* in a process of its own, forked: the usual way */
	BENCH_EMBEDDED,	  /* in this process */
	BENCH_DAEMON,	  /* `chimaera start`: starts as it does for everyone, holds what everyone's holds */
};

#define BENCH_SETTINGS_MAX 8u

struct bench_runtime_spec {
	enum bench_runtime_kind kind;
	enum chi_wait_policy policy; /* of the client; 0: busy */
	uint32_t n_workers;	     /* 0: one, on the other side's CPU; the second is on ours, and so on in turn */
	uint32_t n_containers;	     /* of the pool; 0: one */
	uint32_t n_lanes;	     /* of each container; 0: those it has by default */
	const char *settings[BENCH_SETTINGS_MAX]; /* "KEY=VALUE", over what is set here */
};

struct chi_runtime;

struct bench_runtime {
	pid_t pid; /* this process': embedded */
	bool is_daemon;
	int control; /* forked: stop when it is closed; daemon: its standard output */
	struct chi_runtime *embedded;
	uint32_t pool_id;
	char name[64];
	struct chi_client *client;
};

/* Tells what fails. */
int bench_runtime_start(const unsigned cpus[2], const struct bench_runtime_spec *spec,
			struct bench_runtime *ret_runtime);
/* Another pool of our module; see bench_runtime_spec. */
int bench_runtime_add_pool(struct bench_runtime *runtime, const char *name, uint32_t n_containers, uint32_t n_lanes,
			   uint32_t *ret_pool_id);
/* Accepts a runtime that did not start. */
void bench_runtime_stop(struct bench_runtime *runtime);

/* CPU time that its process has used */
uint64_t bench_runtime_cpu_ns(const struct bench_runtime *runtime);
/* what its process holds of the machine's memory, the clients' pages that it has touched included */
uint64_t bench_runtime_rss_bytes(const struct bench_runtime *runtime);

#endif
