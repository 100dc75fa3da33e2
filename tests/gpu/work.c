/*
 * Counts the work of a training step without computing it, by a table of kernels that only count. The backend's
 * accounts have calls, products and bytes of all kernels; this adds the shapes of products and of attention, on which
 * their time depends. tests/cuda_compile/roofline.py computes times from them.
 */
#include "gpu_check.h"

#include <stdio.h>
#include <string.h>

#include "kernels/cuda/products.h"

enum { MAX_SHAPES = 512, MAX_ROWS = 256 };

/* A call in a phase and how often it was made. Of a product's arrays it only matters which of them are given. */
typedef struct {
    enum { PRODUCT, ATTENTION_FORWARD, ATTENTION_BACKWARD } what;
    vj_phase phase;
    vj_product product;
    vj_rows rows; /* segments of attention */
    int D, heads;
    bool sums;
    int64_t calls;
} shape;

static struct {
    shape item[MAX_SHAPES];
    int count;
} shapes;

static void describe(const shape *s, char *text, size_t bytes)
{
    static const char *const finishes[] = {"plain", "gelu", "gelu_gradient"};
    const vj_product *p = &s->product;
    const char *types[] = {[VJ_TYPE_F32] = "f32", [VJ_TYPE_BF16] = "bf16"};
    if (s->what == PRODUCT)
        snprintf(text, bytes,
                 "product %s %lld %lld %lld a=%s%s b=%s%s c=%s finish=%s parts=%d tile_parts=%d"
                 "%s%s%s%s%s%s%s",
                 vj_phase_name(s->phase), (long long)p->M, (long long)p->N, (long long)p->K, types[p->a.type],
                 p->a_transposed ? ",transposed" : "", types[p->b.type], p->b_transposed ? ",transposed" : "",
                 types[p->c.type], finishes[p->finish], vj_cuda_wgmma_parts(p), vj_cuda_tile_parts(p),
                 p->accumulate ? " accumulate" : "", p->bias ? " bias" : "", p->residual ? " residual" : "",
                 p->residual && p->residual_rows < p->M ? " table" : "",
                 p->finish != VJ_FINISH_PLAIN && p->pre.data ? " pre" : "", p->hidden.data ? " hidden" : "",
                 p->sums ? " sums" : "");
    else
        snprintf(text, bytes, "attention_%s %s rows=%lld segments=%d longest=%lld squares=%.0f width=%d heads=%d%s",
                 s->what == ATTENTION_FORWARD ? "forward" : "backward", vj_phase_name(s->phase),
                 (long long)s->rows.rows, s->rows.segments, (long long)s->rows.longest, s->rows.squares,
                 s->D / s->heads, s->heads, s->sums ? " sums" : "");
}

static void count(const vj_backend *be, shape s)
{
    char text[256], other[256];
    s.phase = be->accounts.phase;
    describe(&s, text, sizeof text);
    for (int i = 0; i < shapes.count; i++) {
        describe(&shapes.item[i], other, sizeof other);
        if (strcmp(text, other) != 0) continue;
        shapes.item[i].calls++;
        return;
    }
    VJ_ASSERT(shapes.count < MAX_SHAPES);
    s.calls = 1;
    shapes.item[shapes.count++] = s;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define VJ_ROW(name, ...)                                                                                              \
    static void skip_##name(vj_backend *be, __VA_ARGS__) {}
VJ_KERNELS(VJ_ROW)
#undef VJ_ROW

static void count_product(vj_backend *be, const vj_product *product)
{
    count(be, (shape){.what = PRODUCT, .product = *product});
}
static void count_attention_forward(vj_backend *be, vj_array out, float *lse, vj_array qkv, const vj_rows *rows, int D,
                                    int heads)
{
    count(be, (shape){.what = ATTENTION_FORWARD, .rows = *rows, .D = D, .heads = heads});
}
static void count_attention_backward(vj_backend *be, vj_array dqkv, float *dbias, vj_array dout, vj_array qkv,
                                     vj_array out, const float *lse, int accumulate, const vj_rows *rows, int D,
                                     int heads)
{
    count(be, (shape){.what = ATTENTION_BACKWARD, .rows = *rows, .D = D, .heads = heads, .sums = dbias != NULL});
}
#pragma GCC diagnostic pop

void gpu_count_work(vj_backend *be)
{
    static vj_ops counting = {
#define VJ_ROW(name, ...) .name = skip_##name,
        VJ_KERNELS(VJ_ROW)
#undef VJ_ROW
    };
    counting.product = count_product;
    counting.attention_forward = count_attention_forward;
    counting.attention_backward = count_attention_backward;
    shapes.count = 0;
    be->ops = &counting;
    vj_phase_reset(be);
}

void gpu_print_work(const vj_backend *be)
{
    static vj_op_profile row[MAX_ROWS];
    char text[256];
    const int count = vj_backend_profile(be, row, MAX_ROWS);
    VJ_ASSERT(count <= MAX_ROWS);
    for (int i = 0; i < count; i++)
        printf("op %s %s calls=%lld flops=%.0f bytes=%.0f\n", row[i].name, vj_phase_name(row[i].phase),
               (long long)row[i].calls, row[i].flops, row[i].bytes);
    for (int i = 0; i < shapes.count; i++) {
        describe(&shapes.item[i], text, sizeof text);
        printf("%s calls=%lld\n", text, (long long)shapes.item[i].calls);
    }
}
