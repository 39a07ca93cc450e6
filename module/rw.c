// SPDX-License-Identifier: GPL-2.0
/*
 * read() and write(), and copies by kernel addresses for debuggers.
 *
 * Owns no state.  A caller's buffer may itself be a vmlab mapping, of the very page
 * that is copied: so no copy that may fault runs under a slot lock or vm->activity.
 * First the copy is tried with page faults off; what is left then goes through a
 * bounce page.
 *
 * What write() copies into a page must not reach a copy of the object that was made
 * before: it goes on under lineage->clone_sem, which a clone takes for write.
 */
#include <linux/gfp.h>
#include <linux/sched/signal.h>
#include <linux/uio.h>

#include "vmlab.h"

/**
 * struct vmlab_rw - one page's share of a read or a write
 * @obj: the object
 * @pgoff: the page
 * @offset: first byte within the page
 * @len: bytes
 */
struct vmlab_rw {
	struct vmlab_object	*obj;
	u64			pgoff;
	unsigned int		offset;
	unsigned int		len;
};

static void vmlab_rw_next(struct vmlab_rw *rw, struct vmlab_object *obj, loff_t pos,
			  size_t len)
{
	rw->obj = obj;
	rw->pgoff = pos >> PAGE_SHIFT;
	rw->offset = offset_in_page(pos);
	rw->len = min_t(size_t, len, PAGE_SIZE - rw->offset);
}

/* Locks a page to write to it, with lineage->clone_sem held for read. */
static int vmlab_rw_lock_write(struct vmlab_rw *rw, struct vmlab_slot *slot)
{
	struct rw_semaphore *sem = &rw->obj->lineage->clone_sem;
	int err;

	for (;;) {
		err = vmlab_slot_lock_present(rw->obj, rw->pgoff, VMLAB_FILL_WRITE, slot);
		if (err)
			return err;
		down_read(sem);
		if (READ_ONCE(slot->leaf->owners) == 1)
			break;
		/* A clone came in between. */
		up_read(sem);
		vmlab_slot_unlock(slot);
	}
	vmlab_slot_dirty(slot);
	return 0;
}

/*
 * Calls @copy with the page's memory, its slot locked; NULL for a hole that is only
 * read.  Returns what @copy returns, or -errno.
 */
static ssize_t vmlab_rw_page(struct vmlab_rw *rw, bool write,
			     ssize_t (*copy)(struct vmlab_rw *rw, void *page, void *arg),
			     void *arg)
{
	struct vmlab_frame *frame;
	struct vmlab_slot slot;
	ssize_t ret;

	percpu_down_read(&rw->obj->vm->activity);
	if (write)
		ret = vmlab_rw_lock_write(rw, &slot);
	else
		ret = vmlab_slot_lock_present(rw->obj, rw->pgoff, VMLAB_FILL_READ, &slot);
	if (ret == -ENOENT) {
		ret = copy(rw, NULL, arg);
		goto out;
	}
	if (ret)
		goto out;
	frame = vmlab_word_frame(slot.word);
	WRITE_ONCE(frame->accessed, 1);
	ret = copy(rw, vmlab_frame_addr(frame) + rw->offset, arg);
	if (write)
		up_read(&rw->obj->lineage->clone_sem);
	vmlab_slot_unlock(&slot);
out:
	percpu_up_read(&rw->obj->vm->activity);
	return ret;
}

static ssize_t vmlab_copy_out_nofault(struct vmlab_rw *rw, void *page, void *to)
{
	size_t n;

	pagefault_disable();
	n = page ? copy_to_iter(page, rw->len, to) : iov_iter_zero(rw->len, to);
	pagefault_enable();
	return n;
}

static ssize_t vmlab_copy_in_nofault(struct vmlab_rw *rw, void *page, void *from)
{
	size_t n;

	pagefault_disable();
	n = copy_from_iter(page, rw->len, from);
	pagefault_enable();
	return n;
}

static ssize_t vmlab_copy_out(struct vmlab_rw *rw, void *page, void *to)
{
	if (page)
		memcpy(to, page, rw->len);
	else
		memset(to, 0, rw->len);
	return rw->len;
}

static ssize_t vmlab_copy_in(struct vmlab_rw *rw, void *page, void *from)
{
	memcpy(page, from, rw->len);
	return rw->len;
}

static bool vmlab_rw_bounce(struct vmlab *vm, void **bounce)
{
	if (!*bounce && !vmlab_should_fail(vm, VMLAB_INJECT_call))
		*bounce = (void *)__get_free_page(GFP_KERNEL);
	return *bounce;
}

/* One page's read; returns bytes copied, which may be fewer than @rw->len, or -errno. */
static ssize_t vmlab_read_page(struct vmlab_rw *rw, struct iov_iter *to, void **bounce)
{
	ssize_t ret, done;

	done = vmlab_rw_page(rw, false, vmlab_copy_out_nofault, to);
	if (done < 0 || done == rw->len)
		return done;
	rw->offset += done;
	rw->len -= done;
	if (!vmlab_rw_bounce(rw->obj->vm, bounce))
		return done ? : -ENOMEM;
	ret = vmlab_rw_page(rw, false, vmlab_copy_out, *bounce);
	if (ret < 0)
		return done ? : ret;
	ret = copy_to_iter(*bounce, rw->len, to);
	return done + ret ? : -EFAULT;
}

static ssize_t vmlab_write_page(struct vmlab_rw *rw, struct iov_iter *from, void **bounce)
{
	ssize_t ret, done;

	/* Bring the buffer in first: most buffers stay for the copy that follows. */
	if (fault_in_iov_iter_readable(from, rw->len) == rw->len)
		return -EFAULT;
	done = vmlab_rw_page(rw, true, vmlab_copy_in_nofault, from);
	if (done < 0 || done == rw->len)
		return done;
	rw->offset += done;
	rw->len -= done;
	if (!vmlab_rw_bounce(rw->obj->vm, bounce))
		return done ? : -ENOMEM;
	rw->len = copy_from_iter(*bounce, rw->len, from);
	if (!rw->len)
		return done ? : -EFAULT;
	ret = vmlab_rw_page(rw, true, vmlab_copy_in, *bounce);
	if (ret < 0) {
		iov_iter_revert(from, rw->len);
		return done ? : ret;
	}
	return done + ret;
}

static struct vmlab_object *vmlab_iocb_object(struct kiocb *iocb)
{
	return iocb->ki_filp->private_data;
}

typedef ssize_t (*vmlab_rw_fn)(struct vmlab_rw *rw, struct iov_iter *iter, void **bounce);

/* Goes through the pages; a part that was done counts more than an error after it. */
static ssize_t vmlab_rw_iter(struct kiocb *iocb, struct iov_iter *iter, vmlab_rw_fn fn)
{
	struct vmlab_object *obj = vmlab_iocb_object(iocb);
	ssize_t done = 0, ret = 0;
	void *bounce = NULL;
	struct vmlab_rw rw;
	unsigned int want;

	while (iov_iter_count(iter)) {
		vmlab_rw_next(&rw, obj, iocb->ki_pos, iov_iter_count(iter));
		want = rw.len;
		ret = fn(&rw, iter, &bounce);
		if (ret > 0) {
			done += ret;
			iocb->ki_pos += ret;
		}
		if (ret != want)
			break;
		cond_resched();
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
	}
	free_page((unsigned long)bounce);
	return done ? : ret;
}

/**
 * vmlab_read_iter() - file_operations->read_iter
 * @iocb: position and file
 * @to: the buffer
 *
 * A hole reads as zeros and stays one.
 *
 * Return: bytes read, 0 at the end of the object, or -errno: -EFAULT, -EIO when swap
 * fails, -ENOMEM, -EINTR on a fatal signal.
 */
ssize_t vmlab_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	if (iocb->ki_pos >= (loff_t)VMLAB_OBJECT_SIZE)
		return 0;
	iov_iter_truncate(to, VMLAB_OBJECT_SIZE - iocb->ki_pos);
	return vmlab_rw_iter(iocb, to, vmlab_read_page);
}

/**
 * vmlab_write_iter() - file_operations->write_iter
 * @iocb: position and file
 * @from: the buffer
 *
 * Return: bytes written, or -errno: -EFBIG past the end of the object, -ENOSPC when
 * the pool or the limit is exhausted, -EFAULT, -EIO, -EINTR on a fatal signal.
 */
ssize_t vmlab_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	ssize_t ret;

	if (!iov_iter_count(from))
		return 0;
	if (iocb->ki_pos >= (loff_t)VMLAB_OBJECT_SIZE)
		return -EFBIG;
	iov_iter_truncate(from, VMLAB_OBJECT_SIZE - iocb->ki_pos);
	ret = vmlab_rw_iter(iocb, from, vmlab_write_page);
	return ret == -ENOMEM ? -ENOSPC : ret;
}

/**
 * vmlab_copy() - copy between an object and kernel memory
 * @obj: the object
 * @pos: where in it
 * @buf: kernel memory
 * @len: bytes; not past the end of the object
 * @write: from @buf into the object
 *
 * Context: sleeps; no slot locked, vm->activity not held.
 * Return: bytes copied, or -errno if none.
 */
int vmlab_copy(struct vmlab_object *obj, loff_t pos, void *buf, size_t len, bool write)
{
	struct vmlab_rw rw;
	size_t done = 0;
	ssize_t ret;

	while (done < len) {
		vmlab_rw_next(&rw, obj, pos + done, len - done);
		ret = vmlab_rw_page(&rw, write, write ? vmlab_copy_in : vmlab_copy_out,
				    buf + done);
		if (ret < 0)
			return done ? : ret;
		done += ret;
	}
	return done;
}
