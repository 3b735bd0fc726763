/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/modules/compress.h - the module `compress`: zstd as a service
 *
 * Frames are standard zstd frames with their content size in the header, so `zstd -d` reads them, and what it wrote can
 * be decompressed here when it fits the limits below. Input and output may be of any size; a long task lets others go
 * first after every CHI_COMPRESS_PIECE_BYTES.
 *
 * Buffers that a client lends are copied piece by piece before they are read. Memory that another module lends
 * (HIPC_SEGMENT_LOCAL) is used where it is: that module must leave it alone until the task is done.
 */
#ifndef CHIMAERA_MODULES_COMPRESS_H
#define CHIMAERA_MODULES_COMPRESS_H

#include <stdint.h>

#include <chimaera/admin.h>
#include <chimaera/cdefs.h>
#include <chimaera/method.h>
#include <chimaera/task.h>

CHI_BEGIN_DECLS

#define CHI_COMPRESS_MODULE "compress"

/* Changes whenever a method's number or the layout of a task here does. */
#define CHI_COMPRESS_INTERFACE_HASH UINT64_C(0x636d707265737301)

#define CHI_COMPRESS_LEVEL_MIN	    (-7)
#define CHI_COMPRESS_LEVEL_DEFAULT  3
#define CHI_COMPRESS_LEVEL_MAX	    19 /* above, one context takes hundreds of MiB */
#define CHI_COMPRESS_WINDOW_LOG_MAX 23 /* frames with a longer window than 8 MiB are refused */
#define CHI_COMPRESS_PIECE_BYTES    1048576u

enum chi_compress_method {
	CHI_COMPRESS_COMPRESS = 0,
	CHI_COMPRESS_DECOMPRESS,
	CHI_COMPRESS_BOUND,
};

enum chi_compress_flag {
	CHI_COMPRESS_NO_CHECKSUM = 1u << 0, /* leave out the frame's checksum: for those who keep their own */
};

/*
 * compress    in -> out. Result: 0, -ENOSPC (out is too small; chi_compress_bound_bytes() never is), -EINVAL (level,
 *             flags), -ENOMEM, -ECANCELED.
 * decompress  in -> out, one frame and nothing after it. Result: 0, -ENOSPC (out is too small: out_bytes tells what is
 *             needed), -EBADMSG (corrupt, cut, not a zstd frame, no content size, window too long), -EINVAL (flags),
 *             -ENOMEM, -ECANCELED.
 *
 * After an error the contents of out are undefined.
 */
#define CHI_COMPRESS_FIELDS(IN, BUFFER, OUT)             \
	BUFFER(in, CHI_BUFFER_IN)                        \
	BUFFER(out, CHI_BUFFER_OUT)                      \
	IN(int32_t, level)                               \
	IN(uint32_t, flags) /* enum chi_compress_flag */ \
	OUT(uint64_t, out_bytes)
CHI_TASK_DEFINE(chi_compress, CHI_COMPRESS_FIELDS)
CHI_CALL_DEFINE(chi_compress, chi_compress, CHI_COMPRESS_COMPRESS, CHI_COMPRESS_FIELDS)

#define CHI_DECOMPRESS_FIELDS(IN, BUFFER, OUT) \
	BUFFER(in, CHI_BUFFER_IN)              \
	BUFFER(out, CHI_BUFFER_OUT)            \
	OUT(uint64_t, out_bytes)
CHI_CALL_DEFINE(chi_decompress, chi_compress, CHI_COMPRESS_DECOMPRESS, CHI_DECOMPRESS_FIELDS)

/* bound: the most bytes that `in_bytes` can become. Result: 0, -EINVAL (too much for zstd). */
#define CHI_COMPRESS_BOUND_FIELDS(IN, BUFFER, OUT) \
	IN(uint64_t, in_bytes)                     \
	OUT(uint64_t, out_bytes)
CHI_METHOD_DEFINE(chi_compress_bound, CHI_COMPRESS_BOUND, CHI_COMPRESS_BOUND_FIELDS)

CHI_STATIC_ASSERT(sizeof(struct chi_compress_task) == 192, "part of the interface hash");
CHI_STATIC_ASSERT(sizeof(struct chi_compress_bound_task) == 144, "part of the interface hash");

/** chi_compress_bound_bytes - what the method `bound` answers, without asking. Threads: any. */
static inline uint64_t chi_compress_bound_bytes(uint64_t in_bytes)
{
	/* zstd's own formula (ZSTD_COMPRESSBOUND), which it promises for every version of the format */
	return in_bytes + (in_bytes >> 8) + (in_bytes < 131072 ? (131072 - in_bytes) >> 11 : 0);
}

/**
 * chi_compress_open - open the pool "compress", or make it
 * @n_containers: when it must be made; 0 = 1
 * @ret_pool_id:  out
 *
 * May switch the fiber: yes. Returns: as chi_pool_create().
 */
static inline int chi_compress_open(struct chi_client *client, uint32_t n_containers, uint32_t *ret_pool_id)
{
	struct chi_pool_spec spec = {
		CHI_COMPRESS_MODULE, NULL, n_containers, false, CHI_COMPRESS_INTERFACE_HASH, NULL, 0
	};

	return chi_pool_create(client, &spec, ret_pool_id);
}

/**
 * chi_compress / chi_decompress - one buffer into another, blocking, in any container
 * @in, @out: lent for the call; from chi_alloc()
 * @ret_out_bytes: out
 *
 * May switch the fiber: yes. Returns: as chi_compress_call() and chi_decompress_call(), see chimaera/method.h.
 */
static inline int chi_compress(struct chi_client *client, uint32_t pool_id, void *in, uint64_t in_bytes, void *out,
			       uint64_t out_max, int32_t level, uint64_t *ret_out_bytes)
{
	return chi_compress_call(client, pool_id, CHI_QUERY_LOCAL_HASH((uintptr_t)in >> 6), in, in_bytes, out, out_max,
				 level, 0, ret_out_bytes);
}

static inline int chi_decompress(struct chi_client *client, uint32_t pool_id, void *in, uint64_t in_bytes, void *out,
				 uint64_t out_max, uint64_t *ret_out_bytes)
{
	return chi_decompress_call(client, pool_id, CHI_QUERY_LOCAL_HASH((uintptr_t)in >> 6), in, in_bytes, out,
				   out_max, ret_out_bytes);
}

CHI_END_DECLS
#endif
