/*
 * Tests the whole network on ragged microbatches: packing clips together changes no result, gradients agree with finite
 * differences of the loss, and recomputed blocks give the same bits. The parity tests compare values with an
 * independent implementation.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "model/flops.h"
#include "model/model.h"

enum { CLIPS = 3, MASKS = 2, FRAMES = 4, SIDE = 24 };

static const vj_shape feature_shape = {.channels = 3,
                                       .frames = FRAMES,
                                       .height = SIDE,
                                       .width_px = SIDE,
                                       .tubelet = 2,
                                       .patch = 8,
                                       .width = 24,
                                       .depth = 2,
                                       .heads = 3,
                                       .hidden = 96,
                                       .eps = VJ_SHAPE_EPS,
                                       .predictor_width = 12,
                                       .predictor_depth = 2,
                                       .predictor_heads = 3,
                                       .predictor_hidden = 48,
                                       .mask_tokens = MASKS,
                                       .uniform_power = 1,
                                       .objective = VJ_OBJECTIVE_FEATURE};

typedef struct {
    vj_backend *be;
    vj_model *model;
    vj_mask_lists lists;
    float *clips; /* [CLIPS, 3, FRAMES, SIDE, SIDE] */
} fixture;

static int64_t clip_values(void)
{
    return 3 * FRAMES * SIDE * SIDE;
}

/* Draw lists of a different length for each clip and mask; some cells are in neither list. */
static void draw_lists(vj_mask_lists *lists)
{
    vj_rng rng;
    vj_rng_init(&rng, 3, VJ_RNG_TEST, 1);
    for (int s = 0; s < MASKS * CLIPS; s++) {
        lists->contexts[s] = lists->targets[s] = 0;
        for (int n = 0; n < lists->tokens; n++) {
            const int64_t pick = n == 0 ? 0 : n == 1 ? 9 : vj_rng_below(&rng, 10 + s);
            if (pick < 5)
                lists->context[s * lists->tokens + lists->contexts[s]++] = n;
            else if (pick < 10)
                lists->target[s * lists->tokens + lists->targets[s]++] = n;
        }
    }
}

static void open_fixture_on(fixture *f, const char *backend, vj_precision precision, const vj_shape *shape,
                            vj_objective_settings settings)
{
    const vj_grid grid = vj_shape_grid(shape);
    const int64_t N = vj_grid_tokens(grid), rows = MASKS * CLIPS * N;
    const vj_ragged_bounds bounds = {MASKS, CLIPS, rows, rows, rows};
    *f = (fixture){0};
    assert_int_equal(vj_backend_open(&f->be, backend, precision, 1), VJ_OK);
    assert_int_equal(vj_model_create(&f->model, shape, &settings, &bounds, NULL, f->be), VJ_OK);
    vj_model_init_weights(f->model, VJ_INIT_FAN_IN, 0, 5);
    assert_int_equal(vj_mask_lists_create(&f->lists, MASKS, CLIPS, (int)N), VJ_OK);
    draw_lists(&f->lists);
    f->clips = vj_calloc(CLIPS * clip_values(), sizeof *f->clips);
    assert_non_null(f->clips);
    vj_rng rng;
    vj_rng_init(&rng, 3, VJ_RNG_TEST, 2);
    for (int64_t i = 0; i < CLIPS * clip_values(); i++) f->clips[i] = (float)vj_rng_normal(&rng);
}

static void open_fixture(fixture *f, const vj_shape *shape, vj_objective_settings settings)
{
    open_fixture_on(f, "cpu", VJ_FP32, shape, settings);
}

static void close_fixture(fixture *f)
{
    vj_mask_lists_release(&f->lists);
    vj_model_destroy(f->model);
    vj_backend_close(f->be);
    free(f->clips);
}

static double total_loss(vj_model *m)
{
    double asked[VJ_MAX_MASKS + 1], by_mask[VJ_MAX_MASKS], penalty;
    vj_model_download_losses(m, asked);
    assert_int_equal(vj_sync(m->be), VJ_OK);
    vj_model_losses(m, asked, by_mask, &penalty);
    return by_mask[0] + by_mask[1] + m->settings.reg_coeff * penalty;
}

static double whole(fixture *f)
{
    assert_int_equal(vj_model_microbatch(f->model, &(vj_input){.pixels = f->clips}, &f->lists, CLIPS, 0), VJ_OK);
    return total_loss(f->model);
}

static float *copy_gradient(fixture *f)
{
    const int64_t n = f->model->net.params.total;
    float *g = vj_calloc(n, sizeof *g);
    assert_non_null(g);
    vj_download(f->be, g, f->model->trained.gradient, n * (int64_t)sizeof *g);
    return g;
}

/* Compute the loss with the same lists, one clip at a time, and add up the gradients. */
static double one_by_one(fixture *f)
{
    vj_mask_lists one;
    assert_int_equal(vj_mask_lists_create(&one, MASKS, 1, f->lists.tokens), VJ_OK);
    for (int b = 0; b < CLIPS; b++) {
        for (int i = 0; i < MASKS; i++) {
            const int from = i * CLIPS + b;
            const size_t bytes = (size_t)f->lists.tokens * sizeof(int32_t);
            one.contexts[i] = f->lists.contexts[from];
            one.targets[i] = f->lists.targets[from];
            memcpy(one.context + i * one.tokens, f->lists.context + from * f->lists.tokens, bytes);
            memcpy(one.target + i * one.tokens, f->lists.target + from * f->lists.tokens, bytes);
        }
        assert_int_equal(
            vj_model_microbatch(f->model, &(vj_input){.pixels = f->clips + b * clip_values()}, &one, CLIPS, b > 0),
            VJ_OK);
    }
    vj_mask_lists_release(&one);
    return total_loss(f->model);
}

static void check_packing(const vj_shape *shape, vj_objective_settings settings)
{
    fixture f;
    open_fixture(&f, shape, settings);
    const double packed_loss = whole(&f);
    float *packed = copy_gradient(&f);
    const double loss = one_by_one(&f);
    float *summed = copy_gradient(&f);
    double largest = 0, worst = 0;
    for (int64_t i = 0; i < f.model->net.params.total; i++) {
        largest = fmax(largest, fabs(summed[i]));
        worst = fmax(worst, fabs((double)packed[i] - summed[i]));
        assert_true(isfinite(packed[i]));
    }
    assert_true(largest > 0);
    assert_true(fabs(packed_loss - loss) <= 1e-6 * fabs(loss)); /* sums of floats in another order */
    assert_true(worst <= 1e-5 * largest);
    free(packed);
    free(summed);
    close_fixture(&f);
}

static void packing_changes_nothing(void **state)
{
    (void)state;
    vj_shape pixel = feature_shape;
    pixel.objective = VJ_OBJECTIVE_PIXEL;
    check_packing(&feature_shape, (vj_objective_settings){.loss_exp = 1});
    check_packing(&feature_shape, (vj_objective_settings){.loss_exp = 2, .reg_coeff = 0.5});
    check_packing(&pixel, (vj_objective_settings){.loss_exp = 2, .normalise_pixels = 1});
}

/*
 * Check in each part of the network that the central difference of the loss along a random direction is the gradient's
 * component. Steps of 2e-3 in fp32 leave errors of about 1e-4 each from rounding and curvature. A wrong term would give
 * an error of more than 1 %.
 */
static void check_slope(const vj_shape *shape, vj_objective_settings settings)
{
    fixture f;
    open_fixture(&f, shape, settings);
    vj_model *m = f.model;
    const int64_t n = m->net.params.total, edge[3] = {0, m->net.params.encoder_total, n};
    float *start = vj_calloc(n, sizeof *start), *moved = vj_calloc(n, sizeof *moved);
    assert_true(start && moved);
    vj_download(f.be, start, m->trained.weights, n * (int64_t)sizeof *start);
    whole(&f);
    float *g = copy_gradient(&f);
    for (int part = 0; part < 2; part++) {
        /* The direction is the gradient's, plus a random part, so that the slope is large and every tensor matters. */
        double norm = 0, slope = 0, loss[2];
        for (int64_t i = edge[part]; i < edge[part + 1]; i++) norm += (double)g[i] * g[i];
        norm = sqrt(norm);
        assert_true(norm > 0);
        for (int sign = 0; sign < 2; sign++) {
            vj_rng rng;
            vj_rng_init(&rng, 3, VJ_RNG_TEST, 3);
            slope = 0;
            memcpy(moved, start, (size_t)n * sizeof *start);
            for (int64_t i = edge[part]; i < edge[part + 1]; i++) {
                const double direction = g[i] / norm * (0.5 + vj_rng_uniform(&rng));
                slope += direction * g[i];
                moved[i] += (float)((sign ? 2e-3 : -2e-3) * direction);
            }
            vj_upload(f.be, m->trained.weights, moved, n * (int64_t)sizeof *moved);
            loss[sign] = whole(&f);
        }
        const double measured = (loss[1] - loss[0]) / 4e-3;
        if (!(fabs(measured - slope) <= 0.01 * fabs(slope)))
            fail_msg("part %d: slope %.6g, gradient says %.6g", part, measured, slope);
        vj_upload(f.be, m->trained.weights, start, n * (int64_t)sizeof *start);
    }
    free(start);
    free(moved);
    free(g);
    close_fixture(&f);
}

static void gradient_is_the_slope(void **state)
{
    (void)state;
    vj_shape pixel = feature_shape;
    pixel.objective = VJ_OBJECTIVE_PIXEL;
    check_slope(&feature_shape, (vj_objective_settings){.loss_exp = 2});
    check_slope(&feature_shape, (vj_objective_settings){.loss_exp = 1});
    check_slope(&feature_shape, (vj_objective_settings){.loss_exp = 2, .reg_coeff = 2});
    check_slope(&pixel, (vj_objective_settings){.loss_exp = 2, .normalise_pixels = 1});
}

typedef struct {
    fixture *f;
    int calls;
    int64_t offset[32];
    float *then[32]; /* the gradient when the hook was called */
} made;

static void record(void *user, int64_t offset, vj_event *event)
{
    assert_null(event); /* no device of this build works asynchronously */
    made *m = user;
    assert_true(m->calls < 32);
    m->offset[m->calls] = offset;
    m->then[m->calls++] = copy_gradient(m->f);
}

/* Check that the hook's offsets fall to 0, layer by layer, and that the gradient above each offset does not change any
 * more. */
static void the_hook_tells_what_is_final(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, &feature_shape, (vj_objective_settings){.loss_exp = 2});
    const int64_t n = f.model->net.params.total;
    const int layers = feature_shape.depth + feature_shape.predictor_depth;
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        made m = {.f = &f};
        float *before = copy_gradient(&f);
        f.model->trained.hook = (vj_gradient_hook){record, &m};
        assert_int_equal(vj_model_microbatch(f.model, &(vj_input){.pixels = f.clips}, &f.lists, CLIPS, accumulate),
                         VJ_OK);
        f.model->trained.hook = (vj_gradient_hook){0};
        float *final = copy_gradient(&f);
        assert_true(m.calls > layers);
        assert_int_equal(m.offset[m.calls - 1], 0);
        for (int i = 0; i < m.calls; i++) {
            const int64_t above = i == 0 ? n : m.offset[i - 1], from = m.offset[i];
            assert_true(from < above);
            assert_memory_equal(m.then[i] + from, final + from, (size_t)(n - from) * sizeof *final);
            /* this pass has computed it */
            assert_memory_not_equal(before + from, final + from, (size_t)(above - from) * sizeof *final);
            free(m.then[i]);
        }
        free(before);
        free(final);
    }
    close_fixture(&f);
}

/* Compute the gradient of one microbatch, always with the same initial weights. */
static float *gradient_in(vj_precision precision, const vj_shape *shape, vj_objective_settings settings, double *loss,
                          int64_t *n)
{
    fixture f;
    open_fixture_on(&f, "cpu", precision, shape, settings);
    *loss = whole(&f);
    *n = f.model->net.params.total;
    float *g = copy_gradient(&f);
    close_fixture(&f);
    return g;
}

static void recomputed_blocks_give_the_same_bits(void **state)
{
    (void)state;
    const vj_recompute recompute[] = {VJ_RECOMPUTE_NONE, VJ_RECOMPUTE_ATTENTION, VJ_RECOMPUTE_BLOCK};
    for (int precision = VJ_FP32; precision <= VJ_BF16; precision++) {
        float *g[3];
        double loss[3];
        int64_t n = 0;
        for (int r = 0; r < 3; r++)
            g[r] = gradient_in((vj_precision)precision, &feature_shape,
                               (vj_objective_settings){.loss_exp = 1, .recompute = recompute[r]}, &loss[r], &n);
        for (int r = 1; r < 3; r++) {
            assert_memory_equal(g[0], g[r], (size_t)n * sizeof(float));
            assert_true(loss[0] == loss[r]);
        }
        for (int r = 0; r < 3; r++) free(g[r]);
    }
}

/* Compute the gradient, and the loss behind it, of the second of two microbatches. Set the bytes of its activations. */
static float *second_gradient(const char *backend, vj_precision precision, const vj_shape *shape,
                              vj_objective_settings settings, int64_t *bytes)
{
    fixture f;
    open_fixture_on(&f, backend, precision, shape, settings);
    const int64_t n = f.model->net.params.total;
    whole(&f);
    const float loss = (float)whole(&f);
    float *g = vj_calloc(n + 1, sizeof *g);
    assert_non_null(g);
    vj_download(f.be, g, f.model->trained.gradient, n * (int64_t)sizeof *g);
    assert_int_equal(vj_sync(f.be), VJ_OK);
    g[n] = loss;
    *bytes = f.model->bytes.used + vj_model_rounded_weights(f.model) * (int64_t)sizeof(uint16_t);
    close_fixture(&f);
    return g;
}

/* Check that activations give the same bits if they share memory, with one another and with the gradient and the copies
 * of weights, and that less memory is needed. */
static void shared_memory_changes_no_bits(void **state)
{
    (void)state;
    const char *chosen = getenv("VJ_TEST_BACKEND"), *names[] = {chosen ? chosen : "cpu", chosen ? NULL : "strict"};
    vj_shape shape[2] = {feature_shape, feature_shape};
    shape[1].objective = VJ_OBJECTIVE_PIXEL;
    for (int variant = 0; variant < 2 * 2 * 3 * 2; variant++) {
        const char *name = names[variant % 2];
        const vj_precision precision = variant / 2 % 2 ? VJ_BF16 : VJ_FP32;
        const vj_shape *of = &shape[variant / 12];
        vj_objective_settings s = {.loss_exp = 2, .reg_coeff = 0.5, .recompute = (vj_recompute)(variant / 4 % 3)};
        float *g[3];
        int64_t bytes[3];
        if (!name) continue;
        for (int i = 0; i < 3; i++) {
            s.separate = i == 0;
            s.microbatches = i == 2;
            g[i] = second_gradient(name, precision, of, s, &bytes[i]);
        }
        vj_network net;
        vj_network_describe(&net, of, 0, NULL);
        const size_t compared = (size_t)(net.params.total + 1) * sizeof(float);
        const bool copies = strcmp(name, "cuda") == 0 && precision == VJ_BF16 && of == &shape[0];
        for (int i = 1; i < 3; i++) assert_memory_equal(g[0], g[i], compared);
        assert_true(bytes[1] < bytes[0] && (!copies || bytes[2] < bytes[1]));
        vj_network_release(&net);
        for (int i = 0; i < 3; i++) free(g[i]);
    }
}

/*
 * Check that a step with bf16 products is close to one with fp32 products. Measured over all variants: the loss differs
 * by 5e-4; the cosine of the gradients is 0.9988 and the ratio of their norms 1.021 with the loss |d|, whose gradient's
 * signs can flip, and 0.99995 and 1.002 with d^2.
 */
static void bf16_is_close(void **state)
{
    (void)state;
    vj_shape pixel = feature_shape;
    pixel.objective = VJ_OBJECTIVE_PIXEL;
    const vj_objective_settings settings[] = {{.loss_exp = 1}, {.loss_exp = 2}, {.loss_exp = 2, .normalise_pixels = 1}};
    for (int i = 0; i < 3; i++) {
        double loss[2], dot = 0, square[2] = {0, 0};
        int64_t n;
        float *g[2];
        for (int p = 0; p < 2; p++)
            g[p] = gradient_in(p ? VJ_BF16 : VJ_FP32, i == 2 ? &pixel : &feature_shape, settings[i], &loss[p], &n);
        for (int64_t k = 0; k < n; k++) {
            dot += (double)g[0][k] * g[1][k];
            for (int p = 0; p < 2; p++) square[p] += (double)g[p][k] * g[p][k];
        }
        const double cosine = dot / sqrt(square[0] * square[1]), off = fabs(loss[1] / loss[0] - 1);
        const double ratio = sqrt(square[1] / square[0]);
        if (!(off <= 1e-2 && cosine > 0.99 && fabs(ratio - 1) <= 4e-2))
            fail_msg("case %d: loss off by %.3g, cosine of the gradients %.6f, ratio of their norms %.5f", i, off,
                     cosine, ratio);
        assert_true(off > 0); /* otherwise both computed the same */
        free(g[0]);
        free(g[1]);
    }
}

/* Return the bytes that a stack of `depth` blocks keeps for its backward pass. */
/* What was told of a microbatch. */
typedef struct {
    double share, least; /* the last one; the least step between two */
    int told;
} told_work;

static void hear(void *user, double share, double now_s)
{
    told_work *t = user;
    assert_true(now_s <= vj_now());
    t->least = fmin(t->least, share - t->share);
    t->share = share;
    t->told++;
}

/* The share of a microbatch that is done rises to 1: vj_step_work() counts what the backend counts. */
static void a_microbatch_tells_how_far_it_is(void **state)
{
    (void)state;
    const vj_recompute recompute[] = {VJ_RECOMPUTE_NONE, VJ_RECOMPUTE_ATTENTION, VJ_RECOMPUTE_BLOCK};
    for (int r = 0; r < 3; r++)
        for (int pixel = 0; pixel < 2; pixel++) {
            vj_shape shape = feature_shape;
            fixture f;
            told_work told = {0};
            if (pixel) shape.objective = VJ_OBJECTIVE_PIXEL;
            open_fixture(&f, &shape, (vj_objective_settings){.loss_exp = 1, .recompute = recompute[r]});
            const double work = vj_step_work(&f.model->net, &f.lists, recompute[r]), before = vj_backend_flops(f.be);
            vj_work_begin(f.be, work, hear, &told);
            whole(&f);
            vj_work_end(f.be);
            assert_true(vj_backend_flops(f.be) - before == work);
            assert_true(told.share == 1.0 && told.least == 0.0);
            const int heard = told.told; /* each kernel tells */
            assert_true(heard > 2 * 2 * 10);
            whole(&f);
            assert_int_equal(told.told, heard);
            close_fixture(&f);
        }
}

static int64_t kept_bytes(int depth, int width, int heads, vj_type type, vj_recompute recompute, int64_t rows,
                          vj_tensor *tensor)
{
    vj_params params = {.shares = tensor ? tensor->size : 1};
    vj_stack stack;
    vj_stack_memory memory;
    vj_arena arena = {0};
    vj_stack_add(&stack, &params, VJ_ENCODER, "blocks", "norm", depth, width, heads, 4 * width, VJ_SHAPE_EPS,
                 VJ_POSITIONS_SINCOS, tensor);
    assert_int_equal(vj_stack_memory_create(&memory, &stack, type, 1, recompute), VJ_OK);
    vj_stack_kept_take(&memory, &stack, &arena, rows);
    vj_stack_memory_release(&memory);
    vj_stack_release(&stack);
    vj_params_release(&params);
    return arena.used;
}

/*
 * Check the formula in the comment of vj_stack_memory, and the statistics: log-sum-exp of each head, two means and two
 * deviations. A tensor group divides what is stored in type e, and with parallel.tensor_sequence everything.
 */
static void kept_memory_is_as_stated(void **state)
{
    (void)state;
    enum { ROWS = 1600, HEADS = 12 }; /* rows of whole cache lines, so that nothing is padded */
    const int64_t D = 768;
    for (int t = 1; t <= 4; t *= 2)
        for (int variant = 0; variant < 4; variant++) {
            const vj_type type = variant & 1 ? VJ_TYPE_BF16 : VJ_TYPE_F32;
            vj_tensor group = {.size = t, .rank = t - 1, .sequence = variant & 2};
            const int64_t e = vj_type_bytes(type), own = group.sequence ? ROWS / t : ROWS;
            const struct {
                vj_recompute recompute;
                int64_t divided, stream; /* bytes of a row: of what a group divides, and of the rows that a rank owns */
            } want[] = {{VJ_RECOMPUTE_NONE, 8 * D * e + HEADS * 4, 8 * D + 4 * 4},
                        {VJ_RECOMPUTE_ATTENTION, 4 * D * e, 8 * D + 4 * 4},
                        {VJ_RECOMPUTE_BLOCK, 0, 4 * D}};
            for (int i = 0; i < 3; i++) {
                const int64_t block =
                    kept_bytes(8, (int)D, HEADS, type, want[i].recompute, ROWS, t > 1 ? &group : NULL) -
                    kept_bytes(7, (int)D, HEADS, type, want[i].recompute, ROWS, t > 1 ? &group : NULL);
                assert_int_equal(block, ROWS / t * want[i].divided + own * want[i].stream);
            }
        }
}

/* Check that the rows of the ranks of a group together are all rows, also if the number does not divide. */
static void own_rows_are_all_rows(void **state)
{
    (void)state;
    for (int64_t rows = 0; rows < 40; rows++) {
        int64_t all = 0;
        for (int rank = 0; rank < 4; rank++) {
            vj_tensor group = {.size = 4, .rank = rank, .sequence = true};
            /* A row is one cache line of 64 bytes, so nothing is padded. */
            all += (kept_bytes(3, 16, 4, VJ_TYPE_F32, VJ_RECOMPUTE_BLOCK, rows, &group) -
                    kept_bytes(2, 16, 4, VJ_TYPE_F32, VJ_RECOMPUTE_BLOCK, rows, &group)) /
                   64;
        }
        assert_int_equal(all, rows);
    }
}

/* Check the published numbers of parameters (docs/method.md, section 14). */
static void parameters_are_as_many_as_published(void **state)
{
    (void)state;
    const struct {
        int width, depth, heads;
        int64_t encoder, predictor;
    } row[] = {{192, 12, 3, 5633856, 21443136},
               {384, 12, 6, 21884544, 21590784},
               {768, 12, 12, 86236416, 21886080},
               {1024, 24, 16, 303885312, 22082944},
               {1280, 32, 16, 631648000, 22279808}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        const vj_shape shape = {.channels = 3,
                                .frames = 16,
                                .height = 224,
                                .width_px = 224,
                                .tubelet = 2,
                                .patch = 16,
                                .width = row[i].width,
                                .depth = row[i].depth,
                                .heads = row[i].heads,
                                .hidden = 4 * row[i].width,
                                .eps = VJ_SHAPE_EPS,
                                .predictor_width = 384,
                                .predictor_depth = 12,
                                .predictor_heads = 16,
                                .predictor_hidden = 1536,
                                .mask_tokens = 2};
        vj_network net;
        int64_t count[2] = {0, 0};
        vj_network_describe(&net, &shape, 0, NULL);
        for (int p = 0; p < net.params.count; p++) count[net.params.item[p].part] += net.params.item[p].count;
        assert_int_equal(count[VJ_ENCODER], row[i].encoder);
        assert_int_equal(count[VJ_PREDICTOR], row[i].predictor);
        vj_network_release(&net);
    }
}

/* Check that the encoder's gradient has the same bits whether all tokens are encoded or the same tokens are listed. */
static float *encoder_gradient(bool picked)
{
    fixture f;
    open_fixture(&f, &feature_shape, (vj_objective_settings){.loss_exp = 1.0});
    const vj_network *net = &f.model->net;
    const int64_t rows = (int64_t)CLIPS * net->tokens, D = net->shape.width, float_bytes = (int64_t)sizeof(float);
    vj_stack_memory memory;
    vj_stack_scratch scratch;
    assert_int_equal(vj_stack_memory_create(&memory, &net->encoder, VJ_TYPE_F32, 1, VJ_RECOMPUTE_NONE), VJ_OK);
    vj_arena arena = {0};
    char *base = NULL;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) base = vj_device_alloc(f.be, arena.peak);
        arena = (vj_arena){.base = base};
        vj_stack_kept_take(&memory, &net->encoder, &arena, rows);
        vj_stack_work_take(&memory, &net->encoder, &arena, rows);
        vj_stack_scratch_take(&scratch, &net->encoder, &arena, rows, VJ_TYPE_F32);
    }
    int32_t offset[CLIPS + 1], *index = vj_calloc(rows, sizeof *index);
    for (int b = 0; b <= CLIPS; b++) offset[b] = b * net->tokens;
    for (int64_t r = 0; r < rows; r++) index[r] = (int32_t)r;
    int32_t *device_offset = vj_device_alloc(f.be, (int64_t)sizeof offset),
            *device_index = vj_device_alloc(f.be, rows * (int64_t)sizeof *index);
    vj_upload(f.be, device_offset, offset, (int64_t)sizeof offset);
    vj_upload(f.be, device_index, index, rows * (int64_t)sizeof *index);
    float *patches = vj_device_alloc(f.be, rows * net->patch_values * float_bytes);
    vj_upload(f.be, patches, f.clips, rows * net->patch_values * float_bytes);
    const vj_rows whole_clips = vj_rows_from(offset, device_offset, CLIPS);
    const vj_encoder_pass e = {.clips = CLIPS,
                               .patches = vj_f32(patches),
                               .rows = &whole_clips,
                               .picked = picked ? device_index : NULL,
                               .tokens = picked ? vj_device_alloc(f.be, rows * D * float_bytes) : NULL,
                               .features = {vj_device_alloc(f.be, rows * D * float_bytes), VJ_TYPE_F32},
                               .mean = vj_device_alloc(f.be, rows * float_bytes),
                               .rstd = vj_device_alloc(f.be, rows * float_bytes)};
    const vj_trainable *t = &f.model->trained;
    const vj_gradient_hook nobody = {0};
    vj_network_encode(net, f.be, (vj_weights){.exact = t->weights}, f.model->table, &memory, &e);
    vj_network_backward(net, f.be, (vj_weights){.exact = t->weights}, t->gradient, &memory, &scratch, &e,
                        e.features.data, 0, &nobody);
    float *g = copy_gradient(&f);
    vj_stack_memory_release(&memory);
    free(index);
    close_fixture(&f);
    return g;
}

static void backward_is_beside_forward(void **state)
{
    (void)state;
    float *all = encoder_gradient(false), *picked = encoder_gradient(true);
    vj_network net;
    vj_network_describe(&net, &feature_shape, 0, NULL);
    assert_memory_equal(all, picked, (size_t)net.params.total * sizeof *all);
    double sum = 0;
    for (int64_t i = 0; i < net.params.encoder_total; i++) sum += fabs(all[i]);
    assert_true(sum > 0);
    vj_network_release(&net);
    free(all), free(picked);
}

/* Check that pixels which are already on the device give the bits of those from the host, also if the host cannot
 * access the device's memory. */
static void the_encoder_runs_on_the_device(void **state)
{
    (void)state;
    static const char *const names[] = {"cpu", "strict"};
    float *first = NULL;
    const int64_t values = CLIPS * clip_values(), bytes = values * (int64_t)sizeof(float);
    float *pixels = vj_calloc(values, sizeof *pixels);
    for (int64_t i = 0; i < values; i++) pixels[i] = (float)(i % 17) - 8.0f;
    for (int b = 0; b < 2; b++) {
        vj_backend *be;
        vj_encoder *e;
        assert_int_equal(vj_backend_open(&be, names[b], VJ_FP32, 1), VJ_OK);
        assert_int_equal(vj_encoder_open(&e, &feature_shape, CLIPS, be, NULL), VJ_OK);
        vj_encoder_init_weights(e, VJ_INIT_FAN_IN, 5);
        const int64_t n = (int64_t)CLIPS * e->net.tokens * e->net.shape.width, out = n * (int64_t)sizeof(float);
        float *device = vj_device_alloc(be, bytes), *from_host = vj_calloc(n, sizeof *from_host),
              *from_device = vj_calloc(n, sizeof *from_device);
        vj_encoder_run(e, vj_encoder_upload(e, &(vj_input){.pixels = pixels}, CLIPS), CLIPS);
        assert_int_equal(vj_encoder_download(e, from_host, CLIPS), VJ_OK);
        vj_upload(be, device, pixels, bytes);
        vj_download(be, from_device, vj_encoder_run(e, device, CLIPS), out);
        assert_memory_equal(from_host, from_device, (size_t)out);
        if (!first) first = memcpy(vj_calloc(n, sizeof *first), from_host, (size_t)out);
        assert_memory_equal(first, from_host, (size_t)out);
        assert_true(fabsf(first[n - 1]) > 0);
        vj_encoder_close(e);
        vj_backend_close(be);
        free(from_host), free(from_device);
    }
    free(first), free(pixels);
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packing_changes_nothing),
        cmocka_unit_test(gradient_is_the_slope),
        cmocka_unit_test(the_hook_tells_what_is_final),
        cmocka_unit_test(recomputed_blocks_give_the_same_bits),
        cmocka_unit_test(shared_memory_changes_no_bits),
        cmocka_unit_test(a_microbatch_tells_how_far_it_is),
        cmocka_unit_test(bf16_is_close),
        cmocka_unit_test(kept_memory_is_as_stated),
        cmocka_unit_test(own_rows_are_all_rows),
        cmocka_unit_test(parameters_are_as_many_as_published),
        cmocka_unit_test(backward_is_beside_forward),
        cmocka_unit_test(the_encoder_runs_on_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
