// SPDX-License-Identifier: GPL-2.0
/*
 * module/chunk.c: no frame is handed out twice, lost, or in the wrong state.
 */
#include <linux/kernel.h>
#include <string.h>

#include "frame.h"
#include "unit.h"

static struct vmlab_frame frames[VMLAB_CHUNK_FRAMES];
static struct vmlab_chunk chunk;

static void start(void)
{
	unsigned int i;

	memset(frames, 0xa5, sizeof(frames));
	memset(&chunk, 0xa5, sizeof(chunk));
	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++)
		frames[i].pfn = 1000 + i;
	vmlab_chunk_init(&chunk, NULL, frames, VMLAB_CHUNK_ORDER);
}

static void test_layout(void)
{
	CHECK(sizeof(struct vmlab_frame) <= 64);
}

static void test_new(void)
{
	unsigned int i;

	start();
	CHECK_EQ(chunk.nr_free, VMLAB_CHUNK_FRAMES);
	CHECK(vmlab_chunk_is_whole(&chunk));
	CHECK(bitmap_full(chunk.free, VMLAB_CHUNK_FRAMES));
	CHECK_EQ(chunk.order, VMLAB_CHUNK_ORDER);
	CHECK(!chunk.offline);
	CHECK(list_empty(&chunk.link));
	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++) {
		CHECK_EQ(frames[i].pfn, 1000 + i);
		CHECK(frames[i].chunk == &chunk);
		CHECK(!frames[i].lineage);
		CHECK_EQ(frames[i].state, VMLAB_FRAME_FREE);
		CHECK_EQ(frames[i].flags, 0);
		CHECK_EQ(frames[i].swap, 0);
		CHECK_EQ(atomic_read(&frames[i].refs), 0);
		CHECK(list_empty(&frames[i].lru));
		CHECK_EQ(vmlab_frame_index(&frames[i]), i);
	}
}

static void test_take_all(void)
{
	struct vmlab_frame *taken[VMLAB_CHUNK_FRAMES + 1];
	unsigned int i;

	start();
	CHECK_EQ(vmlab_chunk_take(&chunk, taken, 0), 0);
	CHECK(vmlab_chunk_is_whole(&chunk));
	CHECK_EQ(vmlab_chunk_take(&chunk, taken, VMLAB_CHUNK_FRAMES + 1), VMLAB_CHUNK_FRAMES);
	CHECK_EQ(chunk.nr_free, 0);
	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++) {
		CHECK(taken[i] == &frames[i]);
		CHECK_EQ(taken[i]->state, VMLAB_FRAME_CACHED);
	}
	CHECK_EQ(vmlab_chunk_take(&chunk, taken, 1), 0);
	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++)
		vmlab_chunk_put(&chunk, &frames[i]);
	CHECK(vmlab_chunk_is_whole(&chunk));
}

static void test_put(void)
{
	struct vmlab_frame *taken[8];

	start();
	CHECK_EQ(vmlab_chunk_take(&chunk, taken, 8), 8);
	CHECK(!vmlab_chunk_is_whole(&chunk));
	taken[5]->zeroed = 1;
	vmlab_chunk_put(&chunk, taken[5]);
	CHECK_EQ(taken[5]->state, VMLAB_FRAME_FREE);
	CHECK_EQ(taken[5]->zeroed, 0);
	CHECK_EQ(chunk.nr_free, VMLAB_CHUNK_FRAMES - 7);

	/* The lowest free frame is next, then the one behind those taken. */
	CHECK_EQ(vmlab_chunk_take(&chunk, taken, 2), 2);
	CHECK(taken[0] == &frames[5]);
	CHECK(taken[1] == &frames[8]);
}

static void test_random(void)
{
	struct vmlab_frame *taken[VMLAB_CHUNK_FRAMES];
	bool out[VMLAB_CHUNK_FRAMES] = { false };
	unsigned int round, i, j, nr, want, nr_out = 0;

	start();
	for (round = 0; round < 20000; round++) {
		if (unit_chance(2)) {
			want = unit_random(unit_chance(20) ? 600 : 40);
			want = min(want, VMLAB_CHUNK_FRAMES);
			nr = vmlab_chunk_take(&chunk, taken, want);
			CHECK_EQ(nr, min(want, VMLAB_CHUNK_FRAMES - nr_out));
			for (i = 0; i < nr; i++) {
				j = vmlab_frame_index(taken[i]);
				CHECK(!out[j]);
				CHECK(!i || taken[i] > taken[i - 1]);
				CHECK_EQ(taken[i]->state, VMLAB_FRAME_CACHED);
				out[j] = true;
			}
			nr_out += nr;
		} else {
			want = unit_random(unit_chance(20) ? 600 : 40);
			for (i = 0; i < want && nr_out; i++) {
				j = unit_random(VMLAB_CHUNK_FRAMES);
				while (!out[j])
					j = (j + 1) % VMLAB_CHUNK_FRAMES;
				vmlab_chunk_put(&chunk, &frames[j]);
				out[j] = false;
				nr_out--;
			}
		}
		CHECK_EQ(chunk.nr_free, VMLAB_CHUNK_FRAMES - nr_out);
		CHECK_EQ(bitmap_weight(chunk.free, VMLAB_CHUNK_FRAMES), chunk.nr_free);
		for (i = 0; i < VMLAB_CHUNK_FRAMES; i++) {
			CHECK(test_bit(i, chunk.free) == !out[i]);
			CHECK((frames[i].state == VMLAB_FRAME_FREE) == !out[i]);
		}
	}
}

static const struct unit_test tests[] = {
	{ "chunk: a frame's descriptor is at most 64 bytes", test_layout },
	{ "chunk: a new one is whole and its frames are clean", test_new },
	{ "chunk: all frames can be taken, once", test_take_all },
	{ "chunk: what is put back is taken again, lowest first", test_put },
	{ "chunk: random takes and puts against a model", test_random },
};

int main(void)
{
	return unit_main(tests, ARRAY_SIZE(tests));
}
