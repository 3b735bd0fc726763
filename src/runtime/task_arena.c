/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * task_arena.c - memory that lives as long as a task: bump allocation in blocks of the modules' memory
 *
 * Touched only by the worker of the task. A block is twice as large as the one before, up to BLOCK_MAX_BYTES, or as
 * large as what did not fit. The cap counts what was asked for.
 */
#include "runtime/task_arena.h"

#include <chimaera/module.h>
#include <errno.h>

#include "runtime/pool_manager.h"
#include "runtime/worker.h"
#include "task/error.h"

#define ALIGNMENT	UINT64_C(16)
#define BLOCK_MIN_BYTES UINT64_C(4096) /* its head included */
#define BLOCK_MAX_BYTES UINT64_C(65536)

struct chi_arena_block {
	struct chi_arena_block *before;
	uint64_t size_bytes, used_bytes; /* of this block, its head included */
	uint64_t given_bytes;		 /* by this one and all before */
	_Alignas(16) unsigned char memory[];
};

static uint64_t next_block_bytes(const struct chi_arena_block *newest, uint64_t size_bytes)
{
	uint64_t bytes = newest ? 2 * newest->size_bytes : BLOCK_MIN_BYTES;

	if (bytes > BLOCK_MAX_BYTES)
		bytes = BLOCK_MAX_BYTES;
	return bytes < sizeof(*newest) + size_bytes ? sizeof(*newest) + size_bytes : bytes;
}

static int add_block(struct chi_run_context *context, uint64_t size_bytes)
{
	struct chi_arena_block *newest = context->arena, *block;
	uint64_t bytes = next_block_bytes(newest, size_bytes);
	void *memory;
	int ret = hshm_heap_alloc(context->pool->runtime->module_heap, bytes, &memory);

	if (ret < 0)
		return chi_error_set(ret, "the memory of modules is at its cap: raise memory.private_mib");
	block = memory;
	block->before = newest;
	block->size_bytes = bytes;
	block->used_bytes = sizeof(*block);
	block->given_bytes = newest ? newest->given_bytes : 0;
	context->arena = block;
	return 0;
}

int chi_task_arena_alloc(struct chi_run_context *context, uint64_t size_bytes, void *ret_memory)
{
	struct chi_arena_block *block;
	uint64_t cap_bytes;

	if (!context)
		context = CHI_CUR_WORKER ? CHI_CUR_WORKER->current : NULL;
	if (!context)
		return chi_error_set(-EPERM, "memory of a task outside any task");
	if (size_bytes == 0)
		return chi_error_set(-EINVAL, "0 bytes of a task's memory");
	cap_bytes = context->pool->runtime->config.task_arena_bytes;
	block = context->arena;
	if (size_bytes > cap_bytes - (block ? block->given_bytes : 0))
		return chi_error_set(-ENOMEM, "the task's memory is at its cap: raise memory.task_arena_kib");
	size_bytes = (size_bytes + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
	if (!block || size_bytes > block->size_bytes - block->used_bytes) {
		int ret = add_block(context, size_bytes);

		if (ret < 0)
			return ret;
		block = context->arena;
	}
	*(void **)ret_memory = (unsigned char *)block + block->used_bytes;
	block->used_bytes += size_bytes;
	block->given_bytes += size_bytes;
	return 0;
}

void chi_task_arena_free(struct chi_run_context *context)
{
	while (context->arena) {
		struct chi_arena_block *block = context->arena;

		context->arena = block->before;
		hshm_heap_free(context->pool->runtime->module_heap, block);
	}
}
