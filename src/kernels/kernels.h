/*
 * What a model may ask of a device: the front door of the kernels. Model code knows this header and nothing else of
 * CPUs or GPUs. Behind it stand cpu/ (the definition), strict/ (cpu kernels on memory the host cannot touch between
 * kernels) and cuda/ (GPUs).
 *
 * All matrices are dense and row-major: fp32, or, where a function takes a vj_array, fp32 or bf16. "device" pointers
 * come from vj_device_alloc() of the same backend and may be dereferenced only inside kernels; index arrays (int32) are
 * device memory too. Kernels return nothing: a backend keeps its first failure and vj_sync() returns it. Sums are made
 * in a fixed order: results do not depend on the number of threads. No function here is collective.
 *
 * Precision (docs/design.md, section 3). With VJ_BF16:
 *   - the two operands of every matrix product are rounded to bf16 (nearest even) as they are read, sums are fp32; the
 *     pooling of probes alone stays in fp32. Where the processor multiplies bf16 itself, numbers below 2^-126 count as
 *     zero;
 *   - in attention the operands are q, k, v, dout, the probabilities (in forward before they are divided by their sum,
 *     which is of the unrounded ones) and the score gradients (before 1/sqrt(D/heads)). Their exponentials may have a
 *     relative error of 3e-6;
 *   - norms, softmax sums, GELU, residual stream, losses, weights, moments and gradients of weights are fp32.
 * With VJ_FP32 products are sums of products of floats. Where bf16 tiles are so fast that it pays (AMX) they are made
 * of bf16 products: each operand is the exact sum of three bf16 parts, and of the nine products of parts the six above
 * 2^-23 of the product are summed in fp32. The error is no larger than that of float multiply-adds (a test holds it to
 * that); but operands below 2^-110 lose their last bits, and infinity gives NaN. Pooling multiplies floats.
 * A vj_array of type bf16 is rounded once, as it is written, in either precision; what a function reads from one is
 * that value. Where products round to bf16 and the array is only ever their operand this changes nothing: it halves
 * memory and traffic. What is read otherwise is said at the function: column sums, dout . out, pre.
 *
 * Shape letters: R rows, D width, N tokens of a clip, K and N the input and output width of a linear layer.
 */
#ifndef VJ_KERNELS_H
#define VJ_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef enum { VJ_FP32, VJ_BF16 } vj_precision;

/* A device matrix, or none (data NULL), and how its elements are stored. */
typedef enum { VJ_TYPE_F32, VJ_TYPE_BF16 } vj_type;
typedef struct {
    void *data;
    vj_type type;
} vj_array;

static inline int64_t vj_type_bytes(vj_type type)
{
    return type == VJ_TYPE_BF16 ? 2 : 4;
}
static inline vj_array vj_f32(const float *data)
{
    const vj_array array = {(void *)(uintptr_t)data, VJ_TYPE_F32};
    return array;
}

typedef struct vj_backend vj_backend;

/* ------------------------------------------------------------------------------------------------ the device */

/* The instruction sets that the cpu's kernels are compiled for: those of x86 processors, those of ARM's, plain C. */
#define VJ_ISAS "amx", "avx512bf16", "avx512", "avx2", "sve512", "neonbf16", "neon", "portable"

/**
 * Open backend `name`: "cpu", "strict", "cuda" (if this build has it), or "auto": cuda where there is a GPU, else cpu.
 * `threads` of the host; 0 takes OpenMP's default. VJ_ISA=NAME in the environment, one of VJ_ISAS, forces one variant
 * of the cpu's kernels; asking for one the processor lacks is an error, as is a name this build does not know. Of
 * several GPUs it takes the first; vj_backend_open_at() takes number local_rank, modulo how many this process sees.
 * Free with vj_backend_close(), which also frees all device memory.
 */
vj_status vj_backend_open(vj_backend **be, const char *name, vj_precision precision, int threads);
vj_status vj_backend_open_at(vj_backend **be, const char *name, vj_precision precision, int threads, int local_rank);
void vj_backend_close(vj_backend *be);

/**
 * Who multiplies, from now on. "own": own kernels of the best instruction set (or VJ_ISA's), as after opening; the name
 * of an instruction set: own kernels of that one; "onednn", "cblas": this library in the products of linear layers,
 * fp32 only, in bf16 own kernels. Results differ in their last bits. Something this build or processor lacks is
 * VJ_ERR_USAGE and changes nothing. VJ_PRODUCTS=... in the environment forces one already when a backend is opened, and
 * this function then does nothing.
 */
vj_status vj_backend_set_products(vj_backend *be, const char *name);
const char *vj_backend_products(const vj_backend *be);

/** Could this build, on this processor, multiply with `name`? */
bool vj_products_present(const char *name);

/* How fast one of those who can multiply does. */
typedef struct {
    char name[16];   /* as vj_backend_set_products() takes it */
    char detail[48]; /* instruction set, or version of the library */
    double gflops;   /* with all threads of the backend */
} vj_product_rate;
enum { VJ_PRODUCT_CANDIDATES = 8 };

/**
 * Time all that make sense in this precision on a forward and a weight gradient's product, some tens of milliseconds:
 * "own" first, then other instruction sets that might win, in fp32 the libraries of this build, and what is set now. At
 * most `capacity` of them to `rates`, their number to *count. Leaves flops, accounts, phases and the choice as they
 * were.
 */
vj_status vj_backend_time_products(vj_backend *be, vj_product_rate *rates, int capacity, int *count);

/** bf16 products behind one product of floats, now: 6 where they are multiplied in parts (see above), else 0.
 */
int vj_backend_parts_products(const vj_backend *be);

/** Does this processor or GPU, with the kernels now in use, multiply bf16 itself, at a multiple of the speed of fp32?
 * Else products of bf16 are computed in fp32. */
bool vj_backend_multiplies_bf16(const vj_backend *be);

/**
 * Which of them "auto" takes: the fastest, if it beats the first by a tenth; else the first, since a choice by a hair
 * would differ from run to run, and with it the results.
 */
int vj_product_rates_pick(const vj_product_rate *rates, int count);

/** Is kernel variant `isa` in this build, and can this processor run it? */
bool vj_backend_isa_present(const char *isa);

/** "cpu (avx512, 2 threads, bf16)", "cpu (avx512 + onednn, 2 threads, fp32)": for the log. Owned by the backend. */
const char *vj_backend_describe(const vj_backend *be);

/* What the bits of a result depend on besides its data and its seed; the number of threads does not belong here. */
typedef struct {
    char isa[16];     /* instruction set of the own kernels */
    char library[96]; /* of fp32 products: its name, its version and the processors it chooses its kernels for; or "" */
    vj_precision precision;
} vj_kernels;

void vj_backend_kernels(const vj_backend *be, vj_kernels *kernels);
vj_precision vj_backend_precision(const vj_backend *be);
int vj_backend_threads(const vj_backend *be);
/** Products and attention round to `precision` from now on. */
void vj_backend_set_precision(vj_backend *be, vj_precision precision);

/** Device memory, 64-byte aligned, zeroed on first touch (strict: filled with NaN). NULL, reported, when out of memory.
 */
void *vj_device_alloc(vj_backend *be, int64_t bytes);
void vj_device_free(vj_backend *be, void *memory);
/** May the host touch device memory while no kernel is at work? */
bool vj_device_is_host(const vj_backend *be);
/**
 * Memory of the caller (a window that other ranks see) as device memory, until vj_device_free(); it stays the caller's.
 * Only where vj_device_is_host(). NULL, reported, when out of memory.
 */
void *vj_device_adopt(vj_backend *be, void *memory, int64_t bytes);
int64_t vj_device_bytes(const vj_backend *be);
/** Does the system take the advice to put large pieces on huge pages, whose first touch costs a twentieth? */
bool vj_device_huge_pages(const vj_backend *be);

/**
 * Host memory for what is uploaded again and again, zero at first: where a device copies faster from memory that the
 * system cannot move, it is such memory. 64-byte aligned; NULL, reported, when there is none. From any thread.
 */
void *vj_host_alloc(vj_backend *be, int64_t bytes);
void vj_host_free(vj_backend *be, void *memory);

/** vj_device_is_host() of the backend of this name, before it is opened. */
bool vj_backend_is_host(const char *name);

/** Copies between host and device. A download of a MiB or more goes past the caches: results that are kept. */
void vj_upload(vj_backend *be, void *device, const void *host, int64_t bytes);
void vj_download(vj_backend *be, void *host, const void *device, int64_t bytes);
/**
 * Download a few numbers without waiting for the device: they are in `host` after the next vj_sync(). So the
 * host waits once for several. On the device the copy has its place among the kernels.
 */
void vj_download_later(vj_backend *be, void *host, const void *device, int64_t bytes);

/**
 * Begin a download to memory of vj_host_alloc(): it is there when an event recorded behind this call is done. In the
 * copy lane it runs beside the kernels.
 */
void vj_download_begin(vj_backend *be, void *host, const void *device, int64_t bytes);

/**
 * A host view of device memory, for MPI and files: the memory itself where the host can touch it, otherwise a copy of
 * at most VJ_MAP_BYTES (then written back by unmap when `mode` has VJ_MAP_WRITE). One view at a time. How long a view
 * can be: VJ_MAP_BYTES, or as long as it pleases where vj_device_is_host().
 */
enum { VJ_MAP_READ = 1, VJ_MAP_WRITE = 2, VJ_MAP_BYTES = 16 << 20 };
void *vj_map(vj_backend *be, void *device, int64_t bytes, int mode);
void vj_unmap(vj_backend *be, void *host);

/** Wait for all kernels; the first failure since the last call, if any. */
vj_status vj_sync(vj_backend *be);

/*
 * Lanes: kernels and copies of one lane run in the order of the calls; different lanes run beside one another, and
 * events order them. What is called goes into the lane that was entered last. The cpu has one lane that is always done.
 */
typedef enum {
    VJ_LANE_COMPUTE,  /* everything, unless said otherwise */
    VJ_LANE_COPY,     /* copies from and to vj_host_alloc(), in use until an event behind the copy is done */
    VJ_LANE_EXCHANGE, /* sums over ranks */
    VJ_LANE_SNAPSHOT, /* copies to vj_host_alloc() that checkpoints are written from: they take long */
    VJ_LANES
} vj_lane;
/** Enter a lane; returns the one before, to which the caller goes back. */
vj_lane vj_lane_enter(vj_backend *be, vj_lane lane);

/*
 * A place in a lane. On a device that works beside the host a call returns before its work is done. NULL where it is
 * done then: always on cpu and strict.
 */
typedef struct vj_event vj_event;
/** Here: behind all calls so far of the lane. Owned by the backend, valid until vj_sync(). */
vj_event *vj_event_record(vj_backend *be);
/** Wait until everything before the event is done; returns at once for NULL. */
void vj_event_wait(vj_backend *be, vj_event *event);
/** Is everything before the event done? Always for NULL. Does not wait. */
bool vj_event_done(vj_backend *be, vj_event *event);
/** What is called from now on in this lane runs after the event; the host does not wait. NULL: nothing to follow. */
void vj_event_follow(vj_backend *be, vj_event *event);

/*
 * Device memory and events that processes of one node share, each with its own backend on its own device. A handle is
 * plain bytes, to be sent to the others.
 */
typedef struct {
    char bytes[64];
} vj_device_handle;
/** Can this device share memory with other processes? Never on cpu and strict, which use vj_device_adopt(). */
bool vj_device_shares(const vj_backend *be);
/** The handle of memory from vj_device_alloc(). */
vj_status vj_device_share(vj_backend *be, void *memory, vj_device_handle *handle);
/** What another process shared, as device memory of this backend; vj_device_free() before the other frees it. */
vj_status vj_device_open(vj_backend *be, const vj_device_handle *handle, void **memory);
/** An event that can be recorded again and again, and its handle. Owned by the backend until it is closed. */
vj_status vj_event_share(vj_backend *be, vj_event **event, vj_device_handle *handle);
/** What another process shared; recorded by that one alone. */
vj_status vj_event_open(vj_backend *be, const vj_device_handle *handle, vj_event **event);

/**
 * An event that is valid until the backend is closed, also behind vj_sync(), not recorded yet: whoever follows it
 * follows nothing. NULL where work is done when a call returns, and, which vj_sync() tells, where there is none left.
 */
vj_event *vj_event_create(vj_backend *be);
/** Record an event of vj_event_create() or vj_event_share() here, in place of where it was. NULL: nothing to record. */
void vj_event_record_again(vj_backend *be, vj_event *event);

/** Floating-point operations of matrix products (2 per multiply-add) asked for so far. */
double vj_backend_flops(const vj_backend *be);

/* ------------------------------------------------------------------------------------------------ where time goes */

/* What a training step is doing. The model and the trainer say when one ends and the next begins. */
typedef enum {
    VJ_PHASE_DATA,      /* waiting for clips, masks, upload, patches */
    VJ_PHASE_TARGET,    /* target encoder */
    VJ_PHASE_CONTEXT,   /* context encoder */
    VJ_PHASE_PREDICTOR, /* predictor and loss */
    VJ_PHASE_BACKWARD,
    VJ_PHASE_REDUCE,    /* sums over the ranks, also those within the phases above, waiting for the slowest included */
    VJ_PHASE_OPTIMIZER, /* norms, AdamW, EMA */
    VJ_PHASE_OTHER,
    VJ_PHASES
} vj_phase;

/** "data", "target", ... Static storage. */
const char *vj_phase_name(vj_phase phase);

/** The phase before ends and is returned, `phase` begins. A new backend is in VJ_PHASE_OTHER. */
vj_phase vj_phase_enter(vj_backend *be, vj_phase phase);
/**
 * The running phase, and when it began by vj_now(). May be called from any thread while another runs kernels.
 */
vj_phase vj_phase_now(const vj_backend *be, double *began_s);
/**
 * Seconds spent in each phase since the backend was opened or reset: by the host's clock, the running one included; on
 * a device that works beside the host by its own, up to the last phase that had ended at the last vj_sync().
 */
void vj_phase_seconds(const vj_backend *be, double seconds[VJ_PHASES]);
/** Forget phases and profile; the running phase goes on from now. */
void vj_phase_reset(vj_backend *be);

/*
 * What one operation cost in one phase. On a device that works beside the host, `seconds` is the time of the launch,
 * unless VJ_PROFILE=1 in the environment makes the host wait for each.
 */
typedef struct {
    const char *name; /* "linear_forward"; static */
    vj_phase phase;
    int64_t calls;
    double seconds;
    double flops; /* of matrix products, as in vj_backend_flops() */
    double bytes; /* that must move at least: every operand read once, every result written once */
} vj_op_profile;

/** The operations used since the last reset, by phase: at most `capacity` of them to `profile`; how many there are. */
int vj_backend_profile(const vj_backend *be, vj_op_profile *profile, int capacity);

/* ------------------------------------------------------------------------------------------------ elementwise */

void vj_fill(vj_backend *be, float *x, float value, int64_t n);
void vj_copy(vj_backend *be, float *dst, const float *src, int64_t n);
/** The same for anything else. */
void vj_copy_bytes(vj_backend *be, void *dst, const void *src, int64_t bytes);
/** y = x as bf16, rounded to nearest even. */
void vj_round_bf16(vj_backend *be, uint16_t *y, const float *x, int64_t n);
/** y += x. */
void vj_add(vj_backend *be, float *y, const float *x, int64_t n);

/** y = x Phi(x), exact (erf) GELU. Absolute error below 1e-6. y may be x. */
void vj_gelu_forward(vj_backend *be, float *y, const float *x, int64_t n);
/** dx = dy * (Phi(x) + x phi(x)). dx may be dy. */
void vj_gelu_backward(vj_backend *be, float *dx, const float *dy, const float *x, int64_t n);

/* ------------------------------------------------------------------------------------------------ rows */

/** y[r] = x[index[r]]. */
void vj_gather_rows(vj_backend *be, float *y, const float *x, const int32_t *index, int64_t R, int D);
/** dx[index[r]] += dy[r], rows in ascending r (an index may repeat). */
void vj_scatter_add_rows(vj_backend *be, float *dx, const float *dy, const int32_t *index, int64_t R, int D);

/**
 * Rows of the predictor's input (docs/method.md, section 4): s[r] = table[position[r]] + (source[r] >= 0 ? u[source[r]]
 * : mask_tokens[-1 - source[r]]).
 */
void vj_predictor_input_forward(vj_backend *be, float *s, const float *u, const float *mask_tokens, const float *table,
                                const int32_t *source, const int32_t *position, int64_t R, int D);
/**
 * du[source[r]] = ds[r] for source >= 0 (each source row occurs once); dmask_tokens[i] = sum over its rows, [tokens,
 * D], added to what is there if `accumulate`.
 */
void vj_predictor_input_backward(vj_backend *be, float *du, float *dmask_tokens, const float *ds, const int32_t *source,
                                 int64_t R, int D, int tokens, int accumulate);

/* A box in the frames of a clip, and whether it is mirrored. */
typedef struct {
    int top, left, height, width;
    int flip;
} vj_crop;

/* Frames of a clip among those of others, and what of them is seen. */
typedef struct {
    int64_t at;        /* byte where they begin: u8 [T, height, width, 3] */
    int height, width; /* pixels */
    vj_crop crop;
} vj_clip_view;

/**
 * Crop, bilinear resize to size x size (half-pixel centres, no antialias), mirror, normalise (x - 255 mean)/(255 std):
 * pixels [B, 3, T, size, size] of frames, as the views [B] say. views, mean and std are host memory and are read before
 * it returns. docs/method.md, section 10.3; exact arithmetic as the data fixture.
 */
void vj_crop_clips(vj_backend *be, float *pixels, const uint8_t *frames, const vj_clip_view *views, int64_t B, int T,
                   int size, const double mean[3], const double std[3]);
/**
 * The same of one clip on host memory, with the same bits: pixels [3, T, size, size]. It is what threads of a loader
 * call where the device is the host: they crop beside the computing threads, which would have to do it inside the step.
 */
void vj_host_crop(float *pixels, const uint8_t *frames, const vj_clip_view *view, int T, int size, const double mean[3],
                  const double std[3]);

/**
 * Cut clips [B, C, T, H, W] into tubelets: patches [B*N, C*tubelet*patch*patch], N = (T/tubelet)(H/patch)(W/patch),
 * token (t*gh + y)*gw + x, values in the order (channel, dt, dy, dx). docs/method.md, section 1.
 */
void vj_patchify(vj_backend *be, float *patches, const float *clips, int64_t B, int C, int T, int H, int W, int tubelet,
                 int patch);

/** Each row minus its mean, divided by sqrt(sample variance (divisor P-1) + eps): pixel targets, docs/method.md,
 * section 16. */
void vj_normalise_rows(vj_backend *be, float *y, const float *x, int64_t R, int P, float eps);

/* ------------------------------------------------------------------------------------------------ linear */

/* A weight `w` is the fp32 master or its bf16 copy (vj_round_bf16()): in VJ_BF16 the bits are the same. */

/**
 * y = x W^T + bias + residual: y [R, N], x [R, K], w [N, K], bias [N] or NULL. `residual` NULL, or [residual_rows, N]
 * where row r of y takes residual row r mod residual_rows (R: a residual stream, which may be y itself; the tokens
 * of a clip: a position table).
 */
void vj_linear_forward(vj_backend *be, vj_array y, vj_array x, vj_array w, const float *bias, const float *residual,
                       int64_t residual_rows, int64_t R, int N, int K);

/**
 * pre = x W^T + bias, y = gelu(pre). `pre` may be none (not kept). If it is kept as bf16, y is the gelu of the rounded
 * value, so that the backward pass sees the function that was computed.
 */
void vj_linear_gelu_forward(vj_backend *be, vj_array y, vj_array pre, vj_array x, vj_array w, const float *bias,
                            int64_t R, int N, int K);

/** dx = dy W: dx [R, K], dy [R, N], w [N, K]. */
void vj_linear_backward_input(vj_backend *be, vj_array dx, vj_array dy, vj_array w, int64_t R, int N, int K);

/**
 * dpre = (dy W) * gelu'(pre): through a linear layer whose input was gelu(pre). dpre, pre [R, K]; dpre may be pre.
 * `hidden` [R, K] gets gelu(pre) once more, with the bits that forward gave, for the weight's gradient, so that forward
 * need not keep it; or none.
 */
void vj_linear_gelu_backward_input(vj_backend *be, vj_array dpre, vj_array hidden, vj_array dy, vj_array w,
                                   vj_array pre, int64_t R, int N, int K);

/**
 * dw = dy^T x [N, K] and dbias = column sums of dy [N] (NULL: not wanted); added to what is there if `accumulate`. The
 * column sums are of dy as it is kept, in fp32: no operand of a product.
 */
void vj_linear_backward_weight(vj_backend *be, float *dw, float *dbias, vj_array dy, vj_array x, int accumulate,
                               int64_t R, int N, int K);

/* ------------------------------------------------------------------------------------------------ layer norm */

/**
 * y = weight * (x - mean) * rstd + bias over the last axis, biased variance, rstd = 1/sqrt(variance + eps). Errors are
 * relative to a row's spread, whatever its offset. weight and bias NULL: plain normalisation. mean, rstd [R]: kept for
 * backward, or both NULL. y may be x. Ba, Kiros, Hinton 2016, eq. 3.
 */
void vj_layernorm_forward(vj_backend *be, vj_array y, float *mean, float *rstd, const float *x, const float *weight,
                          const float *bias, int64_t R, int D, float eps);
/**
 * dx = [dx +] gradient through the norm (added if `accumulate_dx`: the residual path); dweight, dbias [D] likewise by
 * `accumulate_dw`, or both NULL. dx must not be dy. `y` [R, D] gets what forward computed once more (bias is needed for
 * that alone), so that forward need not keep it for the layer behind; or none. It is made from the rounded mean and
 * corrected for it: as good as forward's, but its last bit may differ, and a bf16 be rounded the other way.
 */
void vj_layernorm_backward(vj_backend *be, float *dx, vj_array y, float *dweight, float *dbias, const float *dy,
                           const float *x, const float *mean, const float *rstd, const float *weight, const float *bias,
                           int accumulate_dx, int accumulate_dw, int64_t R, int D);

/* ------------------------------------------------------------------------------------------------ attention */

/*
 * Packed rows of `segments` sequences: rows offset[s] .. offset[s+1]-1 are one. What the host knows of the offsets
 * travels along, so that no call must look at the device's memory.
 */
typedef struct {
    int64_t rows, longest; /* in all, and of the longest segment */
    int segments;
    const int32_t *offset; /* device, [segments + 1] */
    double squares;        /* sum of the segments' squared lengths: the work of attention */
} vj_rows;

/** From offsets on the host, which must ascend from 0, and their copy on the device. */
vj_rows vj_rows_from(const int32_t *host_offset, const int32_t *offset, int segments);

/**
 * Self-attention inside each segment of packed rows, R of them.
 * qkv [R, 3D] = q | k | v, heads slow inside each; out [R, D] = softmax(q k^T / sqrt(D/heads)) v, heads concatenated;
 * lse [R, heads] = log-sum-exp of the scaled scores, or NULL when no backward follows. Nothing of size S x S is stored.
 */
void vj_attention_forward(vj_backend *be, vj_array out, float *lse, vj_array qkv, const vj_rows *rows, int D,
                          int heads);
/**
 * dqkv [R, 3D] is written. The row term sum(dout * out) of the softmax's gradient is computed from the stored (possibly
 * bf16) arrays.
 */
void vj_attention_backward(vj_backend *be, vj_array dqkv, vj_array dout, vj_array qkv, vj_array out, const float *lse,
                           const vj_rows *rows, int D, int heads);

/**
 * One learned query per head over the tokens of each clip, keys and values folded away (the attentive probe with one
 * query): score[b,h,n] = x[b,n] . query[h] (softmax scale and key projection already folded into query [heads, D]),
 * prob = softmax over n, pooled[b,h] = sum_n prob x[b,n]. x [B, N, D], prob [B, heads, N], pooled [B, heads, D]. Always
 * in fp32.
 */
void vj_pool_forward(vj_backend *be, float *pooled, float *prob, const float *x, const float *query, int64_t B,
                     int64_t N, int D, int heads);
/** dquery [heads, D] written from dpooled [B, heads, D]; no gradient to x (it is frozen). */
void vj_pool_backward(vj_backend *be, float *dquery, const float *dpooled, const float *pooled, const float *prob,
                      const float *x, int64_t B, int64_t N, int D, int heads);

/* ------------------------------------------------------------------------------------------------ probes */

/** x *= factor. */
void vj_scale(vj_backend *be, float *x, float factor, int64_t n);

/**
 * Sums that do not depend on their order: sums[i] += x[i] units, to the nearest integer (a tie to the even one), and
 * back: x[i] = sums[i] / units / count, in double, rounded. Values whose integers leave the range are undefined.
 */
void vj_add_units(vj_backend *be, int64_t *sums, const float *x, double units, int64_t n);
void vj_mean_of_units(vj_backend *be, float *x, const int64_t *sums, double units, int64_t count, int64_t n);

/**
 * Mean over B clips of the cross-entropy of logits [B, classes] for labels (device, [B], each in [0, classes)): *loss
 * (double, device) written; dlogits its gradient.
 */
void vj_softmax_loss(vj_backend *be, double *loss, float *dlogits, const float *logits, const int32_t *labels,
                     int64_t B, int classes);

/** mean [B, D] over the tokens of x [B, N, D], summed in double, and dx from dmean. */
void vj_mean_tokens(vj_backend *be, float *mean, const float *x, int64_t B, int64_t N, int D);
void vj_mean_tokens_backward(vj_backend *be, float *dx, const float *dmean, int64_t B, int64_t N, int D);
/** The same on host memory, with the same bits. */
void vj_host_mean_tokens(float *mean, const float *x, int64_t B, int64_t N, int D);

/** heads_apart [heads, B, D/heads] = x [B, D]; and y [B, D] = row [D] + heads_apart. */
void vj_split_heads(vj_backend *be, float *heads_apart, const float *x, int64_t B, int D, int heads);
void vj_join_heads(vj_backend *be, float *y, const float *heads_apart, const float *row, int64_t B, int D, int heads);

/** y = gain x for each of R rows of width D; backward writes dx and adds to dgain. */
void vj_fold_gain(vj_backend *be, float *y, const float *x, const float *gain, int R, int D);
void vj_fold_gain_backward(vj_backend *be, float *dx, float *dgain, const float *dy, const float *x, const float *gain,
                           int R, int D);

/** y [heads, B, D] = gain x + bias, x [B, heads, D]; backward writes dx, dgain, dbias. */
void vj_affine_heads(vj_backend *be, float *y, const float *x, const float *gain, const float *bias, int64_t B, int D,
                     int heads);
void vj_affine_heads_backward(vj_backend *be, float *dx, float *dgain, float *dbias, const float *dy, const float *x,
                              const float *gain, int64_t B, int D, int heads);

/**
 * One query q [D] attends to the tokens of each clip, softmax in double: kv [B, N, 2D] = k | v, prob [B, heads, N],
 * y [B, D] = row [D] + what is attended to. Backward: dq [B, D] of each clip, dkv.
 */
void vj_query_attention_forward(vj_backend *be, float *y, float *prob, const float *q, const float *kv,
                                const float *row, int64_t B, int64_t N, int D, int heads);
void vj_query_attention_backward(vj_backend *be, float *dq, float *dkv, const float *dy, const float *prob,
                                 const float *q, const float *kv, int64_t B, int64_t N, int D, int heads);

/* ------------------------------------------------------------------------------------------------ losses */

/**
 * L = sum_r weight[r] sum_d |pred[r,d] - target[target_row[r],d]|^e / e, e = `exponent` >= 1; loss[group[r]] (double,
 * device, [groups], added to what is there) gets its rows' shares; dpred [R, D] = dL/dpred (0 where the difference is
 * 0), or NULL. docs/method.md, section 6.
 */
void vj_prediction_loss(vj_backend *be, double *loss, float *dpred, const float *pred, const float *target,
                        const int32_t *target_row, const float *weight, const int32_t *group, int64_t R, int D,
                        double exponent);

/**
 * Spread penalty of docs/method.md, section 6 on packed predictions, segment (i*B + b) = mask i of clip b, [masks*B +
 * 1] offsets: S[b,d] = mean over masks of sqrt(sample variance over tokens + 1e-4), the variance of fewer than two
 * tokens being 0; penalty (double, device, added) = scale * sum_{b,d} relu(1 - S). With dpred not NULL its gradient is
 * added to dpred.
 */
void vj_spread_penalty(vj_backend *be, double *penalty, float *dpred, const float *pred, const int32_t *offset,
                       int masks, int64_t B, int D, double scale);

/* ------------------------------------------------------------------------------------------------ sums and update */

/* Elements [offset, offset + count) of a vector. */
typedef struct {
    int64_t offset, count;
} vj_span;

/**
 * sums[i] (double, device) = sum of squares of span i of x, in double; 0 for an empty one. The spans are read before it
 * returns.
 */
void vj_sum_squares_many(vj_backend *be, double *sums, const float *x, const vj_span *spans, int64_t count);
/** *sum (double, device) = sum of squares of x, in double. */
void vj_sum_squares(vj_backend *be, double *sum, const float *x, int64_t n);

/** packed = spans of x, one behind the other, and back. The spans are read before it returns. */
void vj_pack_spans(vj_backend *be, float *packed, const float *x, const vj_span *spans, int64_t count);
void vj_unpack_spans(vj_backend *be, float *x, const float *packed, const vj_span *spans, int64_t count);

/**
 * out = the sum of `count` arrays of n elements, in the order of base/tree_sum.h; `in` is read before it returns, its
 * arrays and out are device memory. out may be one of them.
 */
void vj_sum_arrays(vj_backend *be, float *out, const float *const *in, int count, int64_t n);

/** sums[0..D) += column sums, sums[D..2D) += column sums of squares; double, device. */
void vj_column_moments(vj_backend *be, double *sums, const float *x, int64_t R, int D);

/* What is updated: vectors with the same elements. */
typedef struct {
    float *w, *first_moment, *second_moment;
    const float *gradient;
    float *target;                        /* NULL: no moving average */
    uint16_t *rounded_w, *rounded_target; /* bf16 copies for products to read, written along; NULL: none */
} vj_adamw_vectors;

/* A piece of them, with its own rates. */
typedef struct {
    int64_t offset, count;
    double lr, weight_decay;
} vj_segment;

typedef struct {
    double beta1, beta2, eps;
    double correction1, correction2; /* 1 - beta1^t, 1 - beta2^t for update t = 1, 2, ... */
    double gradient_scale;           /* clipping factor */
    double ema;                      /* target <- ema target + (1 - ema) w */
} vj_adamw_step;

/** AdamW and EMA of `count` segments in one pass (docs/method.md, section 7). The segments are read before it returns.
 */
void vj_adamw(vj_backend *be, const vj_adamw_vectors *vectors, const vj_segment *segments, int count,
              const vj_adamw_step *step);

#endif
