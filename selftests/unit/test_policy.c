// SPDX-License-Identifier: GPL-2.0
/*
 * The replacement policies: the order in which they let frames go, against the
 * textbook's, with a pool, accessed bits and a reclaim of the test's own.
 */
#include <linux/kernel.h>
#include <linux/slab.h>
#include <string.h>

#include "policy.h"
#include "unit.h"

#define MAX_FRAMES	(4 * VMLAB_CHUNK_FRAMES)

struct vmlab_pool {
	void *policy_data;
	unsigned long nr_frames;
	unsigned long laps;
	unsigned long looked;		/* frames that the policy asked about */
	struct vmlab_chunk chunks[MAX_FRAMES / VMLAB_CHUNK_FRAMES];
	struct vmlab_frame frames[MAX_FRAMES];
	bool young[MAX_FRAMES];
};

static struct vmlab_pool pool;
static const struct vmlab_policy_ops *ops;

void *vmlab_policy_alloc(size_t size)
{
	return kzalloc(size, GFP_KERNEL);
}

void vmlab_policy_free(void *data)
{
	kfree(data);
}

void **vmlab_policy_data(struct vmlab_pool *p)
{
	return &p->policy_data;
}

unsigned long vmlab_pool_nr_frames(struct vmlab_pool *p)
{
	return p->nr_frames;
}

struct vmlab_frame *vmlab_pool_frame(struct vmlab_pool *p, unsigned long pos)
{
	p->looked++;
	if (pos >= p->nr_frames)
		unit_fail(__FILE__, __LINE__, "frame %lu of %lu", pos, p->nr_frames);
	return &p->frames[pos];
}

static unsigned long pos_of(const struct vmlab_frame *frame)
{
	return frame - pool.frames;
}

/* Tests and clears, as the hardware's bits are. */
void vmlab_scan_young(struct vmlab_scan *scan, struct vmlab_frame **frames,
		      unsigned int nr, unsigned long *young)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		bool *bit = &scan->pool->young[pos_of(frames[i])];

		CHECK_EQ(frames[i]->state, VMLAB_FRAME_RESIDENT);
		if (*bit)
			__set_bit(i, young);
		*bit = false;
	}
}

void vmlab_scan_lap(struct vmlab_scan *scan)
{
	scan->pool->laps++;
}

static void stop(void)
{
	if (ops && ops->exit && pool.policy_data)
		ops->exit(&pool);
	ops = NULL;
}

/* A pool without resident frames, under the policy @new. */
static void start(const struct vmlab_policy_ops *new, unsigned long nr_frames)
{
	unsigned long i;

	stop();
	memset(&pool, 0, sizeof(pool));
	pool.nr_frames = nr_frames;
	for (i = 0; i < MAX_FRAMES; i += VMLAB_CHUNK_FRAMES)
		vmlab_chunk_init(&pool.chunks[i / VMLAB_CHUNK_FRAMES], &pool,
				 &pool.frames[i], VMLAB_CHUNK_ORDER);
	ops = new;
	CHECK(!ops->init || !ops->init(&pool));
}

static void page_in(unsigned long pos)
{
	CHECK(pool.frames[pos].state == VMLAB_FRAME_FREE);
	pool.frames[pos].state = VMLAB_FRAME_RESIDENT;
	if (ops->insert)
		ops->insert(&pool, &pool.frames[pos]);
}

static void page_out(unsigned long pos)
{
	CHECK(pool.frames[pos].state == VMLAB_FRAME_RESIDENT);
	if (ops->remove)
		ops->remove(&pool, &pool.frames[pos]);
	pool.frames[pos].state = VMLAB_FRAME_FREE;
	pool.young[pos] = false;
}

/* One round; nothing about it may exceed what was asked for. */
static struct vmlab_scan *scan(unsigned int wanted, unsigned int budget)
{
	static struct vmlab_scan s;
	unsigned int i;

	memset(&s, 0, sizeof(s));
	s.pool = &pool;
	s.nr_wanted = wanted;
	s.nr_to_scan = budget;
	pool.looked = 0;
	ops->select(&s);
	CHECK(s.nr_victims <= wanted);
	CHECK(s.nr_scanned <= budget);
	CHECK(pool.looked <= budget);
	CHECK(s.nr_victims == wanted || s.nr_scanned == budget);
	for (i = 0; i < s.nr_victims; i++)
		CHECK_EQ(s.victims[i]->state, VMLAB_FRAME_RESIDENT);
	return &s;
}

static void test_clock_circle(void)
{
	unsigned long i, pos = 0;
	struct vmlab_scan *s;

	start(&vmlab_policy_clock, 1000);
	for (i = 0; i < 1000; i++)
		page_in(i);
	/* Nothing is accessed: round and round, also over the end. */
	for (i = 0; i < 50; i++) {
		unsigned int j, wanted = 1 + unit_random(VMLAB_BATCH);

		s = scan(wanted, 1000);
		CHECK_EQ(s->nr_victims, wanted);
		for (j = 0; j < wanted; j++) {
			CHECK_EQ(pos_of(s->victims[j]), pos % 1000);
			pos++;
		}
		CHECK_EQ(pool.laps, pos / 1000);
	}
	stop();
}

static void test_clock_second_chance(void)
{
	struct vmlab_scan *s;
	unsigned int i;

	start(&vmlab_policy_clock, 100);
	for (i = 0; i < 100; i++) {
		page_in(i);
		pool.young[i] = i % 2;
	}
	/* Accessed ones are left, and their bits are cleared. */
	s = scan(50, 100);
	CHECK_EQ(s->nr_victims, 50);
	for (i = 0; i < 50; i++)
		CHECK_EQ(pos_of(s->victims[i]), 2 * i);
	for (i = 0; i < 50; i++)
		page_out(2 * i);
	/* That was their second chance; those accessed again since get a third. */
	for (i = 0; i < 10; i++)
		pool.young[1 + 2 * i] = true;
	s = scan(50, 200);
	CHECK_EQ(s->nr_victims, 50);
	for (i = 0; i < 50; i++)
		CHECK_EQ(pos_of(s->victims[i]), 1 + 2 * ((10 + i) % 50));
	stop();
}

static void test_clock_all_young(void)
{
	struct vmlab_scan *s;
	unsigned int i;

	start(&vmlab_policy_clock, 300);
	for (i = 0; i < 300; i++) {
		page_in(i);
		pool.young[i] = true;
	}
	/* One lap clears, the next one finds. */
	s = scan(10, 300);
	CHECK_EQ(s->nr_victims, 0);
	CHECK_EQ(pool.laps, 1);
	s = scan(10, 300);
	CHECK_EQ(s->nr_victims, 10);
	for (i = 0; i < 10; i++)
		CHECK_EQ(pos_of(s->victims[i]), i);
	stop();
}

static void test_clock_holes(void)
{
	struct vmlab_scan *s;

	start(&vmlab_policy_clock, 1000);
	page_in(3);
	page_in(700);
	pool.frames[4].state = VMLAB_FRAME_LEAF;
	pool.frames[5].state = VMLAB_FRAME_INFLIGHT;
	pool.frames[6].state = VMLAB_FRAME_CACHED;
	s = scan(2, 1000);
	CHECK_EQ(s->nr_victims, 2);
	CHECK_EQ(pos_of(s->victims[0]), 3);
	CHECK_EQ(pos_of(s->victims[1]), 700);
	stop();
}

static void test_clock_shrink(void)
{
	struct vmlab_scan *s;
	unsigned int i;

	start(&vmlab_policy_clock, 2 * VMLAB_CHUNK_FRAMES);
	for (i = 0; i < 2 * VMLAB_CHUNK_FRAMES; i++)
		page_in(i);
	for (i = 0; i < 7; i++)
		scan(100, 1000);
	/* The hand stands in the chunk that goes. */
	pool.nr_frames = VMLAB_CHUNK_FRAMES;
	s = scan(5, 1000);
	for (i = 0; i < 5; i++)
		CHECK_EQ(pos_of(s->victims[i]), i);
	pool.nr_frames = 0;
	memset(s, 0, sizeof(*s));
	s->pool = &pool;
	s->nr_wanted = 5;
	s->nr_to_scan = 1000;
	ops->select(s);
	CHECK_EQ(s->nr_victims, 0);
	stop();
}

static void test_fifo_order(void)
{
	static unsigned int order[100];
	struct vmlab_scan *s;
	unsigned int i, j;

	start(&vmlab_policy_fifo, 100);
	for (i = 0; i < 100; i++)
		order[i] = i;
	for (i = 99; i; i--) {
		unsigned int other = unit_random(i + 1), old = order[i];

		order[i] = order[other];
		order[other] = old;
	}
	for (i = 0; i < 100; i++) {
		page_in(order[i]);
		pool.young[order[i]] = true;	/* which is nothing to FIFO */
	}
	for (i = 0; i < 100; i += 10) {
		s = scan(10, 100);
		CHECK_EQ(s->nr_victims, 10);
		for (j = 0; j < 10; j++)
			CHECK_EQ(pos_of(s->victims[j]), order[i + j]);
		/* Half of them go, the others could not. */
		for (j = 0; j < 5; j++)
			page_out(order[i + 2 * j]);
	}
	/* Those that stayed are next, in their order. */
	s = scan(50, 100);
	for (j = 0; j < 50; j++)
		CHECK_EQ(pos_of(s->victims[j]), order[1 + 2 * j]);
	stop();
}

static void test_fifo_switch(void)
{
	struct vmlab_scan *s;
	unsigned int i;

	start(&vmlab_policy_clock, 64);
	for (i = 0; i < 64; i += 2)
		page_in(i);
	ops->exit(&pool);
	CHECK(!pool.policy_data);
	ops = &vmlab_policy_fifo;
	CHECK_EQ(ops->init(&pool), 0);
	page_in(1);
	s = scan(33, 64);
	for (i = 0; i < 32; i++)
		CHECK_EQ(pos_of(s->victims[i]), 2 * i);
	CHECK_EQ(pos_of(s->victims[32]), 1);
	/* Another policy finds the frames as a new one would. */
	ops->exit(&pool);
	CHECK(!pool.policy_data);
	for (i = 0; i < 64; i++)
		CHECK(list_empty(&pool.frames[i].lru));
	ops = &vmlab_policy_clock;
	CHECK_EQ(ops->init(&pool), 0);
	s = scan(1, 64);
	CHECK_EQ(pos_of(s->victims[0]), 0);
	stop();
}

/* A pool where nothing can leave: no one is asked again before the others. */
static void fairness(const struct vmlab_policy_ops *policy)
{
	static unsigned int asked[MAX_FRAMES];
	unsigned int round, i, least = 0, nr_least;
	struct vmlab_scan *s;

	start(policy, VMLAB_CHUNK_FRAMES);
	memset(asked, 0, sizeof(asked));
	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++)
		if (unit_chance(2))
			page_in(i);
	for (round = 0; round < 300; round++) {
		s = scan(1 + unit_random(VMLAB_BATCH), 1 + unit_random(1000));
		for (i = 0; i < s->nr_victims; i++) {
			unsigned long pos = pos_of(s->victims[i]);
			unsigned long other;

			CHECK_EQ(asked[pos], least);
			asked[pos]++;
			nr_least = 0;
			for (other = 0; other < pool.nr_frames; other++)
				nr_least += pool.frames[other].state == VMLAB_FRAME_RESIDENT &&
					    asked[other] == least;
			least += !nr_least;
		}
	}
	CHECK(least > 1);
	stop();
}

static void test_clock_fairness(void)
{
	fairness(&vmlab_policy_clock);
}

static void test_fifo_fairness(void)
{
	fairness(&vmlab_policy_fifo);
}

static void empty(const struct vmlab_policy_ops *policy)
{
	unsigned int budget;
	struct vmlab_scan *s;

	start(policy, VMLAB_CHUNK_FRAMES);
	for (budget = 0; budget < 600; budget += 100) {
		s = scan(VMLAB_BATCH, budget);
		CHECK_EQ(s->nr_victims, 0);
		CHECK_EQ(s->nr_scanned, budget);
	}
	stop();
}

static void test_empty(void)
{
	empty(&vmlab_policy_clock);
	empty(&vmlab_policy_fifo);
}

/* The textbook's CLOCK, a frame at a time. */
static unsigned int model_clock(unsigned long *hand, bool *young, unsigned int wanted,
				unsigned int budget, unsigned long *victims)
{
	unsigned int nr = 0;

	for (; budget && nr < wanted; budget--) {
		unsigned long pos = *hand;

		*hand = (*hand + 1) % pool.nr_frames;
		if (pool.frames[pos].state != VMLAB_FRAME_RESIDENT)
			continue;
		if (young[pos])
			young[pos] = false;
		else
			victims[nr++] = pos;
	}
	return nr;
}

static void test_clock_random(void)
{
	static unsigned long victims[VMLAB_BATCH];
	static bool young[MAX_FRAMES];
	unsigned long hand = 0, pos;
	unsigned int round, i, nr, wanted, budget;
	struct vmlab_scan *s;

	start(&vmlab_policy_clock, 1 + unit_random(MAX_FRAMES));
	for (round = 0; round < 2000; round++) {
		for (i = unit_random(200); i; i--) {
			pos = unit_random(pool.nr_frames);
			if (pool.frames[pos].state == VMLAB_FRAME_FREE)
				page_in(pos);
			else if (unit_chance(10))
				page_out(pos);
			else
				pool.young[pos] = true;
		}
		memcpy(young, pool.young, sizeof(young));
		wanted = 1 + unit_random(VMLAB_BATCH);
		budget = unit_random(unit_chance(2) ? 2 * pool.nr_frames : 50);
		nr = model_clock(&hand, young, wanted, budget, victims);
		s = scan(wanted, budget);
		CHECK_EQ(s->nr_victims, nr);
		for (i = 0; i < nr; i++)
			CHECK_EQ(pos_of(s->victims[i]), victims[i]);
		CHECK(!memcmp(young, pool.young, sizeof(young)));
		for (i = 0; i < nr; i++)
			if (pool.frames[victims[i]].state == VMLAB_FRAME_RESIDENT &&
			    !unit_chance(10))
				page_out(victims[i]);
	}
	stop();
}

static void test_fifo_random(void)
{
	static u64 since[MAX_FRAMES];	/* when it came, or was last proposed */
	unsigned long pos, oldest;
	unsigned int round, i;
	struct vmlab_scan *s;
	u64 now = 1;

	memset(since, 0, sizeof(since));
	start(&vmlab_policy_fifo, 1 + unit_random(VMLAB_CHUNK_FRAMES));
	for (round = 0; round < 1000; round++) {
		for (i = unit_random(100); i; i--) {
			pos = unit_random(pool.nr_frames);
			if (pool.frames[pos].state == VMLAB_FRAME_FREE) {
				page_in(pos);
				since[pos] = now++;
			} else if (unit_chance(5)) {
				page_out(pos);
				since[pos] = 0;
			}
		}
		s = scan(1 + unit_random(VMLAB_BATCH), unit_random(300));
		for (i = 0; i < s->nr_victims; i++) {
			oldest = pool.nr_frames;
			for (pos = 0; pos < pool.nr_frames; pos++)
				if (since[pos] && (oldest == pool.nr_frames ||
						   since[pos] < since[oldest]))
					oldest = pos;
			CHECK_EQ(pos_of(s->victims[i]), oldest);
			since[oldest] = now++;
		}
		for (i = 0; i < s->nr_victims; i++) {
			pos = pos_of(s->victims[i]);
			if (since[pos] && !unit_chance(10)) {
				page_out(pos);
				since[pos] = 0;
			}
		}
	}
	stop();
}

static const struct unit_test tests[] = {
	{ "policy: an empty pool ends a round", test_empty },
	{ "clock: the hand goes round in the frames' order", test_clock_circle },
	{ "clock: an accessed frame gets a second chance", test_clock_second_chance },
	{ "clock: all accessed: one lap clears, the next one finds", test_clock_all_young },
	{ "clock: only resident frames", test_clock_holes },
	{ "clock: the pool shrinks under the hand", test_clock_shrink },
	{ "clock: victims that stay wait for the others", test_clock_fairness },
	{ "clock: random use against the textbook's", test_clock_random },
	{ "fifo: first in, first out, accessed or not", test_fifo_order },
	{ "fifo: starts from what is resident, and leaves no trace", test_fifo_switch },
	{ "fifo: victims that stay wait for the others", test_fifo_fairness },
	{ "fifo: random use against a model", test_fifo_random },
};

int main(void)
{
	return unit_main(tests, ARRAY_SIZE(tests));
}
