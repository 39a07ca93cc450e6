// SPDX-License-Identifier: GPL-2.0
/*
 * The table of all kinds of steps, put together from what each steps_*.c tells by STEPS().
 * It must never know what a step does.
 */
#include "model.h"

#include <string.h>

#define MAX_STEPS 80

static struct step all_steps[MAX_STEPS];
static unsigned int nr_steps;

void steps_add(const struct step *steps, unsigned int nr)
{
	if (nr_steps + nr > MAX_STEPS)
		die("too many kinds of steps");
	memcpy(all_steps + nr_steps, steps, nr * sizeof(*steps));
	nr_steps += nr;
}

unsigned int steps_nr(void)
{
	return nr_steps;
}

const struct step *steps_get(int kind)
{
	return &all_steps[kind];
}

const char *steps_name(int kind)
{
	return kind >= 0 && (unsigned int)kind < nr_steps ? all_steps[kind].name : "nothing";
}

/* By weight. */
int steps_choose(uint64_t chance)
{
	unsigned int sum = 0, kind;

	for (kind = 0; kind < nr_steps; kind++)
		sum += all_steps[kind].weight;
	chance %= sum;
	for (kind = 0; chance >= all_steps[kind].weight; kind++)
		chance -= all_steps[kind].weight;
	return kind;
}
