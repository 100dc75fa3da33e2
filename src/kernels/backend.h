/*
 * The inside of a backend: a device (memory, copies, waiting), a table of kernels, and counters. Private to
 * src/kernels. Read device.c and kernels.c first: they implement kernels.h: they check arguments, count operations and
 * call through these tables.
 */
#ifndef VJ_KERNELS_BACKEND_H
#define VJ_KERNELS_BACKEND_H

#include "kernels/kernels.h"

/* What is done with a product's result before it is written. */
typedef enum {
    VJ_FINISH_PLAIN,
    VJ_FINISH_GELU,         /* c = gelu(v); if pre is not none, pre = v */
    VJ_FINISH_GELU_GRADIENT /* c = v * gelu'(pre); if hidden is not none, hidden = gelu(pre). pre may be c */
} vj_finish;

/*
 * The one matrix product of the project, c = finish(A B + bias + residual [+ c]). Each linear layer is a case of it: c
 * [M, N]; a [M, K], or [K, M] if a_transposed; b [K, N], or [N, K] if b_transposed.
 */
typedef struct {
    int64_t M, N, K;
    vj_array a, b, c;
    bool a_transposed, b_transposed;
    bool accumulate;
    const float *bias;     /* [N] or NULL */
    const float *residual; /* [residual_rows, N] or NULL; may be c */
    int64_t residual_rows;
    vj_finish finish;
    vj_array pre, hidden; /* [M, N] */
    float *sums;          /* [N] or NULL: gets the sums of c's columns */
    bool add_to_sums;     /* they are added to what is there */
} vj_product;

/*
 * Kernels that convert frames to pixels, and kernels of probes. On the cpu they exist once, in cpu_crop.c and
 * cpu_probe.c, not once for each instruction set: they take little time, and in plain C their bits are the same
 * everywhere.
 */
#define VJ_PLAIN_KERNELS(ROW)                                                                                          \
    ROW(crop_clips, float *pixels, const uint8_t *frames, const vj_clip_view *views, int64_t B, int T, int size,       \
        const double *mean, const double *std)                                                                         \
    ROW(round_bf16, uint16_t *y, const float *x, int64_t n)                                                            \
    ROW(copy_spans, float *to, const float *from, const vj_span *spans, int64_t count, int unpack)                     \
    ROW(scale, float *x, float factor, int64_t n)                                                                      \
    ROW(add_units, int64_t *sums, const float *x, double units, int64_t n)                                             \
    ROW(mean_of_units, float *x, const int64_t *sums, double units, int64_t count, int64_t n)                          \
    ROW(softmax_loss, double *loss, float *dlogits, const float *logits, const int32_t *labels, int64_t B,             \
        int classes)                                                                                                   \
    ROW(mean_tokens, float *mean, const float *x, int64_t B, int64_t N, int D)                                         \
    ROW(mean_tokens_backward, float *dx, const float *dmean, int64_t B, int64_t N, int D)                              \
    ROW(split_heads, float *heads_apart, const float *x, int64_t B, int D, int heads)                                  \
    ROW(join_heads, float *y, const float *heads_apart, const float *row, int64_t B, int D, int heads)                 \
    ROW(fold_gain, float *y, const float *x, const float *gain, int R, int D)                                          \
    ROW(fold_gain_backward, float *dx, float *dgain, const float *dy, const float *x, const float *gain, int R, int D) \
    ROW(affine_heads, float *y, const float *x, const float *gain, const float *bias, int64_t B, int D, int heads)     \
    ROW(affine_heads_backward, float *dx, float *dgain, float *dbias, const float *dy, const float *x,                 \
        const float *gain, int64_t B, int D, int heads)                                                                \
    ROW(query_attention_forward, float *y, float *prob, const float *q, const float *kv, const float *row, int64_t B,  \
        int64_t N, int D, int heads)                                                                                   \
    ROW(query_attention_backward, float *dq, float *dkv, const float *dy, const float *prob, const float *q,           \
        const float *kv, int64_t B, int64_t N, int D, int heads)

/*
 * The other kernels. Each row is a name and the arguments after the backend; kernels.h describes them. The struct of
 * function pointers, the declarations and the initialisers of the tables are all generated from these lists, so a table
 * cannot have an empty entry.
 */
#define VJ_ISA_KERNELS(ROW)                                                                                            \
    ROW(fill, float *x, float value, int64_t n)                                                                        \
    ROW(add, float *y, const float *x, int64_t n)                                                                      \
    ROW(gelu_forward, float *y, const float *x, int64_t n)                                                             \
    ROW(gelu_backward, float *dx, const float *dy, const float *x, int64_t n)                                          \
    ROW(gather_rows, float *y, const float *x, const int32_t *index, int64_t R, int D)                                 \
    ROW(scatter_add_rows, float *dx, const float *dy, const int32_t *index, int64_t R, int D)                          \
    ROW(predictor_input_forward, float *s, const float *u, const float *mask_tokens, const float *table,               \
        const int32_t *source, const int32_t *position, int64_t R, int D)                                              \
    ROW(predictor_input_backward, float *du, float *dmask_tokens, const float *ds, const int32_t *source, int64_t R,   \
        int D, int tokens, int accumulate)                                                                             \
    ROW(patchify, vj_array patches, const float *clips, int64_t B, int C, int T, int H, int W, int tubelet, int patch) \
    ROW(normalise_rows, float *y, const float *x, int64_t R, int P, float eps)                                         \
    ROW(product, const vj_product *product)                                                                            \
    ROW(column_sums, float *sums, vj_array x, int accumulate, int64_t R, int D)                                        \
    ROW(layernorm_forward, vj_array y, float *mean, float *rstd, const float *x, const float *weight,                  \
        const float *bias, int64_t R, int D, float eps)                                                                \
    ROW(layernorm_backward, float *dx, vj_array copy, vj_array y, float *dweight, float *dbias, float *sums,           \
        vj_array dy, const float *x, const float *mean, const float *rstd, const float *weight, const float *bias,     \
        int accumulate_dx, int accumulate_dw, int64_t R, int D)                                                        \
    ROW(attention_forward, vj_array out, float *lse, vj_array qkv, const vj_rows *rows, int D, int heads)              \
    ROW(attention_backward, vj_array dqkv, float *dbias, vj_array dout, vj_array qkv, vj_array out, const float *lse,  \
        int accumulate, const vj_rows *rows, int D, int heads)                                                         \
    ROW(pool_forward, float *pooled, float *prob, const float *x, const float *query, int64_t B, int64_t N, int D,     \
        int heads)                                                                                                     \
    ROW(pool_backward, float *dquery, const float *dpooled, const float *pooled, const float *prob, const float *x,    \
        int64_t B, int64_t N, int D, int heads)                                                                        \
    ROW(prediction_loss, double *loss, float *dpred, const float *pred, const float *target,                           \
        const int32_t *target_row, const float *weight, const int32_t *group, int64_t R, int D, double exponent)       \
    ROW(spread_penalty, double *penalty, float *dpred, const float *pred, const int32_t *offset, int masks, int64_t B, \
        int D, double scale)                                                                                           \
    ROW(sum_squares_many, double *sums, const float *x, const vj_span *spans, int64_t count)                           \
    ROW(sum_arrays, float *out, const float *const *in, int count, int64_t n)                                          \
    ROW(column_moments, double *sums, const float *x, int64_t R, int D)                                                \
    ROW(adamw, const vj_adamw_vectors *vectors, const vj_segment *segments, int count, const vj_adamw_step *step)

#define VJ_KERNELS(ROW) VJ_ISA_KERNELS(ROW) VJ_PLAIN_KERNELS(ROW)

typedef struct {
#define VJ_ROW(name, ...) void (*name)(vj_backend * be, __VA_ARGS__);
    VJ_KERNELS(VJ_ROW)
#undef VJ_ROW
} vj_ops;

/* Operations that time is counted for: each kernel of the table, products also by what they compute, and copies between
 * host and device. */
typedef enum {
#define VJ_ROW(name, ...) VJ_OP_##name,
    VJ_KERNELS(VJ_ROW)
#undef VJ_ROW
        VJ_OP_linear_forward,
    VJ_OP_linear_gelu_forward,
    VJ_OP_linear_backward_input,
    VJ_OP_linear_gelu_backward_input,
    VJ_OP_linear_backward_weight,
    VJ_OP_transfer,
    VJ_OPS
} vj_op;

/* Time and work by operation and phase. Flops and bytes of a launch are set before it and added to its account by
 * vj_account(). */
typedef struct {
    struct {
        int64_t calls;
        double seconds, flops, bytes;
    } account[VJ_OPS][VJ_PHASES];
    double seconds[VJ_PHASES];
    vj_phase phase;
    double phase_began_s;
    double booked_flops; /* the part of be->flops that is in accounts */
    double bytes;        /* of the next launch */
} vj_accounts;

/* A piece of work, between vj_work_begin() and vj_work_end(). */
typedef struct {
    vj_work_tell *tell; /* NULL: none, or nobody is told */
    void *listener;     /* borrowed */
    double from, flops; /* be->flops at the beginning; operations expected from then on */
} vj_work;

/** Add a launch of `op` that began at `began_s` to the account of the present phase. */
void vj_account(vj_backend *be, vj_op op, double began_s);

/* One piece of device memory, in a list. */
typedef struct vj_memory_block {
    struct vj_memory_block *next;
    void *memory;
    int64_t bytes; /* usable */
    bool adopted;  /* memory of the caller (vj_device_adopt()) */
    bool shared;   /* memory of another process (vj_device_open()) */
    void *mapping; /* for the device: the mapping that `memory` is an aligned part of, and its size */
    size_t mapped;
} vj_memory_block;

/*
 * Operations of a device other than kernels. device.c keeps the list of memory blocks, counts times and makes views; it
 * calls upload, download, copy and kernels between enter and leave. Kernels and copies may return before they are done,
 * if they are done in the order of the calls and `sync` and events report when.
 */
typedef struct {
    const char *name; /* as train.backend has it */
    bool host;        /* the host may access device memory while no kernel runs */
    vj_status (*open)(
        vj_backend *be); /* threads and precision are set; sets ops and impl. Closed after a failure too */
    void (*close)(vj_backend *be);
    bool (*alloc)(vj_backend *be, vj_memory_block *block, int64_t bytes);
    void (*free)(vj_backend *be, vj_memory_block *block);
    void *(*host_alloc)(vj_backend *be, int64_t bytes); /* zeroed, 64-byte aligned; NULL, not reported; any thread */
    void (*host_free)(vj_backend *be, void *memory);
    void (*enter)(vj_backend *be); /* called before kernels and copies, leave after them; NULL: nothing to do */
    void (*leave)(vj_backend *be);
    void (*upload)(vj_backend *be, void *device, const void *host, int64_t bytes);
    void (*download)(vj_backend *be, void *host, const void *device, int64_t bytes); /* returns when it is done */
    /* Begins a download to memory of host_alloc; done after `sync` or an event. NULL: the device is the host. */
    void (*download_start)(vj_backend *be, void *host, const void *device, int64_t bytes);
    void (*copy)(vj_backend *be, void *to, const void *from, int64_t bytes); /* both on the device */
    vj_event *(*record)(vj_backend *be); /* as in kernels.h; NULL: everything is done when a call returns */
    void (*wait)(vj_backend *be, vj_event *event);
    bool (*done)(vj_backend *be, vj_event *event);
    void (*follow)(vj_backend *be, vj_event *event);
    vj_event *(*create_event)(vj_backend *be); /* NULL where `record` is */
    void (*record_again)(vj_backend *be, vj_event *event);
    /* Sharing with other processes, as in kernels.h; all NULL if the device cannot. open_shared fills in the block. */
    vj_status (*share)(vj_backend *be, void *memory, vj_device_handle *handle);
    vj_status (*open_shared)(vj_backend *be, const vj_device_handle *handle, vj_memory_block *block);
    vj_status (*share_event)(vj_backend *be, vj_event **event, vj_device_handle *handle);
    vj_status (*open_event)(vj_backend *be, const vj_device_handle *handle, vj_event **event);
    void (*sync)(vj_backend *be); /* NULL: everything is done when a call returns. Sets be->failure */
    /*
     * For asynchronous devices; both NULL on others. stamp: record on the device that phase `ended` ends here; `sync`
     * adds the time between two stamps to the phase that ended at the second. settle: called after each launch; waits
     * for it if VJ_PROFILE=1 in the environment.
     */
    void (*stamp)(vj_backend *be, vj_phase ended);
    void (*settle)(vj_backend *be);
    void (*kernels)(const vj_backend *be, vj_kernels *kernels);       /* fills in all but the precision */
    void (*describe)(const vj_backend *be, char *text, size_t bytes); /* "avx2 + onednn, 2 threads" */
    void (*set_precision)(vj_backend *be); /* be->precision was changed; NULL: nothing to do */
    /* As the functions of kernels.h: vj_backend_set_products() and the following. */
    vj_status (*set_products)(vj_backend *be, const char *name);
    const char *(*products)(const vj_backend *be);
    int (*parts_products)(const vj_backend *be);
    bool (*multiplies_bf16)(const vj_backend *be);
    vj_status (*time_products)(vj_backend *be, vj_product_rate *rates, int capacity, int *count);
} vj_device_ops;

/* A download of vj_download_later(), which vj_sync() completes. */
typedef struct {
    void *host;         /* destination */
    const void *copied; /* the data in later_room */
    int64_t bytes;
} vj_later;
enum { VJ_LATER = 4096, VJ_LATER_BYTES = 1 << 20 }; /* most downloads at a time; most bytes of all together */

extern const vj_device_ops vj_cpu_device, vj_strict_device, vj_cuda_device;

struct vj_backend {
    const vj_device_ops *device; /* borrowed */
    const vj_ops *ops;           /* borrowed; the device may change it */
    void *impl;                  /* the device's own; owned by it */
    vj_precision precision;
    vj_lane lane;
    int threads;       /* of the host */
    int local_rank;    /* chooses the device: number local_rank modulo the number of devices */
    vj_status failure; /* the first failure since vj_sync() */
    double flops;
    vj_work work;
    vj_accounts accounts;
    vj_memory_block *blocks; /* owned */
    int64_t bytes;
    void *view;        /* owned; the host copy that vj_map() returns if the host cannot access device memory */
    void *view_device; /* the device memory it is a copy of; NULL: no view */
    int64_t view_bytes;
    int view_mode;
    char *later_room; /* owned, [VJ_LATER_BYTES] of host_alloc; NULL: the device is the host */
    vj_later later[VJ_LATER];
    int later_count;
    int64_t later_bytes;
    char description[96];
};

/* Around kernels and copies. */
static inline void vj_device_enter(vj_backend *be)
{
    if (be->device->enter) be->device->enter(be);
}
static inline void vj_device_leave(vj_backend *be)
{
    if (be->device->leave) be->device->leave(be);
}

/** Keep a failure for vj_sync(), if it is the first. */
static inline void vj_keep_failure(vj_backend *be, vj_status status)
{
    if (be->failure == VJ_OK) be->failure = status;
}

#endif
