/* SPDX-License-Identifier: BSD-3-Clause */
#include "hshm_test.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <hshm/segment.h>

#define SIZE (UINT64_C(1) << 20)

static struct hshm_segment make_segment(enum hshm_segment_seal seal)
{
	struct hshm_segment segment;

	assert_int_equal(hshm_segment_create("test", SIZE, 5, seal, &segment), 0);
	return segment;
}

static uint64_t file_bytes(const struct hshm_segment *segment)
{
	struct stat status;

	assert_int_equal(fstat(segment->fd, &status), 0);
	return (uint64_t)status.st_blocks * 512;
}

static void made_segment_is_mapped_and_rounded_to_pages(void **state)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct hshm_segment segment;

	(void)state;
	assert_int_equal(hshm_segment_create("test", page + 1, 5, HSHM_SEAL_SIZE, &segment), 0);
	assert_int_equal(segment.map.size_bytes, 2 * page);
	assert_int_equal(segment.map.segment_id, 5);
	assert_true(fcntl(segment.fd, F_GETFD) & FD_CLOEXEC);
	memset(segment.map.base, 1, 2 * page);
	hshm_segment_close(&segment);
}

static void bad_numbers_are_refused(void **state)
{
	struct hshm_segment segment;
	int n_fds = count_fds();

	(void)state;
	assert_int_equal(hshm_segment_create("test", 0, 1, HSHM_SEAL_SIZE, &segment), -EINVAL);
	assert_int_equal(hshm_segment_create("test", UINT64_MAX, 1, HSHM_SEAL_SIZE, &segment), -EINVAL);
	assert_int_equal(hshm_segment_create("test", HIPC_OFFSET_MAX + 2, 1, HSHM_SEAL_SIZE, &segment), -EINVAL);
	assert_int_equal(hshm_segment_create("test", SIZE, HIPC_SEGMENT_NONE, HSHM_SEAL_SIZE, &segment), -EINVAL);
	assert_int_equal(hshm_segment_create("test", SIZE, HIPC_SEGMENT_LOCAL, HSHM_SEAL_SIZE, &segment), -EINVAL);
	assert_int_equal(hshm_segment_create("test", SIZE, UINT32_MAX, HSHM_SEAL_SIZE, &segment), -EINVAL);
	/* a number that is allowed, but no address space has it */
	assert_int_equal(hshm_segment_create("test", HIPC_OFFSET_MAX + 1, 1, HSHM_SEAL_SIZE, &segment), -ENOMEM);
	assert_int_equal(hshm_segment_create_private(0, 1, &segment), -EINVAL);
	assert_int_equal(hshm_segment_create_private(SIZE, HIPC_SEGMENT_LOCAL, &segment), -EINVAL);
	assert_int_equal(count_fds(), n_fds);
}

static void sealed_segment_cannot_be_resized(void **state)
{
	struct hshm_segment segment = make_segment(HSHM_SEAL_SIZE);

	(void)state;
	assert_int_equal(ftruncate(segment.fd, SIZE / 2), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(segment.fd, SIZE * 2), -1);
	assert_int_equal(errno, EPERM);
	/* nor can a peer add a seal that would take away our writing */
	assert_int_equal(fcntl(segment.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(errno, EPERM);
	hshm_segment_close(&segment);
}

static void peer_may_write_a_segment_sealed_in_size(void **state)
{
	struct hshm_segment segment = make_segment(HSHM_SEAL_SIZE), peer;

	(void)state;
	assert_int_equal(hshm_segment_open(dup(segment.fd), SIZE, 5, HSHM_SEGMENT_READ_WRITE, &peer), 0);
	assert_ptr_not_equal(peer.map.base, segment.map.base);
	((char *)peer.map.base)[77] = 'x';
	assert_int_equal(((char *)segment.map.base)[77], 'x');
	hshm_segment_close(&peer);
	hshm_segment_close(&segment);
}

static void nobody_else_writes_a_segment_sealed_for_writing(void **state)
{
	struct hshm_segment segment = make_segment(HSHM_SEAL_WRITE), peer;
	int fd = dup(segment.fd);

	(void)state;
	assert_int_equal(hshm_segment_open(fd, SIZE, 5, HSHM_SEGMENT_READ_WRITE, &peer), -EACCES);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
	assert_int_equal(errno, EPERM);

	assert_int_equal(hshm_segment_open(fd, SIZE, 5, HSHM_SEGMENT_READ_ONLY, &peer), 0);
	assert_int_equal(mprotect(peer.map.base, SIZE, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(hshm_segment_reserve(&segment, 0, SIZE), 0);
	((char *)segment.map.base)[3] = 'w';
	assert_int_equal(((char *)peer.map.base)[3], 'w');
	hshm_segment_close(&peer);
	hshm_segment_close(&segment);
}

static void open_refuses_what_is_no_sealed_memfd(void **state)
{
	struct hshm_segment segment = make_segment(HSHM_SEAL_SIZE), peer = { 0 };
	int unsealed = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int half_sealed = memfd_create("half", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int ends[2];

	(void)state;
	assert_int_equal(ftruncate(unsealed, SIZE), 0);
	assert_int_equal(ftruncate(half_sealed, SIZE), 0);
	assert_int_equal(fcntl(half_sealed, F_ADD_SEALS, F_SEAL_GROW), 0);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(hshm_segment_open(unsealed, SIZE, 5, HSHM_SEGMENT_READ_ONLY, &peer), -EPROTO);
	assert_int_equal(hshm_segment_open(half_sealed, SIZE, 5, HSHM_SEGMENT_READ_ONLY, &peer), -EPROTO);
	assert_int_equal(hshm_segment_open(file, SIZE, 5, HSHM_SEGMENT_READ_ONLY, &peer), -EPROTO);
	assert_int_equal(hshm_segment_open(ends[0], SIZE, 5, HSHM_SEGMENT_READ_ONLY, &peer), -EPROTO);
	assert_int_equal(hshm_segment_open(-1, SIZE, 5, HSHM_SEGMENT_READ_ONLY, &peer), -EPROTO);
	/* the maker's word and the file differ */
	assert_int_equal(hshm_segment_open(segment.fd, SIZE * 2, 5, HSHM_SEGMENT_READ_ONLY, &peer), -EPROTO);
	assert_int_equal(hshm_segment_open(segment.fd, SIZE / 2, 5, HSHM_SEGMENT_READ_ONLY, &peer), -EPROTO);
	assert_int_equal(hshm_segment_open(segment.fd, SIZE - 1, 5, HSHM_SEGMENT_READ_ONLY, &peer), -EPROTO);
	assert_int_equal(hshm_segment_open(segment.fd, 0, 5, HSHM_SEGMENT_READ_ONLY, &peer), -EPROTO);
	assert_int_equal(hshm_segment_open(segment.fd, SIZE, 0, HSHM_SEGMENT_READ_ONLY, &peer), -EPROTO);
	assert_int_equal(hshm_segment_open(segment.fd, SIZE, 0xffff, HSHM_SEGMENT_READ_ONLY, &peer), -EPROTO);
	/* refused: still the caller's, and open */
	assert_int_equal(close(unsealed), 0);
	assert_int_equal(close(half_sealed), 0);
	assert_int_equal(close(file), 0);
	close(ends[0]);
	close(ends[1]);
	assert_null(peer.map.base);
	hshm_segment_close(&segment);
}

static void pages_come_when_they_are_reserved(void **state)
{
	struct hshm_segment segment = make_segment(HSHM_SEAL_SIZE);
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	(void)state;
	assert_int_equal(file_bytes(&segment), 0);
	assert_int_equal(hshm_segment_reserve(&segment, page + 1, 1), 0);
	assert_int_equal(file_bytes(&segment), page);
	assert_int_equal(hshm_segment_reserve(&segment, page - 1, 2), 0);
	assert_int_equal(file_bytes(&segment), 2 * page);
	assert_int_equal(hshm_segment_reserve(&segment, 0, 0), 0);
	assert_int_equal(hshm_segment_reserve(&segment, 0, SIZE), 0);
	assert_int_equal(file_bytes(&segment), SIZE);
	hshm_segment_close(&segment);
}

static void reserving_keeps_what_is_written(void **state)
{
	struct hshm_segment segment = make_segment(HSHM_SEAL_SIZE);

	(void)state;
	strcpy(segment.map.base, "kept");
	assert_int_equal(hshm_segment_reserve(&segment, 0, SIZE), 0);
	assert_memory_equal(segment.map.base, "kept", 5);
	hshm_segment_close(&segment);
}

static void reserving_outside_is_refused(void **state)
{
	struct hshm_segment segment = make_segment(HSHM_SEAL_SIZE), none = { 0 };

	(void)state;
	assert_int_equal(hshm_segment_reserve(&segment, 0, SIZE + 1), -EINVAL);
	assert_int_equal(hshm_segment_reserve(&segment, SIZE, 1), -EINVAL);
	assert_int_equal(hshm_segment_reserve(&segment, SIZE + 1, 0), -EINVAL);
	assert_int_equal(hshm_segment_reserve(&segment, 4096, UINT64_MAX - 100), -EINVAL);
	assert_int_equal(hshm_segment_reserve(&segment, UINT64_MAX, 2), -EINVAL);
	assert_int_equal(hshm_segment_reserve(&none, 0, 0), -EINVAL);
	hshm_segment_close(&segment);
}

static void private_segment_is_sparse_and_has_no_file(void **state)
{
	struct hshm_segment segment;

	(void)state;
	assert_int_equal(hshm_segment_create_private(UINT64_C(64) << 30, 9, &segment), 0);
	assert_int_equal(segment.fd, -1);
	assert_int_equal(hshm_segment_reserve(&segment, UINT64_C(40) << 30, 100000), 0);
	memset((char *)segment.map.base + (UINT64_C(40) << 30), 1, 100000);
	assert_ptr_equal(hipc_ptr_translate(&segment.map, hipc_ptr_make(9, UINT64_C(40) << 30), 1),
			 (char *)segment.map.base + (UINT64_C(40) << 30));
	hshm_segment_close(&segment);
}

/* How does a child end that touches the segment? */
static int touch_in_child(const struct hshm_segment *segment)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)segment->map.base = 1;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void mapping_is_not_there_after_fork(void **state)
{
	struct hshm_segment segment = make_segment(HSHM_SEAL_SIZE), peer, private;

	(void)state;
	skip_under_qemu("ignores MADV_DONTFORK");
	assert_int_equal(hshm_segment_open(dup(segment.fd), SIZE, 5, HSHM_SEGMENT_READ_WRITE, &peer), 0);
	assert_int_equal(hshm_segment_create_private(SIZE, 6, &private), 0);
	assert_int_equal(touch_in_child(&segment), SIGSEGV);
	assert_int_equal(touch_in_child(&peer), SIGSEGV);
	assert_int_equal(touch_in_child(&private), SIGSEGV);
	hshm_segment_close(&private);
	hshm_segment_close(&peer);
	hshm_segment_close(&segment);
}

static void close_accepts_what_is_not_open(void **state)
{
	int n_fds = count_fds();
	struct hshm_segment segment = make_segment(HSHM_SEAL_SIZE), zeroed = { 0 };

	(void)state;
	hshm_segment_close(&zeroed);
	hshm_segment_close(&segment);
	hshm_segment_close(&segment);
	assert_int_equal(count_fds(), n_fds);
	assert_int_not_equal(fcntl(STDERR_FILENO, F_GETFD), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_segment_is_mapped_and_rounded_to_pages),
		cmocka_unit_test(bad_numbers_are_refused),
		cmocka_unit_test(sealed_segment_cannot_be_resized),
		cmocka_unit_test(peer_may_write_a_segment_sealed_in_size),
		cmocka_unit_test(nobody_else_writes_a_segment_sealed_for_writing),
		cmocka_unit_test(open_refuses_what_is_no_sealed_memfd),
		cmocka_unit_test(pages_come_when_they_are_reserved),
		cmocka_unit_test(reserving_keeps_what_is_written),
		cmocka_unit_test(reserving_outside_is_refused),
		cmocka_unit_test(private_segment_is_sparse_and_has_no_file),
		cmocka_unit_test(mapping_is_not_there_after_fork),
		cmocka_unit_test(close_accepts_what_is_not_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
