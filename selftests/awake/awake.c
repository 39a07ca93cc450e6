// SPDX-License-Identifier: GPL-2.0
/*
 * A module that does one wrong thing while it is loaded, named by its parameter,
 * so that a debug kernel can prove that it would have seen it in vmlab.  It must
 * never be loaded outside of a guest that is thrown away.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

static char *misdeed = "";
module_param(misdeed, charp, 0444);
MODULE_PARM_DESC(misdeed, "what to do wrong");

/* Numbers that the compiler cannot know, so that it neither warns nor leaves out. */
static volatile int eight = 8;
static volatile int forty = 40;
static volatile char sink;

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spin);

static int lock_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
	return 0;
}

static int sleep_in_atomic(void)
{
	void *memory;

	spin_lock(&spin);
	memory = kmalloc(64, GFP_KERNEL);
	spin_unlock(&spin);
	kfree(memory);
	return 0;
}

static int __rcu *guarded;

static int rcu_unguarded(void)
{
	return rcu_dereference(guarded) ? -EINVAL : 0;
}

static int use_after_free(void)
{
	char *memory = kmalloc(64, GFP_KERNEL);

	if (!memory)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(memory);
	kfree(memory);
	sink = ((volatile char *)memory)[eight];
	return 0;
}

static int page_after_free(void)
{
	unsigned long page = __get_free_page(GFP_KERNEL);

	if (!page)
		return -ENOMEM;
	free_page(page);
	sink = *(volatile char *)page;
	return 0;
}

static int beyond_slab(void)
{
	char *memory = kmalloc(64, GFP_KERNEL);

	if (!memory)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(memory);
	sink = ((volatile char *)memory)[eight * 8];
	kfree(memory);
	return 0;
}

static int beyond_vmalloc(void)
{
	char *memory = vmalloc(PAGE_SIZE - 64);

	if (!memory)
		return -ENOMEM;
	sink = ((volatile char *)memory)[PAGE_SIZE - eight * 8];
	vfree(memory);
	return 0;
}

static int beyond_stack(void)
{
	volatile char local[64] = { };
	volatile char *all = local;

	OPTIMIZER_HIDE_VAR(all);
	sink = all[eight * 8];
	return 0;
}

/* What follows the array is ours as well: only UBSAN can mind. */
static struct {
	int array[8];
	int more[8];
} table;

static int array_index(void)
{
	return table.array[eight];
}

static int shift(void)
{
	return 1 << forty ? 0 : -EINVAL;
}

static int leak(void)
{
	char *memory = kmalloc(128, GFP_KERNEL);

	if (memory)
		strscpy(memory, "nothing points here", 128);
	return 0;
}

struct timed {
	struct timer_list timer;
};

static void ring(struct timer_list *timer)
{
}

static int armed_timer(void)
{
	struct timed *timed = kzalloc(sizeof(*timed), GFP_KERNEL);

	if (!timed)
		return -ENOMEM;
	timer_setup(&timed->timer, ring, 0);
	mod_timer(&timed->timer, jiffies + 3600 * HZ);
	kfree(timed);
	return 0;
}

static int list_twice(void)
{
	static LIST_HEAD(head);
	static LIST_HEAD(entry);

	list_add(&entry, &head);
	list_add(&entry, &head);
	return 0;
}

/* Gives up a reference that nobody has. */
static int put_unowned(void)
{
	struct page *page = alloc_page(GFP_KERNEL);

	if (!page)
		return -ENOMEM;
	set_page_count(page, 0);
	put_page(page);
	return 0;
}

static int map_here(pte_t *pte, unsigned long address, void *data)
{
	pte_t entry = mk_pte((struct page *)data, vm_get_page_prot(VM_READ | VM_WRITE));

	set_pte_at(current->mm, address, pte, pte_mkwrite_novma(entry));
	return 0;
}

/* An anonymous page, mapped writable a second time behind the core's back. */
static int mapped_twice(void)
{
	unsigned long address = vm_mmap(NULL, 0, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
					MAP_ANONYMOUS | MAP_PRIVATE, 0);
	struct page *page;
	int error;

	if (IS_ERR_VALUE(address))
		return (int)address;
	if (put_user(1, (int __user *)address))
		return -EFAULT;
	if (get_user_pages_fast(address, 1, FOLL_WRITE, &page) != 1)
		return -EFAULT;
	mmap_write_lock(current->mm);
	error = apply_to_page_range(current->mm, address + PAGE_SIZE, PAGE_SIZE, map_here, page);
	mmap_write_unlock(current->mm);
	return error;
}

static unsigned long contested;

static int race_along(void *done)
{
	unsigned long i;

	for (i = 0; i < 2000000; i++) {
		contested++;
		barrier();
	}
	complete(done);
	return 0;
}

static int race(void)
{
	static struct completion done[2];
	int i;

	for (i = 0; i < ARRAY_SIZE(done); i++) {
		init_completion(&done[i]);
		if (IS_ERR(kthread_run(race_along, &done[i], "awake-along")))
			complete(&done[i]);
	}
	for (i = 0; i < ARRAY_SIZE(done); i++)
		wait_for_completion(&done[i]);
	return 0;
}

static const struct {
	const char	*name;
	int		(*act)(void);
} misdeeds[] = {
	{ "lock_order", lock_order },
	{ "sleep_in_atomic", sleep_in_atomic },
	{ "rcu_unguarded", rcu_unguarded },
	{ "use_after_free", use_after_free },
	{ "page_after_free", page_after_free },
	{ "beyond_slab", beyond_slab },
	{ "beyond_vmalloc", beyond_vmalloc },
	{ "beyond_stack", beyond_stack },
	{ "array_index", array_index },
	{ "shift", shift },
	{ "leak", leak },
	{ "armed_timer", armed_timer },
	{ "list_twice", list_twice },
	{ "put_unowned", put_unowned },
	{ "mapped_twice", mapped_twice },
	{ "race", race },
};

static int __init awake_init(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(misdeeds); i++)
		if (!strcmp(misdeed, misdeeds[i].name))
			return misdeeds[i].act();
	return -EINVAL;
}

static void __exit awake_exit(void)
{
}

module_init(awake_init);
module_exit(awake_exit);
MODULE_DESCRIPTION("Misbehaves on demand, to see whether a debug kernel notices");
MODULE_LICENSE("GPL");
