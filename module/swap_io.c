// SPDX-License-Identifier: GPL-2.0
/*
 * Swap I/O: batches of pages become bios, and bios' ends become errors of
 * pages.
 *
 * Owns the bios and the checksums.  It must never decide what an error means
 * for a slot or a frame (who submitted does), never allocate memory that could
 * be waiting for the very pages it writes, and never touch a batch once its
 * submitter can know that it is done.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/crc32c.h>
#include <linux/slab.h>

#include "vmlab.h"

/*
 * Bios in reserve.  One is enough for progress, because every bio that waits
 * in a plug is sent off before its submitter sleeps for the next.
 */
#define VMLAB_SWAP_BIO_RESERVE	16

/* Pages in a row that fail alone too, until the rest is given up. */
#define VMLAB_SWAP_RETRIES	4

/**
 * struct vmlab_swap_bio - a bio, and which pages of which batch it carries
 * @batch:	the batch
 * @first:	its first page in batch->io
 * @nr:	how many pages it carries
 * @bio:	last, as bio sets want it
 */
struct vmlab_swap_bio {
	struct vmlab_swap_batch	*batch;
	unsigned int		first;
	unsigned int		nr;
	struct bio		bio;
};

/**
 * vmlab_swap_io_init() - set aside what swap I/O needs
 * @vm: the instance
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM.
 */
int vmlab_swap_io_init(struct vmlab *vm)
{
	int error;

	vm->swap_bios = kzalloc(sizeof(*vm->swap_bios), GFP_KERNEL);
	if (!vm->swap_bios)
		return -ENOMEM;
	error = bioset_init(vm->swap_bios, VMLAB_SWAP_BIO_RESERVE,
			    offsetof(struct vmlab_swap_bio, bio), BIOSET_NEED_BVECS);
	if (error) {
		kfree(vm->swap_bios);
		vm->swap_bios = NULL;
	}
	return error;
}

/**
 * vmlab_swap_io_exit() - undo vmlab_swap_io_init(), also when it failed
 * @vm: the instance, without I/O under way
 */
void vmlab_swap_io_exit(struct vmlab *vm)
{
	if (!vm->swap_bios)
		return;
	bioset_exit(vm->swap_bios);
	kfree(vm->swap_bios);
	vm->swap_bios = NULL;
}

static sector_t vmlab_swap_sector(u64 offset)
{
	return offset << (PAGE_SHIFT - SECTOR_SHIFT);
}

static u32 vmlab_swap_crc(const struct vmlab_frame *frame)
{
	return crc32c(~0U, vmlab_frame_addr(frame), PAGE_SIZE);
}

static void vmlab_swap_batch_put(struct vmlab_swap_batch *batch)
{
	if (atomic_dec_and_test(&batch->pending))
		complete(&batch->done);
}

/* Any context, interrupts included. */
static void vmlab_swap_end_io(struct bio *bio)
{
	struct vmlab_swap_bio *sbio = container_of(bio, struct vmlab_swap_bio, bio);
	struct vmlab_swap_batch *batch = sbio->batch;
	unsigned int i;

	if (bio->bi_status || vmlab_should_fail(batch->vm, VMLAB_INJECT_io))
		for (i = sbio->first; i < sbio->first + sbio->nr; i++)
			batch->io[i].error = -EIO;
	bio_put(bio);
	vmlab_swap_batch_put(batch);
}

/* Do this page and the next one lie side by side on one device? */
static bool vmlab_swap_is_next(const struct vmlab_swap_io *io)
{
	return io[1].entry == io[0].entry + 1;
}

/* And in memory, too? */
static bool vmlab_swap_is_next_frame(const struct vmlab_swap_io *io)
{
	return io[1].frame->pfn == io[0].frame->pfn + 1;
}

/*
 * How many pages from @first on lie side by side on one device, as far as one bio has room.
 * @pieces: out: of memory, that they are in.
 */
static unsigned int vmlab_swap_run(const struct vmlab_swap_batch *batch,
				   unsigned int first, unsigned int *pieces)
{
	unsigned int i;

	*pieces = 1;
	for (i = first; i + 1 < batch->nr && vmlab_swap_is_next(&batch->io[i]); i++) {
		if (vmlab_swap_is_next_frame(&batch->io[i]))
			continue;
		if (*pieces == BIO_MAX_VECS)
			break;
		++*pieces;
	}
	return i + 1 - first;
}

/* A piece of memory at a time: a chunk is one. */
static void vmlab_swap_add_pages(struct bio *bio, const struct vmlab_swap_io *io, unsigned int nr)
{
	unsigned int i, n;

	for (i = 0; i < nr; i += n) {
		for (n = 1; i + n < nr && vmlab_swap_is_next_frame(&io[i + n - 1]); n++)
			;
		__bio_add_page(bio, vmlab_frame_page(io[i].frame), n * PAGE_SIZE, 0);
	}
}

static void vmlab_swap_submit_run(struct vmlab_swap_batch *batch, unsigned int first,
				  unsigned int nr, unsigned int pieces)
{
	u64 entry = batch->io[first].entry;
	struct vmlab_swap_bio *sbio;
	struct bio *bio;
	unsigned int i;

	/* It never really fails, having a reserve.  If it did: vmlab_swap_retry() needs none. */
	if (vmlab_should_fail(batch->vm, VMLAB_INJECT_bio)) {
		for (i = first; i < first + nr; i++)
			batch->io[i].error = -EIO;
		return;
	}
	bio = bio_alloc_bioset(vmlab_swap_bdev(batch->vm, entry), pieces,
			       batch->write ? REQ_OP_WRITE | REQ_SWAP :
					      REQ_OP_READ | REQ_SYNC,
			       GFP_NOIO, batch->vm->swap_bios);
	bio->bi_iter.bi_sector = vmlab_swap_sector(vmlab_swap_entry_offset(entry));
	bio->bi_end_io = vmlab_swap_end_io;
	vmlab_swap_add_pages(bio, &batch->io[first], nr);

	sbio = container_of(bio, struct vmlab_swap_bio, bio);
	sbio->batch = batch;
	sbio->first = first;
	sbio->nr = nr;

	if (batch->write)
		vmlab_count(batch->vm, swap_out_bio, 1);
	else
		vmlab_count(batch->vm, swap_in_bio, 1);
	atomic_inc(&batch->pending);
	submit_bio(bio);
}

/**
 * vmlab_swap_submit() - start reading or writing the pages of a batch
 * @batch: the batch; @vm, @write, @nr, and frame and entry of each page are set
 *
 * Pages in a row whose entries follow each other share a bio: a cold chunk is one bio, of one
 * piece of memory.  For writes, the
 * checksums go into the slots' descriptors first: the frames' contents must
 * not change any more.
 *
 * Context: may sleep, but waits for no memory other than that of I/O under way.
 * The caller holds a reference on every entry and the lock of a slot that names
 * it (or is about to), until vmlab_swap_wait() has returned, which must follow.
 */
void vmlab_swap_submit(struct vmlab_swap_batch *batch)
{
	struct blk_plug plug;
	unsigned int i, nr, pieces;

	atomic_set(&batch->pending, 1);
	init_completion(&batch->done);
	for (i = 0; i < batch->nr; i++) {
		struct vmlab_swap_io *io = &batch->io[i];

		io->error = 0;
		io->bad = false;
		if (batch->write)
			vmlab_swap_slot(batch->vm, io->entry)->crc =
				vmlab_swap_crc(io->frame);
	}

	blk_start_plug(&plug);
	for (i = 0; i < batch->nr; i += nr) {
		nr = vmlab_swap_run(batch, i, &pieces);
		vmlab_swap_submit_run(batch, i, nr, pieces);
	}
	blk_finish_plug(&plug);
	vmlab_swap_batch_put(batch);
}

/**
 * vmlab_swap_rw_page() - read or write one page of a device, and wait for it
 * @bdev: the device
 * @page: the page
 * @offset: where, in pages
 * @opf: operation and flags
 *
 * Context: may sleep; needs no memory.
 * Return: 0 or -errno of the block layer.
 */
int vmlab_swap_rw_page(struct block_device *bdev, struct page *page, u64 offset,
		       blk_opf_t opf)
{
	struct bio_vec bvec;
	struct bio bio;
	int error;

	bio_init(&bio, bdev, &bvec, 1, opf);
	bio.bi_iter.bi_sector = vmlab_swap_sector(offset);
	__bio_add_page(&bio, page, PAGE_SIZE, 0);
	error = submit_bio_wait(&bio);
	bio_uninit(&bio);
	return error;
}

/*
 * An error is told for a whole bio, and the block layer merges bios into one
 * request that fails as a whole: only a page that fails alone is really bad.
 */
static void vmlab_swap_retry(struct vmlab_swap_batch *batch, struct vmlab_swap_io *io)
{
	blk_opf_t opf = REQ_SYNC | REQ_NOMERGE;

	if (batch->write) {
		opf |= REQ_OP_WRITE | REQ_SWAP;
		vmlab_count(batch->vm, swap_out_bio, 1);
	} else {
		opf |= REQ_OP_READ;
		vmlab_count(batch->vm, swap_in_bio, 1);
	}
	if (vmlab_should_fail(batch->vm, VMLAB_INJECT_io))
		return;
	if (!vmlab_swap_rw_page(vmlab_swap_bdev(batch->vm, io->entry),
				vmlab_frame_page(io->frame),
				vmlab_swap_entry_offset(io->entry), opf))
		io->error = 0;
}

static void vmlab_swap_account(struct vmlab_swap_batch *batch, struct vmlab_swap_io *io)
{
	struct vmlab_swap_dev *dev;

	dev = vmlab_swap_dev(batch->vm, vmlab_swap_entry_dev(io->entry));
	if (io->error)
		atomic64_inc(&dev->nr_errors);
	else if (batch->write)
		atomic64_inc(&dev->nr_written);
	else
		atomic64_inc(&dev->nr_read);

	if (!io->error && batch->write)
		vmlab_count(batch->vm, swap_out, 1);
	else if (!io->error)
		vmlab_count(batch->vm, swap_in, 1);
	else if (batch->write)
		vmlab_count(batch->vm, swap_write_error, 1);
	else if (io->error == -EILSEQ)
		vmlab_count(batch->vm, swap_checksum_error, 1);
	else
		vmlab_count(batch->vm, swap_read_error, 1);
}

/* Each retry may take the device's time-out, with slots locked: not too many. */
static void vmlab_swap_retry_reads(struct vmlab_swap_batch *batch)
{
	unsigned int i, failed = 0;

	for (i = 0; i < batch->nr && failed < VMLAB_SWAP_RETRIES; i++) {
		if (!batch->io[i].error)
			continue;
		vmlab_swap_retry(batch, &batch->io[i]);
		failed = batch->io[i].error ? failed + 1 : 0;
	}
}

static void vmlab_swap_check_crc(struct vmlab_swap_batch *batch)
{
	unsigned int i;

	for (i = 0; i < batch->nr; i++) {
		struct vmlab_swap_io *io = &batch->io[i];

		if (!io->error && vmlab_swap_crc(io->frame) !=
				  vmlab_swap_slot(batch->vm, io->entry)->crc)
			io->error = -EILSEQ;
	}
}

/*
 * Tries the writes from @first on that failed, each alone: the last one first, at another
 * place of the device than those that come next.
 * Return: whether the device has worked at the end.
 */
static bool vmlab_swap_retry_failed(struct vmlab_swap_batch *batch, unsigned int first,
				    unsigned int nr)
{
	unsigned int i, failed = 0;

	for (i = 0; i < nr && failed < VMLAB_SWAP_RETRIES; i++) {
		struct vmlab_swap_io *io = &batch->io[first + (i ? i - 1 : nr - 1)];

		if (!io->error)
			continue;
		vmlab_swap_retry(batch, io);
		io->bad = io->error;
		failed = io->error ? failed + 1 : 0;
	}
	return !failed;
}

/* Does the device still take a page that it took just now? */
static bool vmlab_swap_still_works(struct vmlab_swap_batch *batch, unsigned int first,
				   unsigned int nr)
{
	unsigned int i;

	for (i = first; i < first + nr; i++) {
		struct vmlab_swap_io *io = &batch->io[i];

		if (io->error)
			continue;
		io->error = -EIO;
		vmlab_swap_retry(batch, io);
		return !io->error;
	}
	return false;
}

/* The device works: what it did not take before, does it take now? */
static void vmlab_swap_confirm_bad(struct vmlab_swap_batch *batch, unsigned int first,
				   unsigned int nr)
{
	unsigned int i, failed = 0;

	for (i = first; i < first + nr; i++) {
		struct vmlab_swap_io *io = &batch->io[i];

		if (io->bad && failed < VMLAB_SWAP_RETRIES) {
			vmlab_swap_retry(batch, io);
			failed = io->error ? failed + 1 : 0;
			io->bad = io->error;
		} else {
			io->bad = false;
		}
	}
}

/*
 * Writes to one device.  What fails alone too is the slot's fault if the device is seen to
 * work after that, and it fails once more.  Else it is the device's, which may be away for a
 * moment only: no slot is blamed for that.
 */
static void vmlab_swap_settle_writes(struct vmlab_swap_batch *batch, unsigned int first,
				     unsigned int nr)
{
	bool failed = false, works = true;
	unsigned int i;

	for (i = first; i < first + nr; i++)
		failed |= batch->io[i].error;
	if (failed)
		works = vmlab_swap_retry_failed(batch, first, nr) ||
			vmlab_swap_still_works(batch, first, nr);
	if (failed && works)
		vmlab_swap_confirm_bad(batch, first, nr);
	for (i = first; i < first + nr && !works; i++)
		batch->io[i].bad = false;
	vmlab_swap_note_write(batch->vm, batch->io[first].entry, works);
}

static void vmlab_swap_retry_writes(struct vmlab_swap_batch *batch)
{
	unsigned int first, nr;

	for (first = 0; first < batch->nr; first += nr) {
		unsigned int dev = vmlab_swap_entry_dev(batch->io[first].entry);

		for (nr = 1; first + nr < batch->nr; nr++)
			if (vmlab_swap_entry_dev(batch->io[first + nr].entry) != dev)
				break;
		vmlab_swap_settle_writes(batch, first, nr);
	}
}

/**
 * vmlab_swap_wait() - wait until all pages of a batch are read or written
 * @batch: a batch that was submitted
 *
 * Afterwards io[].error of each page is 0; or -EIO: the device failed twice,
 * the second time with this page alone, or with several before it; or, for
 * reads, -EILSEQ: what came is not what was written there.  The frame of a page
 * that failed to be read holds anything.
 *
 * Context: sleeps, uninterruptibly; as for vmlab_swap_submit().
 */
void vmlab_swap_wait(struct vmlab_swap_batch *batch)
{
	unsigned int i;

	wait_for_completion_io(&batch->done);
	if (batch->write) {
		vmlab_swap_retry_writes(batch);
	} else {
		vmlab_swap_retry_reads(batch);
		vmlab_swap_check_crc(batch);
	}
	for (i = 0; i < batch->nr; i++)
		vmlab_swap_account(batch, &batch->io[i]);
}
