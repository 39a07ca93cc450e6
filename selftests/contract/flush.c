// SPDX-License-Identifier: GPL-2.0
/*
 * TLB flushes by what is exported, and what the hardware and the core say about PTEs.
 * Only after a flush may a frame be written out or be another's.
 */
#include "test.h"

#include <signal.h>

#define PAGES 64
#define SOME_EMPTY_PAGE 200

struct shared {
	int fd;
	char *map;
	int ready[2], go[2];
};

static struct shared mapped(void)
{
	struct shared made = { .fd = object(0) };

	made.map = shared_map(made.fd, 0, CT_PAGES);
	set_ptes(made.fd, made.map, PAGES, CT_WRITE | CT_DIRTY | CT_YOUNG);
	reset(made.fd);
	return made;
}

CONTRACT(zap_flushes, "zap_vma_ptes() has flushed when it returns",
	 "a CPU would go on reading and writing a frame that is another's by then")
{
	struct shared s = mapped();
	struct spinner *spinner = spin_stale(s.fd, s.map, 0, PAGES);

	zap(s.fd, s.map, PAGES);
	spin_rounds(spinner, 2);
	EQUAL(PAGES, events(s.fd).faulted_pages);
	spin_stop(spinner);
}

CONTRACT(nested_flush_after_clear,
	 "one nested zap of an empty page flushes all PTEs that were cleared",
	 "pages would be written to swap and their frames freed while CPUs still use them")
{
	struct shared s = mapped();
	struct spinner *spinner = spin_stale(s.fd, s.map, 0, PAGES);

	EQUAL(PAGES, change(s.fd, 0, PAGES, CT_CHANGE_CLEAR | CT_FLUSH_NESTED, 0));
	spin_rounds(spinner, 2);
	EQUAL(PAGES, events(s.fd).faulted_pages);
	spin_stop(spinner);
}

CONTRACT(nested_flush_after_wrprotect,
	 "one nested zap elsewhere flushes all PTEs that were write-protected",
	 "stores would go on unseen after a page was cleaned or shared")
{
	struct shared s = mapped();
	struct spinner *spinner = spin_stale(s.fd, s.map, 0, PAGES);

	EQUAL(PAGES, change(s.fd, 0, PAGES, CT_CHANGE_WRPROTECT | CT_FLUSH_NESTED,
			    SOME_EMPTY_PAGE));
	spin_rounds(spinner, 2);
	EQUAL(PAGES, events(s.fd).faulted_pages);
	EQUAL(PAGES, events(s.fd).mkwrite);
	spin_stop(spinner);
}

static int spin_in_child(void *arg)
{
	struct shared *s = arg;
	struct spinner *spinner = spin_stale(s->fd, s->map, 0, PAGES);
	char byte;

	REQUIRE(write(s->ready[1], "", 1) == 1);
	REQUIRE(read(s->go[0], &byte, 1) == 1);
	spin_rounds(spinner, 2);
	EQUAL(PAGES, events(s->fd).faulted_pages);
	spin_stop(spinner);
	return 0;
}

CONTRACT(nested_flush_elsewhere, "the nested flush reaches the CPUs of another process",
	 "reclaim would free frames that other processes still use")
{
	struct shared s = mapped();
	char byte;
	pid_t pid;

	REQUIRE(!pipe(s.ready) && !pipe(s.go));
	zap(s.fd, s.map, PAGES);
	pid = child_start(spin_in_child, &s);
	close(s.ready[1]);
	if (read(s.ready[0], &byte, 1) == 1) {
		EQUAL(PAGES, change(s.fd, 0, PAGES, CT_CHANGE_CLEAR | CT_FLUSH_NESTED, 0));
		REQUIRE(write(s.go[1], "", 1) == 1);
	}
	child_ok(pid);
}

CONTRACT(pending_and_nested,
	 "mm_tlb_flush_pending() and mm_tlb_flush_nested() tell one announcement from two",
	 "flushes would be left out that somebody else has yet to do")
{
	EQUAL(CT_PENDING_NONE | CT_PENDING_ONE | CT_PENDING_TWO, ioctl(object(0), CT_IOC_PENDING));
}

CONTRACT(core_announces,
	 "munmap(), mprotect() and zaps announce their flush while they change PTEs",
	 "a page with an empty PTE would be taken for unmapped while a CPU still uses it, and "
	 "its frame be freed")
{
	struct shared s = mapped();

	if (ioctl(s.fd, CT_IOC_NOTIFY, 1)) {
		REQUIRE(errno == EOPNOTSUPP);
		SKIP("a kernel without CONFIG_MMU_NOTIFIER");
	}
	zap(s.fd, s.map, 8);
	REQUIRE(events(s.fd).notified >= 2);
	EQUAL(0, events(s.fd).notified_unannounced);
	reset(s.fd);
	EQUAL(0, mprotect(s.map + 8 * PAGE, 8 * PAGE, PROT_READ));
	REQUIRE(events(s.fd).notified >= 2);
	EQUAL(0, events(s.fd).notified_unannounced);
	reset(s.fd);
	EQUAL(0, munmap(s.map + 16 * PAGE, 8 * PAGE));
	REQUIRE(events(s.fd).notified >= 2);
	EQUAL(0, events(s.fd).notified_unannounced);
	EQUAL(0, ioctl(s.fd, CT_IOC_NOTIFY, 0));
}

CONTRACT(accessed_by_hardware,
	 "a load or store sets the accessed bit of an old PTE, without a fault",
	 "CLOCK would take pages in use for idle and evict them first")
{
	struct shared s = mapped();

	zap(s.fd, s.map, PAGES);
	set_ptes(s.fd, s.map, PAGES, CT_WRITE | CT_DIRTY);
	REQUIRE(!(look(s.fd, s.map).flags & CT_YOUNG));
	EQUAL(0, s.map[0]);
	s.map[PAGE] = 1;
	REQUIRE(look(s.fd, s.map).flags & CT_YOUNG);
	REQUIRE(look(s.fd, s.map + PAGE).flags & CT_YOUNG);
	REQUIRE(!(look(s.fd, s.map + 2 * PAGE).flags & CT_YOUNG));
	EQUAL(0, events(s.fd).fault + events(s.fd).mkwrite);
}

CONTRACT(accessed_again, "a cleared accessed bit is set again by the next use after a flush",
	 "CLOCK would see each page used once and never again")
{
	struct shared s = mapped();
	int i;

	for (i = 0; i < PAGES; i++)
		s.map[i * PAGE] = 1;
	EQUAL(PAGES, change(s.fd, 0, PAGES, CT_CHANGE_OLD | CT_FLUSH_NESTED, SOME_EMPTY_PAGE));
	for (i = 0; i < PAGES; i++)
		REQUIRE(!(look(s.fd, s.map + i * PAGE).flags & CT_YOUNG));
	for (i = 0; i < PAGES; i += 2)
		s.map[i * PAGE] = 2;
	for (i = 0; i < PAGES; i++)
		EQUAL(!(i % 2), !!(look(s.fd, s.map + i * PAGE).flags & CT_YOUNG));
	EQUAL(0, events(s.fd).fault + events(s.fd).mkwrite);
}
