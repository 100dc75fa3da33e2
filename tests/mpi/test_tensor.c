/*
 * Tests that steps of a model divided over tensor groups equal those on one rank: losses, norms, gradients, weights.
 * They agree within the rounding of fp32, because sums are made in another order. What every rank of a group holds
 * agrees in all bits.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../layouts.h"
#include "../on_ranks.h"

enum { STEPS = 3, DEPTH = 2, WIDTH = 96 };

/* What is compared, on world rank 0. Vectors have the whole tensors one after another. */
typedef struct {
    int64_t elements, encoder; /* number of elements of all tensors, and of the encoder's */
    double loss[STEPS], norm[STEPS][2], spread;
    float *first_gradient, *weights, *target;
} outcome;

static void release(outcome *o)
{
    free(o->first_gradient);
    free(o->weights);
    free(o->target);
}

/* Assemble the tensors of a flat vector on the first rank of each tensor group. */
static float *whole(const vj_step *s, const float *flat, bool encoder_only)
{
    const vj_params *ps = &s->model->net.params;
    float *all = vj_calloc(ps->elements, sizeof *all), *work = vj_calloc(VJ_ASSEMBLE_WORK, sizeof *work), *at = all;
    assert_true(all && work);
    for (int i = 0; i < ps->count; i++) {
        const vj_param *p = &ps->item[i];
        if (encoder_only && p->part != VJ_ENCODER) continue;
        if (p->shares > 1)
            vj_tensor_assemble(s->tensor, s->be, p, flat + p->offset, 0, p->whole, 0, at, work);
        else
            vj_download(s->be, at, flat + p->offset, p->whole * (int64_t)sizeof *at);
        at += p->whole;
    }
    free(work);
    assert_int_equal(vj_sync(s->be), VJ_OK);
    return all;
}

/* Check that tensors which all ranks of a tensor group hold, or all data ranks, have the bits of those on the first. */
static void check_replicas(const vj_step *s, const float *flat, int64_t end)
{
    const vj_params *ps = &s->model->net.params;
    float *mine = vj_calloc(end, sizeof *mine), *first = vj_calloc(end, sizeof *first);
    assert_true(mine && first);
    vj_download(s->be, mine, flat, end * (int64_t)sizeof *mine);
    memcpy(first, mine, (size_t)end * sizeof *mine);
    MPI_Bcast(first, (int)end, MPI_FLOAT, 0, s->layout.data);
    assert_memory_equal(first, mine, (size_t)end * sizeof *mine);
    MPI_Bcast(first, (int)end, MPI_FLOAT, 0, s->layout.tensor);
    int compared = 0;
    for (int i = 0; i < ps->count && ps->item[i].offset < end; i++) {
        const vj_param *p = &ps->item[i];
        if (p->shares > 1) continue;
        assert_memory_equal(first + p->offset, mine + p->offset, (size_t)p->count * sizeof *mine);
        compared++;
    }
    assert_true(compared > 0);
    free(mine);
    free(first);
}

/* Train with the settings of `c` on the ranks of `comm`. */
static void train(outcome *o, const vj_config *c, MPI_Comm comm)
{
    vj_step *s;
    vj_step_report report;
    *o = (outcome){0};
    assert_int_equal(vj_step_open(&s, c, comm), VJ_OK);
    vj_model_init_weights(s->model, (vj_init)c->model.init, c->predictor.zero_init_mask_tokens, c->run.seed);
    for (int k = 0; k < STEPS; k++) {
        assert_int_equal(layout_step(s, k, &report), VJ_OK);
        assert_true(report.healthy);
        o->loss[k] = report.loss;
        for (int part = 0; part < 2; part++) o->norm[k][part] = report.norm[part];
        if (k == 1) o->spread = report.spread.effective_rank;
        if (k == 0) o->first_gradient = whole(s, s->model->trained.gradient, false);
    }
    o->elements = s->model->net.params.elements;
    for (int i = 0; i < s->model->net.params.count; i++)
        if (s->model->net.params.item[i].part == VJ_ENCODER) o->encoder += s->model->net.params.item[i].whole;
    o->weights = whole(s, s->model->trained.weights, false);
    o->target = whole(s, s->model->trained.target, true);
    check_replicas(s, s->model->trained.weights, s->model->net.params.total);
    check_replicas(s, s->model->trained.target, s->model->net.params.encoder_total);
    vj_step_close(s);
}

typedef struct {
    double max, rms;
} difference;

static difference compare(const float *got, const float *want, int64_t n)
{
    difference d = {0};
    for (int64_t i = 0; i < n; i++) {
        const double off = fabs((double)got[i] - want[i]);
        d.max = isfinite(got[i]) ? fmax(d.max, off) : INFINITY;
        d.rms += off * off / (double)n;
    }
    d.rms = sqrt(d.rms);
    return d;
}

static double largest(const float *x, int64_t n)
{
    double max = 0;
    for (int64_t i = 0; i < n; i++) max = fmax(max, fabs(x[i]));
    return max;
}

static void near(layout l, const char *what, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg(LAYOUT_TEXT ": %s %.9g, on one rank %.9g", LAYOUT_ARGS(l), what, got, want);
}

/*
 * Compare with one rank. Measured over all layouts of 2, 3, 4 and 8 ranks: losses agree to 2e-8 in all steps; elements
 * of the first gradient to 2e-7 of its largest; weights to 6e-6, and to 2e-8 in the root mean square; those of the
 * target to a fourth of that. Adam moves a weight by the learning rate, 1e-3, whatever the size of its gradient, so
 * weights whose gradient is mostly rounding error differ most.
 */
static void check(layout l, const outcome *got, const outcome *want)
{
    for (int k = 0; k < STEPS; k++) {
        near(l, "loss", got->loss[k], want->loss[k], 1e-6 * want->loss[k]);
        for (int part = 0; part < 2; part++)
            near(l, "norm", got->norm[k][part], want->norm[k][part], (k ? 1e-4 : 1e-6) * want->norm[k][part]);
    }
    near(l, "effective rank", got->spread, want->spread, 1e-3);
    const double scale = largest(want->first_gradient, want->elements);
    const difference g = compare(got->first_gradient, want->first_gradient, want->elements);
    const difference w = compare(got->weights, want->weights, want->elements);
    const difference e = compare(got->target, want->target, want->encoder);
    if (!l.zero && !(g.max <= 2e-6 * scale)) /* with parallel.zero a rank only has the sums of its slice */
        fail_msg(LAYOUT_TEXT ": the gradient is off by %.3g of %.3g", LAYOUT_ARGS(l), g.max, scale);
    if (!(w.max <= 1e-4 && w.rms <= 2e-7 && e.max <= 3e-5 && e.rms <= 5e-8))
        fail_msg(LAYOUT_TEXT ": weights are off by %.3g, rms %.3g, the target's by %.3g, rms %.3g", LAYOUT_ARGS(l),
                 w.max, w.rms, e.max, e.rms);
}

/* Train on rank 0 alone, with which all layouts are compared. */
static void train_alone(outcome *o, const vj_config *c)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    *o = (outcome){0};
    if (rank == 0) train(o, c, MPI_COMM_SELF);
}

static void every_layout_takes_the_same_steps(void **state)
{
    (void)state;
    static vj_config c;
    int rank, size;
    outcome alone, got;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    layout_config(&c, (layout){.ranks = 1, .tensor = 1}, DEPTH, 4);
    train_alone(&alone, &c);
    for (int tensor = 1; tensor <= size; tensor++)
        for (int kind = 0; kind < 4 && size % tensor == 0; kind++) {
            const layout l = {size, tensor, kind & 1, kind & 2};
            if ((l.sequence && tensor == 1) || (l.zero && tensor == size)) continue; /* the same as without */
            layout_config(&c, l, DEPTH, 4);
            train(&got, &c, MPI_COMM_WORLD);
            if (rank == 0) check(l, &got, &alone);
            release(&got);
        }
    release(&alone);
}

static void same_bits(const outcome *one, const outcome *two)
{
    assert_memory_equal(one->loss, two->loss, sizeof one->loss);
    assert_memory_equal(one->norm, two->norm, sizeof one->norm);
    assert_memory_equal(one->weights, two->weights, (size_t)one->elements * sizeof(float));
    assert_memory_equal(one->target, two->target, (size_t)one->encoder * sizeof(float));
}

/* Check that a layout gives the same bits when it is run again, with any kind of recomputation, and on memory that the
 * host cannot access. */
static void the_same_layout_gives_the_same_bits(void **state)
{
    (void)state;
    static vj_config c;
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int sequence = 0; sequence < 2; sequence++) {
        outcome first, again;
        for (int r = 0; r < 4; r++) { /* twice as it is, then with each kind of recomputation */
            layout_config(&c, (layout){.ranks = size, .tensor = size, .sequence = sequence}, DEPTH, 4);
            c.train.recompute = r > 1 ? r - 1 : 0;
            if (c.train.recompute == VJ_RECOMPUTE_BLOCK) strcpy(c.train.backend, "strict");
            train(r == 0 ? &first : &again, &c, MPI_COMM_WORLD);
            if (r == 0) continue;
            same_bits(&first, &again);
            release(&again);
        }
        release(&first);
    }
}

/* Check that training in bf16 is close: the products of the ranks are the same, but their sums and what is rounded to
 * bf16 differ a little. */
static void bf16_is_close(void **state)
{
    (void)state;
    static vj_config c;
    int rank, size;
    outcome alone, got;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    layout_config(&c, (layout){.ranks = 1, .tensor = 1}, DEPTH, 4);
    strcpy(c.train.precision, "bf16");
    train_alone(&alone, &c);
    for (int sequence = 0; sequence < 2; sequence++) {
        const layout l = {.ranks = size, .tensor = size, .sequence = sequence};
        layout_config(&c, l, DEPTH, 4);
        strcpy(c.train.precision, "bf16");
        train(&got, &c, MPI_COMM_WORLD);
        for (int k = 0; rank == 0 && k < STEPS; k++) near(l, "loss", got.loss[k], alone.loss[k], 2e-3 * alone.loss[k]);
        for (int part = 0; rank == 0 && part < 2; part++)
            near(l, "norm", got.norm[0][part], alone.norm[0][part], 1e-2 * alone.norm[0][part]);
        release(&got);
    }
    release(&alone);
}

/* Check exchanges in pieces, through host views of a backend that has small ones, or from device to device: a piece has
 * rows of several ranks, or the rows of a rank are in several pieces. Sums of small integers are exact in any order. */
static void exchange_by(const char *backend, int64_t rows, int64_t columns)
{
    const int64_t all = rows * columns, bytes = all * (int64_t)sizeof(float);
    vj_layout l;
    vj_tensor *t;
    vj_backend *be;
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    assert_int_equal(vj_layout_open(&l, MPI_COMM_WORLD, size), VJ_OK);
    assert_int_equal(vj_tensor_open(&t, &l, true), VJ_OK);
    assert_int_equal(vj_backend_open_at(&be, backend, VJ_FP32, 1, l.rank), VJ_OK);
    assert_int_equal(vj_tensor_use_device(t, be, &l), VJ_OK);
    assert_true(!t->device == !vj_device_shares(be));
    float *x = vj_device_alloc(be, bytes), *host = malloc((size_t)bytes);
    assert_true(x && host);
    const float scale = (float)(size * (size + 1) / 2);
    for (int what = 0; what < 3; what++) {
        int64_t first = 0, last = rows;
        for (int64_t i = 0; i < all; i++) host[i] = (float)((i % 1009) * (l.rank + 1));
        vj_upload(be, x, host, bytes);
        if (what == 0) vj_tensor_sum(t, be, x, all);
        if (what > 0) vj_tensor_sum_rows(t, be, x, rows, (int)columns);
        if (what == 2) vj_tensor_gather_rows(t, be, vj_f32(x), rows, (int)columns);
        if (what == 1) vj_split(rows, size, l.rank, &first, &last);
        vj_download(be, host, x, bytes);
        for (int64_t i = first * columns; i < last * columns; i++)
            if (host[i] != (float)(i % 1009) * scale)
                fail_msg("%s, exchange %d, element %lld: %g", backend, what, (long long)i, (double)host[i]);
    }
    assert_int_equal(vj_sync(be), VJ_OK);
    free(host);
    vj_device_free(be, x);
    vj_tensor_close(t);
    vj_backend_close(be);
    vj_layout_close(&l);
}

static void exchanges_of_more_than_a_view(void **state)
{
    (void)state;
    enum { ROWS = 4099, COLUMNS = 2050 };
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size == 1) skip();
    assert_true((int64_t)ROWS * COLUMNS * 4 > VJ_MAP_BYTES);
    exchange_by("strict", ROWS, COLUMNS);
}

/* Check exchanges from device to device, also of less than a piece, of which a rank may have nothing. */
static void exchanges_from_device_to_device(void **state)
{
    (void)state;
    enum { COLUMNS = 2048 };
    const char *backend = getenv("VJ_TEST_BACKEND");
    int size;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (!backend || size == 1) skip();
    exchange_by(backend, VJ_TENSOR_PIECE / COLUMNS + 3, COLUMNS);
    exchange_by(backend, 5, 3);
    exchange_by(backend, 1, 2);
}

/* Check that a rank's weights shrink with the size of the group, and with parallel.tensor_sequence its activations too.
 */
static void memory_shrinks(void **state)
{
    (void)state;
    static vj_config c;
    int size;
    int64_t arena[2], weights[2];
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int divided = 0; divided < 2; divided++) {
        vj_step *s;
        layout_config(&c, (layout){size, divided ? size : 1, 1, 0}, DEPTH, 4);
        assert_int_equal(vj_step_open(&s, &c, MPI_COMM_WORLD), VJ_OK);
        weights[divided] = s->model->net.params.encoder_total;
        arena[divided] = s->model->bytes.largest;
        vj_step_close(s);
    }
    /* 12 D^2 + 7 D elements of a block are divided; aligning the beginning of a tensor takes fewer than 16 elements. */
    const double saved = DEPTH * (12.0 * WIDTH * WIDTH + 7.0 * WIDTH) * (1.0 - 1.0 / size);
    assert_true(fabs((double)(weights[0] - weights[1]) - saved) < DEPTH * 12 * 16);
    assert_true(size == 1 || arena[1] < arena[0]);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_takes_the_same_steps),
        cmocka_unit_test(the_same_layout_gives_the_same_bits),
        cmocka_unit_test(bf16_is_close),
        cmocka_unit_test(exchanges_of_more_than_a_view),
        cmocka_unit_test(exchanges_from_device_to_device),
        cmocka_unit_test(memory_shrinks),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return end_on_ranks(cmocka_run_group_tests(tests, NULL, NULL));
}
