/*
 * Checks ops.h5: single operations with difficult inputs, forward and backward. Gradients are those of
 * sum(output * output_gradient). Tolerances of operations without products are from the README of the fixtures, in both
 * precisions.
 */
#include <stdio.h>
#include <string.h>

#include "parity/kinds.h"

/* The datasets that most groups share. */
typedef struct {
    const char *group;
    const vj_values *x, *output, *output_gradient;
    int64_t rows, count;
    int D; /* width: the last dimension of x */
} operation;

static bool read_operation(vj_fixture *f, operation *op, const char *group, const char *input)
{
    *op = (operation){.group = group,
                      .x = vj_fixture_array(f, "%s/%s", group, input),
                      .output = vj_fixture_array(f, "%s/output", group),
                      .output_gradient = vj_fixture_array(f, "%s/output_gradient", group)};
    if (!op->x || !op->output || !op->output_gradient) return false;
    if (op->x->ndim < 1 || op->x->count == 0) {
        vj_fixture_fail(f, op->x->name, "found nothing in it, expected [..., width]");
        return false;
    }
    op->count = op->x->count;
    op->D = (int)op->x->dim[op->x->ndim - 1];
    op->rows = op->count / op->D;
    return true;
}

/* Compare device results with the file's output, or gradient of `input`. */
static void compare(vj_fixture *f, const operation *op, const char *dataset, const float *device, int64_t count,
                    vj_tolerance tolerance)
{
    const vj_values *want = vj_fixture_array(f, "%s/%s", op->group, dataset);
    if (want) vj_fixture_compare(f, want->name, vj_fixture_download(f, device, count), count, want, tolerance);
}

static void compare_operand(vj_fixture *f, const operation *op, const char *dataset, vj_array device, int64_t count,
                            vj_tolerance tolerance)
{
    const vj_values *want = vj_fixture_array(f, "%s/%s", op->group, dataset);
    if (want) vj_fixture_compare(f, want->name, vj_fixture_download_operand(f, device, count), count, want, tolerance);
}

static void check_gelu(vj_fixture *f, const char *group)
{
    operation op;
    if (!read_operation(f, &op, group, "x") || !vj_fixture_expect_count(f, op.output_gradient, op.count)) return;
    const float *x = vj_fixture_upload(f, op.x), *dy = vj_fixture_upload(f, op.output_gradient);
    float *y = vj_fixture_device(f, op.count), *dx = vj_fixture_device(f, op.count);
    vj_gelu_forward(f->be, y, x, op.count);
    vj_gelu_backward(f->be, dx, dy, x, op.count);
    compare(f, &op, "output", y, op.count, vj_within(1e-6));
    compare(f, &op, "gradient_x", dx, op.count, vj_within(1e-6));
}

static void check_affine(vj_fixture *f, const char *group)
{
    operation op;
    const vj_values *w = vj_fixture_array(f, "%s/w", group), *b = vj_fixture_array(f, "%s/b", group);
    if (!read_operation(f, &op, group, "x") || !w || !b) return;
    const int N = (int)b->count, K = op.D;
    if (!vj_fixture_expect(f, w, 2, (const int64_t[]){N, K}) ||
        !vj_fixture_expect_count(f, op.output_gradient, op.rows * N))
        return;
    const float *weight = vj_fixture_upload(f, w), *bias = vj_fixture_upload(f, b);
    const vj_array x = vj_fixture_upload_operand(f, vj_fixture_floats(f, op.x), op.count);
    const vj_array dy = vj_fixture_upload_operand(f, vj_fixture_floats(f, op.output_gradient), op.rows * N);
    const vj_array y = vj_fixture_operand(f, op.rows * N), dx = vj_fixture_operand(f, op.count);
    float *dw = vj_fixture_device(f, w->count), *db = vj_fixture_device(f, N);
    vj_linear_forward(f->be, y, x, vj_f32(weight), bias, NULL, 0, op.rows, N, K);
    vj_linear_backward_input(f->be, dx, dy, vj_f32(weight), op.rows, N, K);
    vj_linear_backward_weight(f->be, dw, db, dy, x, 0, op.rows, N, K);
    const vj_tolerance tolerance = vj_fixture_tolerance(f, VJ_TOL_LINEAR);
    compare_operand(f, &op, "output", y, op.rows * N, tolerance);
    compare_operand(f, &op, "gradient_x", dx, op.count, tolerance);
    compare(f, &op, "gradient_w", dw, w->count, tolerance);
    compare(f, &op, "gradient_b", db, N, tolerance);
}

/* Check a layer norm with gain and bias, or `plain`. */
static void check_norm(vj_fixture *f, const char *group, bool plain)
{
    operation op;
    double eps;
    if (!read_operation(f, &op, group, "x") || !vj_fixture_expect_count(f, op.output_gradient, op.count) ||
        !vj_fixture_number_within(f, group, "eps", &eps, 0, 1))
        return;
    const vj_values *w = plain ? NULL : vj_fixture_array(f, "%s/w", group);
    const vj_values *b = plain ? NULL : vj_fixture_array(f, "%s/b", group);
    if (!plain && (!vj_fixture_expect_count(f, w, op.D) || !vj_fixture_expect_count(f, b, op.D))) return;
    const float *x = vj_fixture_upload(f, op.x), *dy = vj_fixture_upload(f, op.output_gradient);
    const float *weight = w ? vj_fixture_upload(f, w) : NULL, *bias = b ? vj_fixture_upload(f, b) : NULL;
    float *y = vj_fixture_device(f, op.count), *dx = vj_fixture_device(f, op.count);
    float *mean = vj_fixture_device(f, op.rows), *rstd = vj_fixture_device(f, op.rows);
    float *dw = plain ? NULL : vj_fixture_device(f, op.D), *db = plain ? NULL : vj_fixture_device(f, op.D);
    vj_layernorm_forward(f->be, vj_f32(y), mean, rstd, x, weight, bias, op.rows, op.D, (float)eps);
    vj_layernorm_backward(f->be, dx, (vj_array){0}, (vj_array){0}, dw, db, NULL, vj_f32(dy), x, mean, rstd, weight,
                          NULL, 0, 0, op.rows, op.D);
    /* Rows with a spread of 1e-4 are divided by it: gradients reach thousands, so errors are relative to the largest.
     */
    const vj_tolerance forward = vj_within(5e-4), backward = {.of_largest = 1e-4};
    compare(f, &op, "output", y, op.count, forward);
    compare(f, &op, "gradient_x", dx, op.count, backward);
    if (plain) return;
    compare(f, &op, "gradient_w", dw, op.D, forward);
    compare(f, &op, "gradient_b", db, op.D, forward);
}

/* Check the loss, which is the mean of |z - h|^e / e over all elements. */
static void check_loss(vj_fixture *f, const char *group, double exponent)
{
    operation op;
    const vj_values *h = vj_fixture_array(f, "%s/h", group);
    if (!read_operation(f, &op, group, "z") || !vj_fixture_expect_count(f, h, op.count) ||
        !vj_fixture_expect_count(f, op.output_gradient, 1))
        return;
    const double scale = op.output_gradient->value[0];
    int32_t *row = vj_fixture_take(f, op.rows * (int64_t)sizeof *row);
    int32_t *mask = vj_fixture_take(f, op.rows * (int64_t)sizeof *mask);
    for (int64_t r = 0; r < op.rows; r++) row[r] = (int32_t)r;
    const float *z = vj_fixture_upload(f, op.x), *target = vj_fixture_upload(f, h);
    const int32_t *target_row = vj_fixture_upload_int32s(f, row, op.rows);
    const int32_t *group_of_row = vj_fixture_upload_int32s(f, mask, op.rows);
    float *weight = vj_fixture_device(f, op.rows), *dz = vj_fixture_device(f, op.count);
    double *loss = (double *)vj_fixture_device(f, 2);
    vj_fill(f->be, weight, (float)(scale / (double)op.count), op.rows);
    vj_fill(f->be, (float *)loss, 0.0f, 2);
    vj_prediction_loss(f->be, loss, dz, z, target, target_row, weight, group_of_row, op.rows, op.D, exponent);
    const double got = vj_fixture_download_doubles(f, loss, 1)[0] / scale;
    vj_fixture_compare(f, op.output->name, &got, 1, op.output, vj_within(1e-6));
    compare(f, &op, "gradient_z", dz, op.count, vj_within(1e-6));
}

/* The output in the fixture is the penalty of z / 2, which its README does not mention; with z most columns would be
 * inactive. */
static void check_spread(vj_fixture *f, const char *group)
{
    operation op;
    if (!read_operation(f, &op, group, "z") || !vj_fixture_expect_count(f, op.output_gradient, 1)) return;
    if (op.x->ndim != 3) {
        vj_fixture_fail(f, op.x->name, "found another number of dimensions, expected [clips, tokens, width]");
        return;
    }
    const int64_t clips = op.x->dim[0], tokens = op.x->dim[1];
    const double scale = op.output_gradient->value[0], half = 0.5;
    float *halves = vj_fixture_floats(f, op.x);
    for (int64_t i = 0; i < op.count; i++) halves[i] *= (float)half;
    int32_t *ends = vj_fixture_take(f, (clips + 1) * (int64_t)sizeof *ends);
    for (int64_t b = 0; b <= clips; b++) ends[b] = (int32_t)(b * tokens);
    const int32_t *offset = vj_fixture_upload_int32s(f, ends, clips + 1);
    float *z = vj_fixture_device(f, op.count), *dz = vj_fixture_device(f, op.count);
    double *penalty = (double *)vj_fixture_device(f, 2);
    vj_upload(f->be, z, halves, op.count * (int64_t)sizeof *z);
    vj_fill(f->be, dz, 0.0f, op.count);
    vj_fill(f->be, (float *)penalty, 0.0f, 2);
    vj_spread_penalty(f->be, penalty, dz, z, offset, 1, clips, op.D, half * scale / (double)(clips * op.D));
    const double got = vj_fixture_download_doubles(f, penalty, 1)[0] / (half * scale);
    vj_fixture_compare(f, op.output->name, &got, 1, op.output, vj_within(1e-6));
    compare(f, &op, "gradient_z", dz, op.count, vj_within(1e-6));
}

vj_status vj_parity_ops(vj_fixture *f)
{
    const vj_names groups = vj_fixture_children(f, "/");
    for (int i = 0; i < groups.count; i++) {
        const char *group = groups.name[i];
        double exponent;
        if (strcmp(group, "gelu") == 0)
            check_gelu(f, group);
        else if (strcmp(group, "affine") == 0)
            check_affine(f, group);
        else if (strncmp(group, "layer_norm", 10) == 0)
            check_norm(f, group, false);
        else if (strncmp(group, "plain_norm", 10) == 0)
            check_norm(f, group, true);
        else if (sscanf(group, "loss_exp%lf", &exponent) == 1)
            check_loss(f, group, exponent);
        else if (strcmp(group, "spread_penalty") == 0)
            check_spread(f, group);
        else if (strncmp(group, "attention", 9) == 0)
            vj_parity_attention(f, group);
        else
            vj_fixture_fail(f, group, "found an operation of this name, expected one that this release knows");
    }
    return vj_sync(f->be);
}
