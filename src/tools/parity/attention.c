/*
 * Checks the attention groups of ops.h5. There some tokens have queries, and others have keys and values, while in our
 * kernel all rows of a segment attend to all rows. So each segment holds all keys of a clip, and a clip gets as many
 * segments as its queries need rows. Rows without a query get no output gradient, and gradients of keys and values are
 * summed over the segments of a clip.
 */
#include <string.h>

#include "parity/kinds.h"

typedef struct {
    int64_t B, heads, queries, keys, d;
    int64_t pieces;  /* segments of a clip */
    int64_t rows, D; /* of the packed matrices */
} attention;

/* Return the packed row of a query of a clip; key_row(): of a key of a clip in one of its segments. */
static int64_t query_row(const attention *a, int64_t b, int64_t q)
{
    return (b * a->pieces + q / a->keys) * a->keys + q % a->keys;
}

static int64_t key_row(const attention *a, int64_t b, int64_t piece, int64_t k)
{
    return (b * a->pieces + piece) * a->keys + k;
}

/* Return the index in qkv where head h of a part (0 query, 1 key, 2 value) begins in a row. */
static int64_t qkv_at(const attention *a, int64_t row, int part, int64_t h)
{
    return (row * 3 + part) * a->D + h * a->d;
}

static float *pack_inputs(vj_fixture *f, const attention *a, const vj_values *const input[3])
{
    float *qkv = vj_fixture_take(f, a->rows * 3 * a->D * (int64_t)sizeof *qkv);
    for (int64_t b = 0; b < a->B; b++)
        for (int64_t h = 0; h < a->heads; h++) {
            for (int64_t q = 0; q < a->queries; q++)
                for (int64_t i = 0; i < a->d; i++)
                    qkv[qkv_at(a, query_row(a, b, q), 0, h) + i] =
                        (float)input[0]->value[((b * a->heads + h) * a->queries + q) * a->d + i];
            for (int64_t piece = 0; piece < a->pieces; piece++)
                for (int64_t k = 0; k < a->keys; k++)
                    for (int64_t i = 0; i < a->d; i++)
                        for (int part = 1; part < 3; part++)
                            qkv[qkv_at(a, key_row(a, b, piece, k), part, h) + i] =
                                (float)input[part]->value[((b * a->heads + h) * a->keys + k) * a->d + i];
        }
    return qkv;
}

static void compare_outputs(vj_fixture *f, const attention *a, const vj_values *want, const double *out,
                            vj_tolerance tolerance)
{
    double *got = vj_fixture_take(f, a->B * a->queries * a->D * (int64_t)sizeof *got);
    for (int64_t b = 0; b < a->B; b++)
        for (int64_t q = 0; q < a->queries; q++)
            memcpy(got + (b * a->queries + q) * a->D, out + query_row(a, b, q) * a->D, (size_t)a->D * sizeof *got);
    vj_fixture_compare(f, want->name, got, a->B * a->queries * a->D, want, tolerance);
}

static void compare_gradients(vj_fixture *f, const attention *a, const char *group, const double *dqkv,
                              vj_tolerance tolerance)
{
    static const char *const name[3] = {"q", "k", "v"};
    for (int part = 0; part < 3; part++) {
        const int64_t tokens = part == 0 ? a->queries : a->keys, count = a->B * a->heads * tokens * a->d;
        double *got = vj_fixture_take(f, count * (int64_t)sizeof *got);
        for (int64_t b = 0; b < a->B; b++)
            for (int64_t h = 0; h < a->heads; h++)
                for (int64_t n = 0; n < tokens; n++)
                    for (int64_t i = 0; i < a->d; i++) {
                        double *sum = &got[((b * a->heads + h) * tokens + n) * a->d + i];
                        if (part == 0) *sum = dqkv[qkv_at(a, query_row(a, b, n), 0, h) + i];
                        for (int64_t piece = 0; part > 0 && piece < a->pieces; piece++)
                            *sum += dqkv[qkv_at(a, key_row(a, b, piece, n), part, h) + i];
                    }
        const vj_values *want = vj_fixture_array(f, "%s/gradient_%s", group, name[part]);
        if (want) vj_fixture_compare(f, want->name, got, count, want, tolerance);
    }
}

static bool fits(vj_fixture *f, const vj_values *const input[3], const vj_values *output,
                 const vj_values *output_gradient)
{
    const vj_values *q = input[0], *k = input[1];
    if (!q || !k) return false;
    for (int i = 0; i < 2; i++)
        if (input[i]->ndim != 4 || input[i]->count == 0) {
            vj_fixture_fail(f, input[i]->name, "found another shape, expected [clips, heads, tokens, head width]");
            return false;
        }
    return vj_fixture_expect(f, k, 4, (const int64_t[]){q->dim[0], q->dim[1], k->dim[2], q->dim[3]}) &&
           vj_fixture_expect(f, input[2], 4, k->dim) && vj_fixture_expect_count(f, output, q->count) &&
           vj_fixture_expect_count(f, output_gradient, q->count);
}

void vj_parity_attention(vj_fixture *f, const char *group)
{
    const vj_values *input[3] = {vj_fixture_array(f, "%s/q", group), vj_fixture_array(f, "%s/k", group),
                                 vj_fixture_array(f, "%s/v", group)};
    const vj_values *output = vj_fixture_array(f, "%s/output", group);
    const vj_values *output_gradient = vj_fixture_array(f, "%s/output_gradient", group);
    if (!fits(f, input, output, output_gradient)) return;
    const int64_t *dim = input[0]->dim, keys = input[1]->dim[2], pieces = (dim[2] + keys - 1) / keys;
    const attention a = {.B = dim[0],
                         .heads = dim[1],
                         .queries = dim[2],
                         .keys = keys,
                         .d = dim[3],
                         .pieces = pieces,
                         .rows = dim[0] * pieces * keys,
                         .D = dim[1] * dim[3]};
    const int segments = (int)(a.B * a.pieces);

    float *host_dout = vj_fixture_take(f, a.rows * a.D * (int64_t)sizeof *host_dout);
    for (int64_t b = 0; b < a.B; b++)
        for (int64_t q = 0; q < a.queries; q++)
            for (int64_t i = 0; i < a.D; i++)
                host_dout[query_row(&a, b, q) * a.D + i] = (float)output_gradient->value[(b * a.queries + q) * a.D + i];
    int32_t *ends = vj_fixture_take(f, (segments + 1) * (int64_t)sizeof *ends);
    for (int s = 0; s <= segments; s++) ends[s] = (int32_t)(s * a.keys);

    const vj_rows rows = vj_rows_from(ends, vj_fixture_upload_int32s(f, ends, segments + 1), segments);
    const vj_array qkv = vj_fixture_upload_operand(f, pack_inputs(f, &a, input), a.rows * 3 * a.D);
    const vj_array dout = vj_fixture_upload_operand(f, host_dout, a.rows * a.D);
    const vj_array out = vj_fixture_operand(f, a.rows * a.D), dqkv = vj_fixture_operand(f, a.rows * 3 * a.D);
    float *lse = vj_fixture_device(f, a.rows * a.heads);
    vj_attention_forward(f->be, out, lse, qkv, &rows, (int)a.D, (int)a.heads);
    vj_attention_backward(f->be, dqkv, NULL, dout, qkv, out, lse, 0, &rows, (int)a.D, (int)a.heads);

    /* A very peaked softmax has large scores, whose rounding enters the exponent. */
    const bool sharp = strstr(group, "sharp");
    compare_outputs(f, &a, output, vj_fixture_download_operand(f, out, a.rows * a.D),
                    vj_fixture_tolerance(f, sharp ? VJ_TOL_SHARP_ATTENTION : VJ_TOL_ATTENTION));
    compare_gradients(f, &a, group, vj_fixture_download_operand(f, dqkv, a.rows * 3 * a.D),
                      vj_fixture_tolerance(f, sharp ? VJ_TOL_SHARP_ATTENTION_GRADIENT : VJ_TOL_ATTENTION_GRADIENT));
}
