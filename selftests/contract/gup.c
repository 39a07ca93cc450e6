// SPDX-License-Identifier: GPL-2.0
/*
 * get_user_pages() must refuse pages of such a mapping, whoever calls it: nobody but vmlab
 * may hold a reference on a frame, or use it after it was taken away.
 */
#include "test.h"

#include <linux/futex.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define OTHERWISE \
	"the kernel would read or write a frame after vmlab gave it to somebody else"

/* Each returns 0 when it was refused with EFAULT, 1 when it worked, or ends the test. */
static int refused(const char *what, long result)
{
	if (result >= 0)
		return 1;
	if (errno == ENOSYS)
		SKIP("a kernel without %s", what);
	if (errno != EFAULT)
		die("%s: %m, where EFAULT was to be expected", what);
	return 0;
}

static int direct_io(char *address, size_t bytes)
{
	const char *disks = getenv("VMLAB_DISKS");
	char disk[64] = "/dev/vda";
	int fd;

	if (disks && sscanf(disks, "%63s", disk) != 1)
		SKIP("no disk to read from");
	fd = open(disk, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		SKIP("no disk to read from: %s: %m", disk);
	return refused("O_DIRECT", pread(fd, address, bytes, 0));
}

static int splice_pages(char *address, size_t bytes)
{
	struct iovec iov = { .iov_base = address, .iov_len = bytes };
	int ends[2];

	REQUIRE(!pipe(ends));
	return refused("vmsplice", vmsplice(ends[1], &iov, 1, SPLICE_F_NONBLOCK));
}

static int process_vm(char *address, size_t bytes)
{
	char *copy = malloc(bytes);
	struct iovec here = { .iov_base = copy, .iov_len = bytes };
	struct iovec there = { .iov_base = address, .iov_len = bytes };

	return refused("process_vm_readv", process_vm_readv(getpid(), &here, 1, &there, 1, 0)) |
	       refused("process_vm_writev", process_vm_writev(getpid(), &here, 1, &there, 1, 0));
}

static int shared_futex(char *address, size_t bytes)
{
	return refused("futex", syscall(SYS_futex, address, FUTEX_WAKE, 1, NULL, NULL, 0));
}

static int fixed_buffer(char *address, size_t bytes)
{
	struct iovec iov = { .iov_base = address, .iov_len = bytes };
	struct io_uring_params params;
	int ring;

	memset(&params, 0, sizeof(params));
	ring = syscall(SYS_io_uring_setup, 2, &params);
	if (ring < 0)
		SKIP("no io_uring here: %m");
	return refused("io_uring", syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS,
					   &iov, 1));
}

static void small_pages(int (*way)(char *address, size_t bytes))
{
	int fd = object(0);
	char *map = shared_map(fd, 0, 4);

	memset(map, 1, 4 * PAGE);
	REQUIRE(look(fd, map).flags & CT_SPECIAL);
	EQUAL(0, way(map, 2 * PAGE));
	EQUAL(1, map[0]);
}

static void huge_page(int (*way)(char *address, size_t bytes))
{
	int fd = object(CT_HUGE);
	char *map = chunk_map(fd);

	memset(map, 1, PAGE);
	EQUAL(CT_LEVEL_HUGE, look(fd, map).level);
	EQUAL(0, way(map + PAGE, 2 * PAGE));
	EQUAL(1, map[0]);
}

CONTRACT(small_direct_io, "O_DIRECT into a special PTE fails with EFAULT", OTHERWISE)
{
	small_pages(direct_io);
}

CONTRACT(small_splice, "vmsplice() of a special PTE fails with EFAULT", OTHERWISE)
{
	small_pages(splice_pages);
}

CONTRACT(small_process_vm, "process_vm_readv() and _writev() of a special PTE fail with EFAULT",
	 OTHERWISE)
{
	small_pages(process_vm);
}

CONTRACT(small_futex, "a shared futex in a special PTE fails with EFAULT", OTHERWISE)
{
	small_pages(shared_futex);
}

CONTRACT(small_fixed_buffer, "io_uring does not register a special PTE as a buffer", OTHERWISE)
{
	small_pages(fixed_buffer);
}

CONTRACT(huge_direct_io, "O_DIRECT into a huge PMD of ours fails with EFAULT", OTHERWISE)
{
	huge_page(direct_io);
}

CONTRACT(huge_splice, "vmsplice() of a huge PMD of ours fails with EFAULT", OTHERWISE)
{
	huge_page(splice_pages);
}

CONTRACT(huge_process_vm, "process_vm_readv() and _writev() of a huge PMD of ours fail with EFAULT",
	 OTHERWISE)
{
	huge_page(process_vm);
}

CONTRACT(huge_futex, "a shared futex in a huge PMD of ours fails with EFAULT", OTHERWISE)
{
	huge_page(shared_futex);
}

CONTRACT(huge_fixed_buffer, "io_uring does not register a huge PMD of ours as a buffer", OTHERWISE)
{
	huge_page(fixed_buffer);
}

CONTRACT(copies_work, "read(), write() and private futexes work on the mapping",
	 "programs could do nothing with their memory but load and store")
{
	int fd = object(0), ends[2];
	char *map = shared_map(fd, 0, 4);

	REQUIRE(!pipe(ends));
	strcpy(map, "through a pipe");
	EQUAL(PAGE, write(ends[1], map, PAGE));
	EQUAL(PAGE, read(ends[0], map + 2 * PAGE, PAGE));
	EQUAL(0, strcmp(map + 2 * PAGE, "through a pipe"));
	EQUAL(0, syscall(SYS_futex, map, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	FAILS(EAGAIN, syscall(SYS_futex, map, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
}
