/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * given_up.h - what a stop leaves behind, told in the log
 */
#ifndef RUNTIME_GIVEN_UP_H
#define RUNTIME_GIVEN_UP_H

#include <stdint.h>

struct chi_runtime;

/* Workers were asked to end and had their time. One line for each pool and method that has tasks left, one for each
 * worker that is still in a method. @n_given_up: tasks that had not ended at the deadline. Takes what it finds out of
 * the lanes. */
void chi_given_up_log(struct chi_runtime *runtime, uint64_t n_given_up);

#endif
