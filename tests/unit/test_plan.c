/* Tests the forecast of a campaign against numbers computed by hand and against functions of other folders. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <mpi.h>

#include "parallel/parallel.h"
#include "plan/footage.h"
#include "plan/forecast.h"
#include "train/layout.h"

static vj_config config;

static void set(const char *assignment)
{
    assert_int_equal(vj_config_set(&config, assignment), VJ_OK);
}

/* Memory that training predicts itself is that of the backend; auto is a GPU if there is one. */
static int defaults(void **state)
{
    (void)state;
    vj_config_defaults(&config);
    set("train.backend=cpu");
    return vj_config_check(&config) != VJ_OK;
}

static void same(double got, double want)
{
    if (!(fabs(got - want) <= 1e-9 * fabs(want))) fail_msg("%.12g, expected %.12g", got, want);
}

/* ------------------------------------------------------------------------------------------------ packing */

static void packing_by_hand(void **state)
{
    (void)state;
    const vj_machine machine = {.nodes = 2, .cores = 4, .filesystem_bytes_s = 1e9};
    const vj_footage footage = {
        .files = 1000, .clips = 2000, .seconds = 10, .fps = 30, .height = 720, .width = 1280, .bytes = 4e6};
    vj_pack_forecast f;
    set("pack.windows=2");
    set("pack.random_windows=true");
    set("plan.gop=100");
    set("cluster.decode_fps_720p=500");
    vj_pack_forecast_make(&f, &config, &machine, &footage);
    same(f.clip_frames, 61); /* the first frame and 15 steps of 4 */
    const double needed = 44.0 / 61;
    same(f.decoded_frames, needed * 222); /* 2 x (50 + 61), fewer than 300 */
    same(f.kept_frames, 32);
    const double file_s = 0.040 + needed * 222 / 500 + 32 * 1.28e-3;
    same(f.file_s, file_s);
    same(f.core_s, 1000 * file_s);
    same(f.clip_bytes, 16 * 256 * 456 * 3);
    same(f.store_bytes, 2000 * 5603328.0);
    same(f.read_bytes, 4e9);
    assert_int_equal(f.shards, 63); /* a sixteenth of the number of files; by size 11 would do */
    assert_int_equal(f.ranks, 2);
    same(f.compute_s, 1000 * file_s / 4 * 32 / 63); /* 32 rounds of 2 shards, the last of one */
    same(f.file_system_s, 4 + 11.206656);
    same(f.walltime_s, f.compute_s);
    same(f.file_system_bytes_s, 15.206656e9 / f.compute_s);

    same(f.rank_bytes, 1e6 * (1024 + 4 * 4096));

    set("pack.codec=jpeg");
    set("pack.workers=3");
    vj_pack_forecast_make(&f, &config, &machine, &footage);
    same(f.clip_bytes, 560332.8);
    same(f.raw_clip_bytes, 5603328);
    same(f.file_s, file_s + 2 * 5603328 / 3 * 10e-9);
    same(f.compute_s, 1000 * f.file_s / 3 * 32 / 63);
    set("pack.codec=raw");
    set("pack.workers=0");

    set("pack.duplicates=drop"); /* decodes eight instants of each file too */
    set("plan.gop=8");
    vj_pack_forecast_make(&f, &config, &machine, &footage);
    same(f.decoded_frames, needed * (2 * (4 + 61) + 8 * (4 + 1)));
    set("pack.random_windows=false"); /* the first window begins with the file */
    vj_pack_forecast_make(&f, &config, &machine, &footage);
    same(f.decoded_frames, needed * (4 + 2 * 61 + 8 * (4 + 1)));
    set("pack.decode=all");
    vj_pack_forecast_make(&f, &config, &machine, &footage);
    same(f.decoded_frames, 300);
    set("pack.decode=needed");
    set("pack.random_windows=true");
    set("pack.duplicates=keep");

    set("plan.gop=1000"); /* the whole video, once */
    vj_pack_forecast_make(&f, &config, &machine, &footage);
    same(f.decoded_frames, 300);
    const vj_machine slow = {.nodes = 2, .cores = 4, .filesystem_bytes_s = 1e8};
    vj_pack_forecast_make(&f, &config, &slow, &footage);
    same(f.walltime_s, 152.06656);
}

static void costs_follow_the_pixels(void **state)
{
    (void)state;
    const vj_machine machine = {.nodes = 1, .cores = 1, .filesystem_bytes_s = 1e9};
    vj_pack_forecast f[4];
    const double height[4] = {120, 240, 480, 720}, width[4] = {160, 320, 848, 1280};
    set("pack.decode=all"); /* one frame */
    set("pack.frames=1");
    for (int i = 0; i < 4; i++) {
        const vj_footage footage = {
            .files = 1, .clips = 1, .seconds = 1, .fps = 1, .height = height[i], .width = width[i], .bytes = 1};
        vj_pack_forecast_make(&f[i], &config, &machine, &footage);
    }
    same(f[1].file_s, 13e-3 + 1 / config.cluster.decode_fps_240p + 0.39e-3);
    same(f[0].file_s, f[1].file_s / 4);
    same(f[3].file_s, 40e-3 + 1 / config.cluster.decode_fps_720p + 1.28e-3);
    same(f[2].file_s, f[1].file_s + (f[3].file_s - f[1].file_s) * (848 * 480 - 76800) / (921600 - 76800));
}

static void media_are_what_the_settings_say(void **state)
{
    (void)state;
    vj_footage m;
    set("plan.mean_height=720");
    assert_int_equal(vj_footage_describe(&m, &config), VJ_OK);
    assert_int_equal(m.files, 0);
    same(m.width, 1280);
    same(m.bytes, 10 * 30 * 720 * 1280 * 0.1 / 8);
    set("plan.files=7");
    set("plan.mean_mb=2.5");
    assert_int_equal(vj_footage_describe(&m, &config), VJ_OK);
    assert_int_equal(m.files, 7);
    same(m.clips, 7);
    same(m.bytes, 2.5e6);
    set("pack.windows=3");
    assert_int_equal(vj_footage_describe(&m, &config), VJ_OK);
    same(m.clips, 21);
    set("plan.store_clips=15");
    assert_int_equal(vj_footage_describe(&m, &config), VJ_OK);
    same(m.clips, 15);
    set("plan.files=0");
    set("pack.lists=[/no/such/list.csv]");
    assert_int_not_equal(vj_footage_describe(&m, &config), VJ_OK);
}

/* ------------------------------------------------------------------------------------------------ training */

static const vj_machine machine = {.nodes = 4,
                                   .cores = 8,
                                   .numa = 1,
                                   .memory_bytes = 1e12,
                                   .flops_core = 1e9,
                                   .memory_bytes_s = 1e9,
                                   .sum_bytes_s = 1e9,
                                   .tensor_bytes_s = 1e9,
                                   .network_bytes_s = 1e9,
                                   .message_s = 1e-6,
                                   .filesystem_bytes_s = 1e9};

static vj_train_work work_by_hand(void)
{
    vj_train_work w = {.feature = true, .clip_work_flops = 1e9, .tensor_sum_bytes = 1e6, .clip_bytes = 1e6};
    w.weight_floats[1] = 1000000, w.gathered_bytes[1][0] = w.gathered_bytes[1][1] = 6400000;
    w.weight_floats[2] = 500000, w.gathered_bytes[2][0] = w.gathered_bytes[2][1] = 3200000;
    return w;
}

static void steps_by_hand(void **state)
{
    (void)state;
    char reason[256];
    const vj_train_work w = work_by_hand();
    set("train.batch=64");
    set("parallel.bucket_mb=1");

    vj_train_layout l = {.nodes = 4, .node_ranks = 2, .tensor = 1, .zero = 0, .microbatch = 4};
    assert_true(vj_train_layout_time(&l, &config, &w, &machine, reason, sizeof reason));
    assert_int_equal(l.data_ranks, 8);
    assert_int_equal(l.threads, 4);
    assert_int_equal(l.microbatches, 2); /* of 16 */
    same(l.compute_s, 8 * 1e9 / (4 * 1e9));
    same(l.memory_s, 2 * 40 * 1e6 / 1e9); /* the two ranks of a node share its memory rate */
    same(l.network_bytes, 2 * 4e6 * 3 / 4);
    same(l.messages, 2 * 3 * 4); /* two ways, three nodes, four buckets of 1 MiB */
    /* A bucket of 1 MB moves 2.5 times in the memory of the ranks and 5 / 8 times for the parts of the nodes, then goes
     * to the other nodes and back. */
    const double sums = 4 * ((2.5 + 0.625) / 3 * 1e-3 + 6e-6), last = 1.5e-3 + 2e-6;
    same(l.sum_s, sums + last);
    same(l.tensor_s, 0);
    same(l.read_s, 0.064);
    same(l.step_s, 2 + 0.080 + sums + last);

    l = (vj_train_layout){.nodes = 4, .node_ranks = 2, .tensor = 2, .zero = 1, .microbatch = 4};
    assert_true(vj_train_layout_time(&l, &config, &w, &machine, reason, sizeof reason));
    assert_int_equal(l.data_ranks, 4);
    assert_int_equal(l.microbatches, 4);
    same(l.compute_s, 16 * 1e9 / (2 * 4 * 1e9));
    same(l.memory_s, 2 * 40 * 125000.0 / 1e9);
    same(l.tensor_s, 16 * 1e6 / 1e9);
    same(l.network_bytes, 2 * (2e6 + 2e6 + 1.2e6) * 3 / 4); /* the gradient is sent, weights and target are received */
    same(l.messages, 2 * 4); /* of each of two buckets three nodes get parts, and the owner gets the sum of its part */
    /* A bucket has 1 MB, half of it belongs to one owner, and two groups send at a time. */
    same(l.sum_s, 2 * (3.25 / 3 * 2e-3 + 4e-6) + 1.5 * 1.5e-3 + 2e-6 + 6.4e-3 + 3.2e6 / 8192 * 1e-6);

    /* An uneven division waits for the rank that has most. */
    l = (vj_train_layout){.nodes = 3, .node_ranks = 2, .tensor = 1, .zero = 0, .microbatch = 4};
    assert_true(vj_train_layout_time(&l, &config, &w, &machine, reason, sizeof reason));
    assert_int_equal(l.microbatches, 3);

    /* One rank exchanges nothing; a slow file system bounds the step. */
    vj_machine slow = machine;
    slow.filesystem_bytes_s = 1e3;
    l = (vj_train_layout){.nodes = 1, .node_ranks = 1, .tensor = 1, .zero = 0, .microbatch = 4};
    assert_true(vj_train_layout_time(&l, &config, &w, &slow, reason, sizeof reason));
    same(l.sum_s, 0);
    same(l.step_s, 64e6 / 1e3);

    /* GPUs sum over their links, which takes time from computing, and send the sum on while they compute. */
    vj_machine gpus = machine;
    gpus.gpus = 2;
    gpus.gpu_flops = gpus.gpu_bytes_s = gpus.gpu_link_bytes_s = 1e9;
    gpus.gpu_host_bytes_s = 2e9;
    l = (vj_train_layout){.nodes = 1, .node_ranks = 2, .tensor = 1, .zero = 0, .microbatch = 4};
    assert_true(vj_train_layout_time(&l, &config, &w, &gpus, reason, sizeof reason));
    same(l.sum_s,
         4 * 0.5e-3 + 0.5e-3); /* four buckets, of which each GPU sums half; nothing is computed during the last */
    vj_machine fast = gpus;
    fast.gpu_flops = 1e15; /* computing takes no time, so a bucket waits until the one before it was sent on */
    assert_true(vj_train_layout_time(&l, &config, &w, &fast, reason, sizeof reason));
    same(l.sum_s, 4 * 0.5e-3 + 0.5e-3 + 3 * 0.5e-3 - 4e9 / 1e15 * 2 / 3 * 3 / 4);
    set("parallel.reduction=reproducible"); /* the sum begins after two microbatches */
    assert_true(vj_train_layout_time(&l, &config, &w, &fast, reason, sizeof reason));
    same(l.sum_s, 4 * 0.5e-3 + 0.5e-3 + 3 * 0.5e-3);
    set("parallel.reduction=fast");
    /* On four nodes there is one bucket. A share of it is copied to the host, and what arrives from the other nodes
     * back. */
    l.nodes = 4;
    const double linked = 2 * 2e-3, copied = (3 - 0.25) * 2e6 / 2e9, between = 6e-3 + 6e-6 + 2e-6;
    assert_true(vj_train_layout_time(&l, &config, &w, &gpus, reason, sizeof reason));
    same(l.messages, 2 * 3); /* one bucket of four MiB, a message for each other node, both ways */
    same(l.sum_s, linked + copied + between);
    gpus.gpu_to_gpu = true;
    assert_true(vj_train_layout_time(&l, &config, &w, &gpus, reason, sizeof reason));
    same(l.sum_s, linked + between);
    gpus.gpu_to_gpu = false;
    /* Each quarter of the bucket goes to one node, and there to its owner. Weights and target come back in rounds of
     * eight pieces of half a MiB, which are copied to the host, sent between the nodes, and copied from there to the
     * GPU and over its link. */
    l.zero = 1;
    const double quarter = 0.25 * 2e-3, out_and_back = (2 + 0.25 * 0.75) * 2e6 / 2e9;
    const double first = 2e-3 + quarter + out_and_back + 1.25 * 3e-3 + 4e-6 + 2e-6;
    assert_true(vj_train_layout_time(&l, &config, &w, &gpus, reason, sizeof reason));
    same(l.messages, 4);
    const double piece = 1 << 19, rounds = 6.4e6 / (8 * piece), hosted = piece / 2e9, handed = piece / 1e9;
    const double away = 3 * 2 * piece / 1e9, way = 2 * hosted + 3 * handed + away + 3e-6 + 2e-6;
    same(l.sum_s, first + rounds * handed + way + (rounds - 1) * away);
    l = (vj_train_layout){.nodes = 1, .node_ranks = 2, .tensor = 2, .zero = 0, .microbatch = 4};
    assert_true(vj_train_layout_time(&l, &config, &w, &gpus, reason, sizeof reason));
    same(l.tensor_s, 64 * 1e6 * (2 * 0.5 / gpus.gpu_link_bytes_s + 4 / gpus.gpu_bytes_s));
}

static void what_cannot_work_says_why(void **state)
{
    (void)state;
    char reason[256];
    const vj_train_work w = work_by_hand();
    static const struct {
        vj_train_layout layout;
        const char *why;
    } wrong[] = {
        {{.nodes = 4, .node_ranks = 2, .tensor = 1, .microbatch = 16}, "gives work to 4 ranks"},
        {{.nodes = 4, .node_ranks = 3, .tensor = 1, .microbatch = 1}, "3 ranks a node do not divide 8 cores"},
        {{.nodes = 1, .node_ranks = 2, .tensor = 4, .microbatch = 1}, "do not make tensor groups of 4"},
    };
    set("train.batch=64");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        vj_train_layout l = wrong[i].layout;
        assert_false(vj_train_layout_time(&l, &config, &w, &machine, reason, sizeof reason));
        if (!strstr(reason, wrong[i].why)) fail_msg("'%s' does not say '%s'", reason, wrong[i].why);
    }
    vj_machine domains = machine; /* domains of two cores; a rank of four cores would be in two of them */
    domains.numa = 4;
    vj_train_layout l = {.nodes = 1, .node_ranks = 2, .tensor = 1, .microbatch = 1};
    assert_false(vj_train_layout_time(&l, &config, &w, &domains, reason, sizeof reason));
    l.node_ranks = 4;
    assert_true(vj_train_layout_time(&l, &config, &w, &domains, reason, sizeof reason));
}

static void work_is_counted(void **state)
{
    (void)state;
    const vj_pack_forecast pack = {.raw_clip_bytes = 5e6, .clip_bytes = 5e5};
    vj_train_work w, again;
    set("mask.cut=none"); /* tubes have the same number of tokens in every clip */
    set("mask.generators=[{kind: tube, ratio: 0.75}, {kind: tube, ratio: 0.9}]");
    set("predictor.heads=12");
    assert_int_equal(vj_train_work_count(&w, &config, &pack), VJ_OK);
    /* The number of parameters of the published ViT-L/16 with its predictor. */
    assert_int_equal(w.parameters, 325968256);
    assert_int_equal(w.steps, 90000);
    assert_int_equal(w.checkpoints, 90);
    same(w.context_tokens, 8 * 49 + 8 * 19); /* of 14 x 14 cells in eight tubelets; 19 is 19.6 rounded down */
    same(w.target_tokens, 2 * 1568 - 544);
    const double D = 1024, P = 384, embedding = 2.0 * 1568 * 1536 * D, n[2] = {392, 152};
    double target = embedding + 24 * 1568 * (24 * D * D + 4 * 1568 * D), trained = embedding, blocks = 0;
    for (int i = 0; i < 2; i++) {
        blocks += 24 * n[i] * (24 * D * D + 4 * n[i] * D) + 12 * 1568 * (24 * P * P + 4 * 1568 * P);
        trained += 2 * n[i] * D * P + 2 * (1568 - n[i]) * P * D;
    }
    same(w.clip_flops, target + 3 * (trained + blocks));
    same(w.clip_work_flops, w.clip_flops);
    same(w.tensor_sum_bytes, 4 * 2 * (24 * 1568 * D + 2 * (24 * 544 * D + 12 * 3136 * P)));
    /* Weights, two moments, and the target encoder, which has as many parameters as the paper's ViT-L. */
    same(w.checkpoint_bytes, 4 * (3 * 325968256.0 + 303885312));
    same(w.clip_bytes, 5e5);

    set("train.recompute=block");
    assert_int_equal(vj_train_work_count(&again, &config, &pack), VJ_OK);
    same(again.clip_flops, w.clip_flops);
    /* The last product of a block, the second of its MLP, is not repeated: the backward pass does not read its result.
     */
    const double last = 24 * (n[0] + n[1]) * 8 * D * D + 12 * 2 * 1568 * 8 * P * P;
    same(again.clip_work_flops, w.clip_flops + blocks - last);
    set("checkpoint.every=700");
    assert_int_equal(vj_train_work_count(&again, &config, &pack), VJ_OK);
    assert_int_equal(again.checkpoints, 90000 / 700 + 1); /* and one at the end */
}

static void memory_is_what_training_predicts(void **state)
{
    (void)state;
    const vj_pack_forecast pack = {.raw_clip_bytes = 5e6, .clip_bytes = 5e6};
    char reason[256];
    vj_train_work w;
    vj_memory want;
    set("train.batch=32");
    set("mask.group=4");
    vj_config given = config;
    given.train.microbatch = 2;
    given.parallel.tensor = 2;
    given.parallel.zero = 1;
    assert_int_equal(vj_train_work_count(&w, &config, &pack), VJ_OK);
    vj_train_layout l = {.nodes = 2, .node_ranks = 4, .tensor = 2, .zero = 1, .microbatch = 2};
    assert_true(vj_train_layout_time(&l, &config, &w, &machine, reason, sizeof reason));
    const vj_loader_bytes loader = {.sample = 12 * config.data.frames * config.data.crop * config.data.crop,
                                    .thread = 5000000};
    set("train.backend=auto"); /* the planned machine has no GPU, whatever this one has */
    assert_int_equal(vj_train_layout_weigh(&l, &config, &w, &machine), VJ_OK);
    assert_int_equal(vj_memory_predict(&want, &given, 8, 4, loader, 0), VJ_OK);
    assert_int_equal(l.memory.all - l.memory.program, want.all - want.program);
    /* Memory of the process that plans does not count. */
    vj_train_layout again = l;
    char *grown = malloc(8 << 20);
    assert_non_null(grown);
    memset(grown, 1, 8 << 20);
    assert_int_equal(vj_train_layout_weigh(&again, &config, &w, &machine), VJ_OK);
    assert_memory_equal(&again.memory, &l.memory, sizeof l.memory);
    free(grown);
    assert_int_equal(l.memory.weights, w.weight_floats[2] * 4);
    same(l.node_bytes, 4 * (double)(l.memory.all - l.memory.neighbours));
}

/* Check that the in-run watch costs time (2000 clips forward every 10 steps) and memory, and that tensor groups cannot
 * have it. */
static void the_watch_costs_time_and_memory(void **state)
{
    (void)state;
    static const vj_pack_forecast pack;
    char reason[256];
    vj_train_work without, with;
    vj_memory bare, watched;
    const vj_loader_bytes loader = {.sample = 1000, .thread = 1000};
    set("train.batch=32");
    set("mask.group=4");
    assert_int_equal(vj_train_work_count(&without, &config, &pack), VJ_OK);
    assert_int_equal(vj_memory_predict(&bare, &config, 2, 2, loader, 0), VJ_OK);
    set("watch.every=10");
    assert_int_equal(vj_train_work_count(&with, &config, &pack), VJ_OK);
    assert_int_equal(vj_memory_predict(&watched, &config, 2, 2, loader, 0), VJ_OK);
    assert_true(without.watch_steps == 0 && bare.watch == 0);
    /* Encoding a clip is a part of training on it, because the target encoder does it too. */
    const double passes = (double)with.steps / 10 * 2000 / 32;
    assert_true(with.watch_steps > 0.1 * passes && with.watch_steps < 0.6 * passes);
    assert_true(watched.watch > (int64_t)2000 * with.tokens * config.model.width * 4);
    assert_true(watched.all - watched.program - watched.watch == bare.all - bare.program);
    assert_false(vj_layout_cannot(&config, 2, 1, reason, sizeof reason));
    assert_true(vj_layout_cannot(&config, 2, 2, reason, sizeof reason));
    assert_non_null(strstr(reason, "watch.every"));
}

/* ------------------------------------------------------------------------------------------------ the whole */

static void forecast(vj_forecast *f)
{
    vj_footage footage;
    assert_int_equal(vj_footage_describe(&footage, &config), VJ_OK);
    assert_int_equal(vj_forecast_make(f, &config, &footage, 0, 0), VJ_OK);
}

static void the_best_layout_fits_and_is_fastest(void **state)
{
    (void)state;
    static vj_forecast f, little;
    set("train.batch=64");
    set("mask.group=8");
    set("plan.files=1000");
    set("cluster.nodes=4");
    set("cluster.cores_per_node=8");
    set("cluster.memory_gb=256");
    forecast(&f);
    assert_true(f.fits && f.layouts > 3);
    assert_string_equal(f.verdict[0], "best: the fastest that fits, of 272 that can work");
    assert_int_equal(f.layout[0].nodes, 4);
    assert_true(f.layout[0].node_bytes <= 0.9 * 256e9);
    for (int i = 1; i < f.layouts; i++)
        if (f.layout[i].node_bytes <= 0.9 * 256e9) assert_true(f.layout[i].step_s > 0.98 * f.layout[0].step_s);
    same(f.campaign.training_s, 90000 * f.layout[0].step_s + 90 * f.work.checkpoint_bytes / 1e9);

    set("cluster.memory_gb=16"); /* then another, slower layout is found, or none */
    forecast(&little);
    assert_true(little.fits);
    assert_true(little.layout[0].node_bytes <= 0.9 * 16e9);
    assert_true(little.layout[0].step_s >= 0.98 * f.layout[0].step_s);
    set("cluster.memory_gb=1");
    forecast(&little);
    assert_false(little.fits);
    assert_non_null(strstr(little.verdict[0], "NOTHING FITS"));
    assert_non_null(strstr(little.verdict[0], "more than a job may use"));
    assert_non_null(strstr(little.advice, "nothing fits here, not even with train.recompute=block"));
    assert_true(little.layout[0].memory.all > 1000000000);
}

/* Check that a given layout is judged, and that a layout that would fit on the same ranks is proposed. */
static void a_given_layout_is_explained(void **state)
{
    (void)state;
    static vj_forecast f;
    vj_footage footage;
    set("train.batch=64");
    set("mask.group=8");
    set("cluster.nodes=1");
    set("cluster.cores_per_node=8");
    set("cluster.memory_gb=1000");
    set("train.microbatch=8");
    assert_int_equal(vj_footage_describe(&footage, &config), VJ_OK);
    assert_int_equal(vj_forecast_make(&f, &config, &footage, 2, 4), VJ_OK);
    assert_true(f.fits);
    assert_string_equal(f.verdict[0], "as configured: it fits");
    assert_string_equal(f.advice, "");
    assert_int_equal(f.layout[0].nodes, 2); /* as given, although cluster.nodes is less */
    assert_int_equal(f.layout[0].node_ranks, 4);
    assert_int_equal(f.layout[0].microbatch, 8);

    char memory[64];
    snprintf(memory, sizeof memory, "cluster.memory_gb=%.3f", f.layout[0].node_bytes * 1e-9); /* a tenth too little */
    set(memory);
    assert_int_equal(vj_forecast_make(&f, &config, &footage, 2, 4), VJ_OK);
    assert_false(f.fits);
    assert_non_null(strstr(f.verdict[0], "DOES NOT FIT"));
    assert_non_null(strstr(f.advice, "would fit: parallel.tensor="));
    assert_non_null(strstr(f.advice, "on 2 nodes of 4 ranks"));
    int tensor, zero;
    long long microbatch;
    assert_int_equal(sscanf(f.advice, "would fit: parallel.tensor=%d parallel.zero=%d train.microbatch=%lld", &tensor,
                            &zero, &microbatch),
                     3);
    config.parallel.tensor = tensor;
    config.parallel.zero = zero;
    config.train.microbatch = microbatch;
    if (strstr(f.advice, "recompute=attention")) config.train.recompute = VJ_RECOMPUTE_ATTENTION;
    if (strstr(f.advice, "recompute=block")) config.train.recompute = VJ_RECOMPUTE_BLOCK;
    assert_int_equal(vj_forecast_make(&f, &config, &footage, 2, 4), VJ_OK);
    assert_true(f.fits);

    config.parallel.tensor = 3; /* does not divide four ranks */
    assert_int_equal(vj_forecast_make(&f, &config, &footage, 2, 4), VJ_ERR_USAGE);
}

/* ------------------------------------------------------------------------------------------------ campaign */

/* Check that no interval loses less time than Daly's, and compare jobs and energy with numbers computed by hand. */
static void failures_and_jobs_cost_time(void **state)
{
    (void)state;
    vj_machine m = {.node_watts = 500,
                    .node_mtbf_s = 1000 * 3600,
                    .checkpoint_s = 60,
                    .restart_s = 600,
                    .job_s = 12 * 3600,
                    .filesystem_bytes_s = 1e9};
    const vj_train_work work = {.steps = 100000, .checkpoints = 100, .checkpoint_bytes = 5e9};
    const vj_train_layout l = {.nodes = 100, .step_s = 2};
    set("checkpoint.every=1000");
    vj_campaign_forecast p = vj_campaign_make(&config, &m, &work, &l);
    same(p.training_s, 200000 + 100 * 60);
    same(p.checkpoints_s, 6000);
    same(p.energy_wh, 500.0 * 100 * 206000 / 3600);
    same(p.job_s, 12 * 3600 * 0.99 - 600 - 2 * 62);
    same(p.jobs, 5); /* 206000 / 42044 */
    same(p.mtbf_s, 36000);
    same(p.young_s, sqrt(2.0 * 60 * 36000));
    assert_true(fabs(p.daly_s / (p.young_s - 60 * 2.0 / 3) - 1) <
                0.001); /* Daly's interval is Young's less two thirds of a checkpoint, in its first two terms */
    same(p.interval_s, 2000);
    assert_true(p.expected_s > p.training_s && p.expected_s < 1.1 * p.training_s);
    for (int every = 100; every < 10000; every += 20) {
        config.checkpoint.every = every;
        const vj_campaign_forecast other = vj_campaign_make(&config, &m, &work, &l);
        assert_true(p.daly_expected_s < other.expected_s * (1 + 1e-5));
    }
    m.checkpoint_s = 0;
    m.node_mtbf_s = 0;
    m.job_s = 0;
    p = vj_campaign_make(&config, &m, &work, &l);
    same(p.checkpoint_s, 5);
    same(p.jobs, 1);
    assert_true(p.expected_s == 0 && p.mtbf_s == 0);
    m.job_s = 300; /* shorter than a start */
    assert_true(isinf(vj_campaign_make(&config, &m, &work, &l).jobs));
}

/* ------------------------------------------------------------------------------------------------ messages */

/* Check the messages for sums of gradients between nodes: every node sends twice all that it has except its own part.
 * tests/plan counts the messages of a run. */
static void messages_are_counted(void **state)
{
    (void)state;
    static vj_forecast_traffic t;
    int64_t across = 0, messages = 0;
    const vj_train_layout l = {.nodes = 4, .node_ranks = 8, .tensor = 2, .microbatch = 1, .data_ranks = 16};
    vj_train_work w;
    const vj_pack_forecast pack = {.raw_clip_bytes = 1, .clip_bytes = 1};
    assert_int_equal(vj_train_work_count(&w, &config, &pack), VJ_OK);
    assert_int_equal(vj_train_traffic_count(&t, &config, &l, false), VJ_OK);
    for (int i = 0; i < t.rows; i++) {
        assert_true(t.row[i].every >= 1 && t.row[i].traffic.messages > 0);
        if (strcmp(t.row[i].communicator, VJ_COMM_ACROSS) != 0) continue;
        across += t.row[i].traffic.bytes;
        messages += t.row[i].traffic.messages;
    }
    assert_int_equal(across, 2 * 2 * 3 * w.weight_floats[2] *
                                 4); /* the vectors of both tensor ranks go to three nodes and back */
    const int64_t buckets = (w.weight_floats[2] - 1) / (config.parallel.bucket_mb << 18) + 1;
    assert_int_equal(messages, 2 * buckets * 4 * 4 * 3 * 2); /* ranks that send, nodes, other nodes, both ways */
    const vj_train_layout alone = {.nodes = 1, .node_ranks = 1, .tensor = 1, .microbatch = 1, .data_ranks = 1};
    assert_int_equal(vj_train_traffic_count(&t, &config, &alone, false), VJ_OK);
    assert_int_equal(t.rows, 0);
}

/* Check training with one rank for each GPU: the GPUs' rate and memory decide. */
static void gpus_train(void **state)
{
    (void)state;
    static vj_forecast f;
    set("train.batch=64");
    set("mask.group=8");
    set("train.precision=bf16");
    set("plan.files=1000");
    set("cluster.nodes=2");
    set("cluster.cores_per_node=64");
    set("cluster.memory_gb=512");
    set("cluster.gpus_per_node=4");
    set("cluster.gpu_tflops_bf16=400");
    set("cluster.gpu_memory_gb=80");
    set("cluster.filesystem_gb_s=1000"); /* so fast that only the GPUs matter */
    set("cluster.network_gb_s=1000");
    set("cluster.gpu_host_gb_s=1000");
    set("cluster.sum_gb_s=1000");
    forecast(&f);
    const vj_train_layout *best = &f.layout[0];
    assert_true(f.fits);
    assert_int_equal(best->nodes, 2);
    assert_int_equal(best->node_ranks, 4);
    assert_int_equal(best->threads, 16);
    same(best->compute_s, 64.0 / 8 * f.work.clip_work_flops / 400e12);
    assert_true(best->gpu_bytes > best->weight_bytes * 4 && best->gpu_bytes <= 0.95 * 80e9);
    const vj_memory *m = &best->memory;
    const int64_t main_parts = m->weights + m->gradient + m->moments + m->target + m->activations + m->tables;
    same(best->gpu_bytes, (double)m->device);
    assert_true(m->device > main_parts + m->weights / 2 && m->device < m->all - m->batches);
    for (int i = 0; i < f.layouts; i++) assert_true(f.layout[i].node_ranks <= 4);
    set("cluster.gpu_memory_gb=0.5");
    forecast(&f);
    assert_false(f.fits);
}

static void a_section_is_read_from_its_file(void **state)
{
    (void)state;
    char path[] = "/tmp/vjepa-cluster-XXXXXX";
    const int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    fputs("cluster:\n  nodes: 12\n  cores_per_node: 34\n", file);
    fclose(file);
    set("cluster.nodes=5");
    set("cluster.memory_gb=7");
    config.cluster.network_gb_s = 99; /* as if the configuration's own file said so */
    assert_int_equal(vj_config_read_section(&config, path, "cluster"), VJ_OK);
    assert_int_equal(config.cluster.nodes, 5); /* --set has precedence */
    assert_true(config.cluster.memory_gb == 7);
    assert_int_equal(config.cluster.cores_per_node, 34);
    assert_int_equal(vj_config_origin(&config, "cluster.cores_per_node"), 3);
    assert_true(config.cluster.network_gb_s == 10); /* the default, because the whole section comes from the file */
    file = fopen(path, "a");
    fputs("model:\n  size: tiny\n", file);
    fclose(file);
    assert_int_equal(vj_config_read_section(&config, path, "cluster"), VJ_ERR_USAGE);
    assert_string_equal(config.model.size, "large");
    remove(path);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(packing_by_hand, defaults),
        cmocka_unit_test_setup(costs_follow_the_pixels, defaults),
        cmocka_unit_test_setup(media_are_what_the_settings_say, defaults),
        cmocka_unit_test_setup(steps_by_hand, defaults),
        cmocka_unit_test_setup(what_cannot_work_says_why, defaults),
        cmocka_unit_test_setup(work_is_counted, defaults),
        cmocka_unit_test_setup(memory_is_what_training_predicts, defaults),
        cmocka_unit_test_setup(the_best_layout_fits_and_is_fastest, defaults),
        cmocka_unit_test_setup(a_given_layout_is_explained, defaults),
        cmocka_unit_test_setup(failures_and_jobs_cost_time, defaults),
        cmocka_unit_test_setup(messages_are_counted, defaults),
        cmocka_unit_test_setup(the_watch_costs_time_and_memory, defaults),
        cmocka_unit_test_setup(gpus_train, defaults),
        cmocka_unit_test_setup(a_section_is_read_from_its_file, defaults),
    };
    MPI_Init(&argc, &argv);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
