/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A first program: writes to each of 64 MiB of vmlab's pages, reads them back, and tells what became of them. With an
 * argument it then stays until it is killed. It must stay short enough to be shown in README.md.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vmlab.h"

int main(int argc, char *argv[])
{
	struct vmlab_ioc_info info = { .size = sizeof(info) };
	int fd = open("/dev/vmlab", O_RDWR);
	long pages = 16384, (*page)[512] = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (page == MAP_FAILED)
		return perror("/dev/vmlab"), 1;
	for (long i = 0; i < pages; i++)
		page[i][0] = i;
	for (long i = 0; i < pages; i++)
		if (page[i][0] != i)
			return dprintf(1, "page %ld is wrong\n", i), 1;
	ioctl(fd, VMLAB_IOC_INFO, &info);
	dprintf(1, "object %llu: %llu pages in memory, %llu on swap; %llu faults, %llu pages written, %llu read\n",
		info.id, info.resident_pages, info.swapped_pages, info.faults, info.swap_outs, info.swap_ins);
	return argc > 1 ? pause() : 0;
}
