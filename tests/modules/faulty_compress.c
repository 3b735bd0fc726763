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

static const struct chi_method methods[] = {
	CHI_METHOD_ENTRY(chi_compress, "compress", CHI_COMPRESS_COMPRESS, .run = run),
	CHI_METHOD_ENTRY(chi_compress, "decompress", CHI_COMPRESS_DECOMPRESS, .run = run),
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
