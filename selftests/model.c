// SPDX-License-Identifier: GPL-2.0
/*
 * The model test: workers do everything at random to shared objects, and a model that
 * never looked at the objects knows every byte that must be there.  model/model.h tells
 * how it is built.  SEED= repeats the steps of each thread, SECONDS= sets the time.  This
 * file owns only its place among the selftests.
 *
 * vmlab-test: timeout=300 shapes=four
 */
#include "kselftest_harness.h"
#include "model/model.h"

FIXTURE(model)
{
};

FIXTURE_SETUP(model)
{
}

FIXTURE_TEARDOWN(model)
{
}

static int random_steps(void *arg)
{
	model_run(seed(), seconds(60));
	return 0;
}

/* SECONDS= may be long; who hangs is found by the model itself, or by the runner. */
TEST_F_TIMEOUT(model, random_steps, 36000)
{
	EXPECT_EQ(0, child_run(random_steps, NULL));
}

TEST_HARNESS_MAIN
