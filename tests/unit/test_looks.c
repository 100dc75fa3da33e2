/* Tests the index of looks: copies missed, wrong matches, which match is returned first, and the time it takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "pack/phash_index.h"

static int64_t doubtful;

static vj_phash draw(vj_rng *rng)
{
    vj_phash look = {.valid = 0xff};
    for (int i = 0; i < 8; i++) look.bits[i] = (uint64_t)vj_rng_u32(rng) << 32 | vj_rng_u32(rng);
    for (int i = 0; i < VJ_PHASH_MOTION_BYTES; i++) (&look.motion[0][0])[i] = (int8_t)(vj_rng_u32(rng) % 64 - 32);
    return look;
}

/* Return a copy of a hash in which each bit is changed with probability `share`. */
static vj_phash disturb(vj_rng *rng, vj_phash look, double share)
{
    for (int bit = 0; bit < 512; bit++)
        if (vj_rng_uniform(rng) < share) look.bits[bit / 64] ^= UINT64_C(1) << bit % 64;
    return look;
}

/* Make an index in which each hash is entered under 10 times its number. */
static vj_phash_index *fill(vj_phash *look, int count)
{
    vj_rng rng;
    vj_phash_index *looks;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, 0);
    assert_int_equal(vj_phash_index_create(&looks, count, "/tmp"), VJ_OK);
    for (int i = 0; i < count; i++) {
        look[i] = draw(&rng);
        vj_phash_index_add(looks, 10 * i, &look[i]);
    }
    return looks;
}

static void test_copies(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static vj_phash look[COUNT];
    static const struct {
        double share;
        int max_missed;
    } levels[] = {{0, 0}, {0.02, 0}, {0.05, 0}, {0.1, COUNT / 200}};
    vj_rng rng;
    vj_rng_init(&rng, 2, VJ_RNG_TEST, 0);
    vj_phash_index *looks = fill(look, COUNT);
    for (size_t k = 0; k < sizeof levels / sizeof levels[0]; k++) {
        int missed = 0;
        for (int i = 0; i < COUNT; i++) {
            vj_phash copy = disturb(&rng, look[i], levels[k].share);
            int64_t found = vj_phash_index_find(looks, &copy, &doubtful);
            if (!vj_phash_alike(&copy, &look[i])) continue; /* they are no longer similar */
            assert_true(found == 10 * i || found == -1);
            missed += found < 0;
        }
        print_message("of %d copies that differ in %2.0f %% of the bits, %d are missed\n", COUNT, 100 * levels[k].share,
                      missed);
        assert_true(missed <= levels[k].max_missed);
    }
    for (int i = 0; i < COUNT; i++) {
        vj_phash other = draw(&rng);
        assert_int_equal(vj_phash_index_find(looks, &other, &doubtful), -1);
    }
    vj_phash_index_destroy(looks);
}

static void test_instants(void **state)
{
    (void)state;
    vj_phash look[8];
    vj_phash_index *looks = fill(look, 8);
    vj_phash some = look[3], few = look[3], none = look[3];
    for (int i = 0; i < 4; i++) some.bits[i] = ~some.bits[i];
    some.valid = 0xf0;
    few.valid = 0x70; /* too few instants to decide */
    none.valid = 0;
    assert_int_equal(vj_phash_index_find(looks, &some, &doubtful), 30);
    assert_int_equal(vj_phash_index_find(looks, &few, &doubtful), -1);
    assert_int_equal(vj_phash_index_find(looks, &none, &doubtful), -1);
    /* A similar video in which nothing moves is a doubtful match, which is reported only if there is no copy. */
    vj_phash still = look[5];
    memset(still.motion, 0, sizeof still.motion);
    vj_phash_index_destroy(looks);
    assert_int_equal(vj_phash_index_create(&looks, 3, "/tmp"), VJ_OK);
    vj_phash_index_add(looks, 70, &still);
    assert_int_equal(vj_phash_index_find(looks, &still, &doubtful), -1);
    assert_int_equal(doubtful, 70);
    vj_phash_index_add(looks, 80, &look[5]);
    assert_int_equal(vj_phash_index_find(looks, &look[5], &doubtful), 80);
    assert_int_equal(doubtful, -1);
    vj_phash_index_destroy(looks);
    assert_int_equal(vj_phash_index_create(&looks, 1, "/tmp"), VJ_OK);
    vj_phash_index_add(looks, 5, &none); /* a hash without instants is not stored */
    vj_phash_index_add(looks, 6, &look[0]);
    assert_int_equal(vj_phash_index_find(looks, &look[0], &doubtful), 6);
    vj_phash_index_destroy(looks);
    vj_phash_index_destroy(NULL);
}

/* Check that of several similar entries the first one is returned, even if another is nearer. */
static void test_first(void **state)
{
    (void)state;
    vj_rng rng;
    vj_phash_index *looks;
    vj_rng_init(&rng, 3, VJ_RNG_TEST, 0);
    assert_int_equal(vj_phash_index_create(&looks, 100, "/tmp"), VJ_OK);
    vj_phash look = draw(&rng);
    for (int i = 0; i < 100; i++) {
        vj_phash copy = disturb(&rng, look, i < 50 ? 0.02 : 0);
        vj_phash_index_add(looks, 1000 - i, &copy);
    }
    assert_int_equal(vj_phash_index_find(looks, &look, &doubtful), 1000);
    vj_phash_index_destroy(looks);
}

static void test_no_room(void **state)
{
    (void)state;
    vj_phash_index *looks;
    assert_int_equal(vj_phash_index_create(&looks, 10, "/nowhere/at/all"), VJ_ERR_IO);
    vj_phash_index_destroy(looks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_instants),
        cmocka_unit_test(test_first),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
