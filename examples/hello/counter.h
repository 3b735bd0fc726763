/* SPDX-License-Identifier: BSD-3-Clause */
#include <chimaera/task.h>

enum { COUNTER_ADD = 0 };

struct counter_add_task {
	struct chi_task task;
	uint64_t amount;
	uint64_t total; /* the answer */
};
