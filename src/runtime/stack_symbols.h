/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stack_symbols.h - names for the addresses of a stack, from the files that are mapped
 */
#ifndef RUNTIME_STACK_SYMBOLS_H
#define RUNTIME_STACK_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/background.h"
#include "runtime/thread_stack.h"

struct chi_stack_symbols;

/* What reads files for chi_stack_symbols_ask(): 0 or -ENOMEM. Release with chi_background_destroy(). */
int chi_stack_symbols_reader(struct chi_background **ret_reader);

/* Find files and offsets now, from /proc/self/maps; have the names read by @reader, which may hang as the files' disk
 * does. When too many hang there already, no names are read. NULL: no memory. Release with chi_stack_symbols_put(). */
struct chi_stack_symbols *chi_stack_symbols_ask(struct chi_background *reader, const struct chi_stack *stack);
/* Are there as many names as there will be? */
bool chi_stack_symbols_ready(const struct chi_stack_symbols *symbols);
/* "compress+0x1f (chimaera_compress.so+0x2b1f)", without what is not known yet; of frame @i < chi_stack_symbols_n(). */
const char *chi_stack_symbols_text(const struct chi_stack_symbols *symbols, uint32_t i);
uint32_t chi_stack_symbols_n(const struct chi_stack_symbols *symbols);
/* Who asked needs them no more. Accepts NULL. */
void chi_stack_symbols_put(struct chi_stack_symbols *symbols);

#endif
