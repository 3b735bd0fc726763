/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * machine.h - the machine that is measured on, as the command line and the tables name it
 */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include "bench.h"

/* Both return whether @text is what it should be. */
bool bench_parse_seconds(const char *text, double *ret_seconds);
bool bench_parse_cpus(const char *text, unsigned ret_cpus[2]);

/*
 * Finds the two CPUs, unless they are given; pins this thread to ours, starts the other side of the ping-pong, and has our
 * module found. @ret_cpu: the CPU's model. Returns the program's exit status, 0 to go on, after telling on stderr why not.
 */
int bench_machine_start(struct bench *bench, bool cpus_given, char *ret_cpu, size_t cpu_max);

#endif
