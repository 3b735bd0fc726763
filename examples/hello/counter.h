/* SPDX-License-Identifier: BSD-3-Clause */
#include <chimaera/method.h>

enum { COUNTER_ADD = 0 };

/* add: raises the counter; answers what it is now */
#define COUNTER_ADD_FIELDS(IN, BUFFER, OUT) IN(uint64_t, amount) OUT(uint64_t, total)
CHI_METHOD_DEFINE(counter_add, COUNTER_ADD, COUNTER_ADD_FIELDS)
