/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Speaks the interface of `compress`, and fails as it is told by what it reads: a chunk that begins with FAIL ends with
 * -EIO, one that begins with HURT comes back with a byte turned. "Packed" is the same without its last byte.
 */
#include <errno.h>
#include <string.h>

#include <chimaera/modules/compress.h>
#include <chimaera/module.h>

static int run(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct chi_compress_task *task = (struct chi_compress_task *)base;
	const char *in = chi_context_buffer(context, &task->in);
	char *out = chi_context_buffer(context, &task->out);
	uint64_t n = task->in.size_bytes;

	(void)container;
	if (base->method_id == CHI_COMPRESS_COMPRESS) {
		if (memcmp(in, "FAIL", 4) == 0)
			return -EIO;
		memcpy(out, in, n - 1);
		task->out_bytes = n - 1;
		return 0;
	}
	memcpy(out, in, n);
	out[n] = in[n - 1]; /* right for values that end with the same byte twice */
	if (memcmp(in, "HURT", 4) == 0)
		out[n / 2] ^= 1;
	task->out_bytes = n + 1;
	return 0;
}

#define METHOD(method_name, method_id)                                                                               \
	{                                                                                                            \
		.name = (method_name), .id = (method_id), .task_size = sizeof(struct chi_compress_task), .run = run, \
		.buffers_offset = offsetof(struct chi_compress_task, in), .n_buffers = 2,                            \
		.out_offset = offsetof(struct chi_compress_task, out_bytes), .out_size = sizeof(uint64_t),           \
	}

static const struct chi_method methods[] = {
	METHOD("compress", CHI_COMPRESS_COMPRESS),
	METHOD("decompress", CHI_COMPRESS_DECOMPRESS),
};

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "faulty_compress",
	.version = 1,
	.n_methods = 2,
	.interface_hash = CHI_COMPRESS_INTERFACE_HASH,
	.methods = methods,
};
CHI_MODULE(module);
