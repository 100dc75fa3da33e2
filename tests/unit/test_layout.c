/*
 * Tests layouts of ranks: which ones can train a configuration, the messages for those that cannot, and which elements
 * of a tensor the ranks hold.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/rng.h"
#include "folder.h"
#include "model/params.h"
#include "parallel/room.h"
#include "train/layout.h"

static vj_config config;

static void configure(const char *size, int64_t batch, int64_t microbatch)
{
    vj_config_defaults(&config);
    strcpy(config.model.size, size);
    config.train.batch = batch;
    config.train.microbatch = microbatch;
    assert_int_equal(vj_config_check(&config), VJ_OK);
}

static void refused(int ranks, int tensor, const char *because)
{
    char reason[256];
    if (!vj_layout_cannot(&config, ranks, tensor, reason, sizeof reason))
        fail_msg("%d ranks in groups of %d are allowed", ranks, tensor);
    if (!strstr(reason, because)) fail_msg("%d ranks in groups of %d: '%s'", ranks, tensor, reason);
}

static void allowed(int ranks, int tensor)
{
    char reason[256];
    if (vj_layout_cannot(&config, ranks, tensor, reason, sizeof reason))
        fail_msg("%d ranks in groups of %d: '%s'", ranks, tensor, reason);
}

static void what_cannot_work_is_refused(void **state)
{
    (void)state;
    configure("large", 16, 4); /* 16 heads, 4096 hidden; 4 microbatches */
    for (int tensor = 1; tensor <= 16; tensor *= 2) allowed(tensor, tensor);
    allowed(4, 1);
    allowed(8, 2);
    allowed(64, 16);
    refused(3, 2, "3 ranks cannot form groups of parallel.tensor 2");
    refused(1, 2, "1 rank cannot form groups");
    refused(3, 3, "model.heads 16 does not divide by parallel.tensor 3");
    refused(32, 32, "model.heads 16 does not divide");
    refused(5, 1, "gives work to 4 ranks or tensor groups, there are 5");
    refused(10, 2, "there are 5");
    configure("small", 16, 4); /* 6 heads, 1536 hidden */
    allowed(6, 6);
    refused(4, 4, "model.heads 6");
}

static void one_tree_needs_powers_of_two(void **state)
{
    (void)state;
    configure("large", 24, 2); /* 12 microbatches */
    config.parallel.reduction = VJ_REDUCTION_REPRODUCIBLE;
    for (int ranks = 1; ranks <= 4; ranks *= 2) allowed(ranks, 1), allowed(2 * ranks, 2);
    refused(3, 1, "3 ranks or tensor groups are no power of two that divides the 12 microbatches");
    refused(8, 1, "no power of two");
    refused(6, 2, "no power of two");
    config.parallel.reduction = VJ_REDUCTION_FAST;
    allowed(8, 1);
}

static void hidden_layers_must_divide(void **state)
{
    (void)state;
    vj_config_defaults(&config);
    strcpy(config.model.size, "custom");
    config.model.width = 48;
    config.model.depth = 1;
    config.model.heads = 4;
    config.model.mlp_ratio = 2.125; /* 102 hidden values */
    assert_int_equal(vj_config_check(&config), VJ_OK);
    allowed(2, 2);
    refused(4, 4, "the hidden width 102");
}

/* Check the proposed layouts: the nearest comes first, all are valid, and none comes twice. */
static void near(int ranks, int tensor, const vj_layout_choice *want, int count)
{
    vj_layout_choice found[4];
    assert_int_equal(vj_layouts_near(&config, ranks, tensor, found, 4), count);
    for (int i = 0; i < count; i++) {
        if (found[i].ranks != want[i].ranks || found[i].tensor != want[i].tensor)
            fail_msg("choice %d: %d ranks in groups of %d, expected %d in groups of %d", i, found[i].ranks,
                     found[i].tensor, want[i].ranks, want[i].tensor);
        allowed(found[i].ranks, found[i].tensor);
    }
}

static void the_nearest_that_work_are_named(void **state)
{
    (void)state;
    configure("large", 16, 4);
    near(6, 3, (const vj_layout_choice[]){{6, 2}, {4, 2}, {4, 4}, {4, 1}}, 4);
    near(5, 1, (const vj_layout_choice[]){{4, 1}, {4, 2}, {4, 4}, {6, 2}}, 4);
    configure("tiny", 4, 4); /* 3 heads, one microbatch */
    near(2, 2, (const vj_layout_choice[]){{1, 1}, {3, 3}}, 2);
}

static void a_refusal_allocates_nothing_and_is_a_wrong_setting(void **state)
{
    (void)state;
    configure("large", 16, 4);
    config.parallel.tensor = 3;
    assert_int_equal(vj_layout_check(&config, 0, 6), VJ_ERR_USAGE);
    assert_int_equal(vj_layout_check(&config, 5, 6), VJ_ERR_USAGE);
    config.parallel.tensor = 2;
    assert_int_equal(vj_layout_check(&config, 0, 6), VJ_OK);
}

/* ------------------------------------------------------------------------------------------------ shares */

/* Return the rank that holds an element of a tensor of `rows` x `columns`, by the definition of vj_share. */
static int64_t holder(vj_share share, int shares, int64_t rows, int64_t columns, int64_t element)
{
    const int64_t row = element / columns, column = element % columns;
    if (share == VJ_SHARE_ROWS) return row / (rows / shares);
    if (share == VJ_SHARE_THIRDS) return row % (rows / 3) / (rows / 3 / shares);
    return column / (columns / shares);
}

static void shares_are_cut_and_pasted(void **state)
{
    (void)state;
    enum { ROWS = 24, COLUMNS = 8, ALL = ROWS * COLUMNS };
    const int64_t dim[2] = {ROWS, COLUMNS};
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, 1);
    for (int share = VJ_SHARE_WHOLE; share <= VJ_SHARE_COLUMNS; share++)
        for (int shares = 1; shares <= 4; shares *= 2) {
            const bool divided = share != VJ_SHARE_WHOLE && shares > 1;
            for (int trial = 0; trial < 200; trial++) {
                int64_t first = vj_rng_below(&rng, ALL + 1), last = vj_rng_below(&rng, ALL + 1);
                if (first > last) first += last, last = first - last, first -= last;
                float whole[ALL], held[ALL], back[ALL];
                for (int64_t e = first; e < last; e++) whole[e - first] = (float)e, back[e - first] = -1;
                for (int rank = 0; rank < shares; rank++) {
                    vj_params ps = {.share = rank, .shares = shares};
                    vj_params_add(&ps, VJ_ENCODER, VJ_START_WEIGHT, 0, (vj_share)share, 2, dim, "w");
                    const vj_param *p = &ps.item[0];
                    assert_int_equal(p->whole, ALL);
                    assert_int_equal(p->count, divided ? ALL / shares : ALL);
                    vj_param_cut(p, p->share, first, last, whole, held);
                    int64_t n = 0, before = 0;
                    for (int64_t e = 0; e < last; e++) {
                        if (divided && holder((vj_share)share, shares, ROWS, COLUMNS, e) != rank) continue;
                        if (e < first)
                            before++;
                        else
                            assert_true(held[n++] == (float)e);
                    }
                    assert_int_equal(vj_param_before(p, p->share, first), before);
                    assert_int_equal(vj_param_before(p, p->share, last), before + n);
                    vj_param_paste(p, p->share, first, last, back, held);
                    float in_place[ALL];
                    memcpy(in_place, whole, sizeof whole);
                    vj_param_cut(p, p->share, first, last, in_place, in_place);
                    assert_memory_equal(in_place, held, (size_t)n * sizeof *held);
                    vj_params_release(&ps);
                }
                assert_memory_equal(back, whole, (size_t)(last - first) * sizeof *whole);
            }
        }
}

/* Check that sums over the ranks of a group count each element once: shares on the rank that has them, and tensors that
 * all ranks have on the first. */
static void sums_count_every_element_once(void **state)
{
    (void)state;
    const int64_t wide[2] = {48, 16}, narrow = 32;
    for (int rank = 0; rank < 2; rank++) {
        vj_params ps = {.share = rank, .shares = 2};
        for (int i = 0; i < 3; i++) {
            vj_params_add(&ps, VJ_ENCODER, VJ_START_ONE, 0, VJ_SHARE_WHOLE, 1, &narrow, "norm.%d", i);
            vj_params_add(&ps, VJ_ENCODER, VJ_START_WEIGHT, 0, VJ_SHARE_THIRDS, 2, wide, "qkv.%d", i);
            vj_params_add(&ps, VJ_ENCODER, VJ_START_WEIGHT, 0, VJ_SHARE_COLUMNS, 2, wide, "proj.%d", i);
        }
        for (int64_t at = 0; at <= ps.total; at += 7)
            for (int64_t end = at; end <= ps.total; end += 11) {
                int counts[4096] = {0};
                int64_t first, last = at;
                assert_true(ps.total <= 4096);
                while (vj_params_counted(&ps, last, end, &first, &last)) {
                    assert_true(first >= at && first < last && last <= end);
                    for (int64_t e = first; e < last; e++) counts[e]++;
                }
                for (int i = 0; i < ps.count; i++)
                    for (int64_t e = ps.item[i].offset; e < ps.item[i].offset + ps.item[i].count; e++)
                        assert_int_equal(counts[e], e >= at && e < end && (rank == 0 || ps.item[i].shares > 1));
            }
        vj_params_release(&ps);
    }
}

static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/') {
        *slash = '\0';
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int64_t group_memory(const char *membership)
{
    char path[256];
    put("cgroup", membership);
    snprintf(path, sizeof path, "%s/cgroup", folder);
    return vj_group_memory(path, folder);
}

/* The limit of a job's memory is that of its control group or of one around it, whichever is lowest. */
static void control_groups_limit_memory(void **state)
{
    (void)state;
    assert_true(group_memory("0::/\n") == INT64_MAX);
    put("slurm/job_1/memory.max", "5000000000\n");
    put("slurm/job_1/step_0/memory.max", "max\n");
    put("slurm/job_1/step_1/memory.max", "4000000000\n");
    assert_int_equal(group_memory("0::/slurm/job_1/step_0\n"), 5000000000);
    assert_int_equal(group_memory("0::/slurm/job_1/step_1\n"), 4000000000);
    assert_true(group_memory("3:cpuset:/slurm/job_1\n1:name=systemd:/slurm/job_1\n") == INT64_MAX);
    put("memory/slurm/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/slurm/job_2/memory.limit_in_bytes", "3000000000\n");
    assert_int_equal(group_memory("5:cpu:/\n4:memory:/slurm/job_2/task_0\n0::/slurm/job_1\n"), 3000000000);
    assert_true(vj_group_memory("/not/there", folder) == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_work_is_refused),
        cmocka_unit_test(one_tree_needs_powers_of_two),
        cmocka_unit_test(hidden_layers_must_divide),
        cmocka_unit_test(the_nearest_that_work_are_named),
        cmocka_unit_test(a_refusal_allocates_nothing_and_is_a_wrong_setting),
        cmocka_unit_test(shares_are_cut_and_pasted),
        cmocka_unit_test(sums_count_every_element_once),
        cmocka_unit_test(control_groups_limit_memory),
    };
    return cmocka_run_group_tests(tests, set_up_folder, tear_down_folder);
}
