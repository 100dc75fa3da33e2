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
 *   - GELU is computed in fp32, between bf16 arrays to about a hundredth of their rounding;
 *   - norms, softmax sums, residual stream, losses, weights, moments and gradients of weights are fp32.
 * With VJ_FP32 products are sums of products of floats. Where bf16 tiles are fast enough for it to pay (AMX) they are
 * computed by bf16 products: each operand is the exact sum of three bf16 parts, and of the nine products of parts the
 * six above 2^-23 of the product are summed in fp32. The error is no larger than that of float multiply-adds (a test
 * checks this); but operands below 2^-110 lose their last bits, and infinity gives NaN. Pooling multiplies floats.
 * A vj_array of type bf16 is rounded once, as it is written, in either precision; what a function reads from one is
 * that value. If products round to bf16 and the array is used only as their operand, results do not change; memory and
 * traffic are halved. Other uses of such an array are noted at the functions: column sums, dout . out, pre.
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
 * Find the instruction set of the cpu's kernels, one of VJ_ISAS: the best of this processor, or the one that VJ_ISA
 * names, with the errors of vj_backend_open(). Also for what computes beside a backend.
 */
vj_status vj_backend_isa(const char **isa);

/**
 * Choose what computes matrix products from now on. "own": own kernels of the best instruction set (or of VJ_ISA), as
 * after opening; the name of an instruction set: own kernels of that one; "onednn", "cblas": that library, in products
 * of linear layers in fp32 (own kernels compute the others). Results differ in their last bits. If this build or
 * processor does not have it: VJ_ERR_USAGE, and nothing changes. VJ_PRODUCTS=NAME in the environment makes the choice
 * when a backend is opened; this function then does nothing.
 */
vj_status vj_backend_set_products(vj_backend *be, const char *name);
const char *vj_backend_products(const vj_backend *be);

/** Return whether vj_backend_set_products() accepts `name` in this build and on this processor. */
bool vj_products_present(const char *name);

/* A candidate for products, and its measured rate. */
typedef struct {
    char name[16];   /* as vj_backend_set_products() takes it */
    char detail[48]; /* instruction set, or version of the library */
    double gflops;   /* with all threads of the backend */
} vj_product_rate;
enum { VJ_PRODUCT_CANDIDATES = 8 };

/**
 * Time the candidates on the products of a forward pass and of a weight gradient, some tens of milliseconds each: "own"
 * first, then instruction sets that might be faster, in fp32 the libraries of this build, and the present choice.
 * Writes at most `capacity` of them to `rates` and their number to *count. Counts no flops and no time of phases or
 * operations, and leaves the choice as it was.
 */
vj_status vj_backend_time_products(vj_backend *be, vj_product_rate *rates, int capacity, int *count);

/** Return how many bf16 products replace one product of floats at present: 6 if operands are split into parts (see
 * above), else 0. */
int vj_backend_parts_products(const vj_backend *be);

/** Return whether the kernels in use have bf16 instructions, which are several times as fast as fp32. If not, products
 * of bf16 are computed in fp32. */
bool vj_backend_multiplies_bf16(const vj_backend *be);

/**
 * Return the index of the candidate that "auto" means: the fastest if it is at least a tenth faster than the first,
 * else the first. With a smaller margin the choice, and so the results, might differ from run to run.
 */
int vj_product_rates_pick(const vj_product_rate *rates, int count);

/** Return whether kernel variant `isa` is in this build and this processor can run it. */
bool vj_backend_isa_present(const char *isa);

/** Return the number of threads of the host that the backend was opened with. */
int vj_backend_threads(const vj_backend *be);

/** "cpu (avx512, 2 threads, bf16)", "cpu (avx512 + onednn, 2 threads, fp32)": for the log. Owned by the backend. */
const char *vj_backend_describe(const vj_backend *be);

/* All that can change the bits of a result for the same data and seed. The number of threads does not. */
typedef struct {
    char isa[16];     /* instruction set of the own kernels */
    char library[96]; /* of fp32 products: its name, its version and the processors it chooses its kernels for; or "" */
    vj_precision precision;
} vj_kernels;

void vj_backend_kernels(const vj_backend *be, vj_kernels *kernels);
vj_precision vj_backend_precision(const vj_backend *be);
/** Change the precision of products and attention. */
void vj_backend_set_precision(vj_backend *be, vj_precision precision);

/** Allocate device memory, 64-byte aligned, zero (strict: filled with NaN). NULL, reported, when out of memory. */
void *vj_device_alloc(vj_backend *be, int64_t bytes);
void vj_device_free(vj_backend *be, void *memory);
/** Return whether the host may access device memory while no kernel runs. */
bool vj_device_is_host(const vj_backend *be);
/**
 * Make memory of the caller (shared with other ranks, for example) usable as device memory, until vj_device_free(),
 * which does not free the caller's memory. Only if vj_device_is_host(). NULL, reported, when out of memory.
 */
void *vj_device_adopt(vj_backend *be, void *memory, int64_t bytes);
/** Return the bytes of device memory allocated at present. */
int64_t vj_device_bytes(const vj_backend *be);
/** Return whether the system puts large pieces of device memory on huge pages, which take a twentieth of the time when
 * they are touched first. */
bool vj_device_huge_pages(const vj_backend *be);

/**
 * Allocate host memory for repeated uploads and downloads, zero, 64-byte aligned; page-locked if the device copies
 * faster from such memory. NULL, reported, when out of memory. From any thread.
 */
void *vj_host_alloc(vj_backend *be, int64_t bytes);
void vj_host_free(vj_backend *be, void *memory);

/** vj_device_is_host() of the backend of this name, before it is opened. */
bool vj_backend_is_host(const char *name);

/** Copy between host and device. When vj_download() returns the host has the data; after vj_upload() `host` may be
 * reused, except in VJ_LANE_COPY with memory of vj_host_alloc(). Downloads of a MiB or more bypass the processor's
 * caches. */
void vj_upload(vj_backend *be, void *device, const void *host, int64_t bytes);
void vj_download(vj_backend *be, void *host, const void *device, int64_t bytes);
/**
 * Download a few numbers without waiting: they are in `host` after the next vj_sync(), so that the host waits once for
 * several downloads. The values are those after all kernels called before.
 */
void vj_download_later(vj_backend *be, void *host, const void *device, int64_t bytes);

/**
 * Begin a download to memory of vj_host_alloc(). It is complete when an event that was recorded after this call is
 * done. In VJ_LANE_COPY it runs at the same time as kernels.
 */
void vj_download_begin(vj_backend *be, void *host, const void *device, int64_t bytes);

/**
 * Return a host view of device memory, for MPI and files: the memory itself if vj_device_is_host(), of any length;
 * otherwise a copy of at most VJ_MAP_BYTES, which vj_unmap() writes back if `mode` has VJ_MAP_WRITE. Only one view may
 * exist at a time.
 */
enum { VJ_MAP_READ = 1, VJ_MAP_WRITE = 2, VJ_MAP_BYTES = 16 << 20 };
void *vj_map(vj_backend *be, void *device, int64_t bytes, int mode);
void vj_unmap(vj_backend *be, void *host);

/** Wait for all kernels and copies. Returns the first failure since the last call, or VJ_OK. */
vj_status vj_sync(vj_backend *be);

/*
 * Lanes are what CUDA calls streams: kernels and copies of one lane run in the order of the calls, different lanes run
 * concurrently, and events order them. A call goes into the lane that was entered last. On cpu and strict each call is
 * done when it returns, whatever the lane.
 */
typedef enum {
    VJ_LANE_COMPUTE,  /* everything, unless said otherwise */
    VJ_LANE_COPY,     /* copies from and to vj_host_alloc(); memory is in use until an event behind the copy is done */
    VJ_LANE_EXCHANGE, /* sums over ranks */
    VJ_LANE_SNAPSHOT, /* copies to vj_host_alloc() that checkpoints are written from: they take long */
    VJ_LANES
} vj_lane;
/** Enter a lane; returns the previous one, which the caller enters again afterwards. */
vj_lane vj_lane_enter(vj_backend *be, vj_lane lane);

/* A position in a lane, to find out whether the work before it is done. NULL: the work was done when the call returned,
 * as always on cpu and strict. */
typedef struct vj_event vj_event;
/** Record an event behind all calls so far in the lane. Owned by the backend, valid until vj_sync(). */
vj_event *vj_event_record(vj_backend *be);
/** Wait until everything before the event is done; returns at once for NULL. */
void vj_event_wait(vj_backend *be, vj_event *event);
/** Return whether everything before the event is done (true for NULL). Does not wait. */
bool vj_event_done(vj_backend *be, vj_event *event);
/** Let work that is called from now on in this lane start after the event; the host does not wait. NULL: no effect. */
void vj_event_follow(vj_backend *be, vj_event *event);

/*
 * Device memory and events that processes of one node share, each with its own backend on its own device. A handle is
 * plain bytes, to be sent to the others.
 */
typedef struct {
    char bytes[64];
} vj_device_handle;
/** Return whether this device can share its memory with other processes; false on cpu and strict, which use
 * vj_device_adopt(). */
bool vj_device_shares(const vj_backend *be);
/** Get the handle of memory from vj_device_alloc(). */
vj_status vj_device_share(vj_backend *be, void *memory, vj_device_handle *handle);
/** Open memory that another process shared. vj_device_free() it before the other process frees it. */
vj_status vj_device_open(vj_backend *be, const vj_device_handle *handle, void **memory);
/** Create an event that may be recorded any number of times, and its handle. Owned by the backend until it is closed.
 */
vj_status vj_event_share(vj_backend *be, vj_event **event, vj_device_handle *handle);
/** Open an event that another process shared; only that process may record it. */
vj_status vj_event_open(vj_backend *be, const vj_device_handle *handle, vj_event **event);

/**
 * Create an event that stays valid until the backend is closed, also after vj_sync(). Until it is first recorded,
 * following it has no effect. NULL on cpu and strict, and after a failure, which vj_sync() returns.
 */
vj_event *vj_event_create(vj_backend *be);
/** Record an event of vj_event_create() or vj_event_share() anew, behind all calls so far in the lane. NULL: no effect.
 */
void vj_event_record_again(vj_backend *be, vj_event *event);

/** Floating-point operations of matrix products (2 per multiply-add) asked for so far. */
double vj_backend_flops(const vj_backend *be);

/**
 * Begin a piece of work of about `flops` operations, counted as vj_backend_flops() does, and end it. In between, after
 * each kernel, `tell` gets the share of them that is done, from 0 to 1, and the time (vj_now()): so a program can say
 * how far a batch or microbatch is that takes minutes. It costs no more than the call: the clock is read for each
 * kernel anyway. `tell` is not called on an asynchronous device, where a kernel has not run when its call returns; nor
 * if it is NULL. One piece at a time.
 */
typedef void vj_work_tell(void *listener, double share, double now_s);
void vj_work_begin(vj_backend *be, double flops, vj_work_tell *tell, void *listener);
void vj_work_end(vj_backend *be);

/* ------------------------------------------------------------------------------------------------ where time goes */

/* The parts of a training step. The model and the trainer call vj_phase_enter() when one begins. */
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

/** Begin a phase; returns the phase that ends. A new backend is in VJ_PHASE_OTHER. */
vj_phase vj_phase_enter(vj_backend *be, vj_phase phase);
/** Return the present phase, and when it began (vj_now()). May be called from any thread while another runs kernels. */
vj_phase vj_phase_now(const vj_backend *be, double *began_s);
/**
 * Get the seconds spent in each phase since the backend was opened or reset: by the host's clock, including the present
 * phase; on an asynchronous device by the device's clock, including phases that had ended at the last vj_sync().
 */
void vj_phase_seconds(const vj_backend *be, double seconds[VJ_PHASES]);
/** Set the times of all phases and operations to zero; the present phase goes on. */
void vj_phase_reset(vj_backend *be);

/*
 * What one operation cost in one phase. On an asynchronous device `seconds` is only the time to launch the kernels,
 * unless VJ_PROFILE=1 in the environment makes the host wait after each.
 */
typedef struct {
    const char *name; /* "linear_forward"; static */
    vj_phase phase;
    int64_t calls;
    double seconds;
    double flops; /* of matrix products, as in vj_backend_flops() */
    double bytes; /* that must move at least: every operand read once, every result written once */
} vj_op_profile;

/** Write the operations used since the last reset, by phase, to `profile`, at most `capacity` of them; returns how many
 * there are. */
int vj_backend_profile(const vj_backend *be, vj_op_profile *profile, int capacity);

/* ------------------------------------------------------------------------------------------------ elementwise */

void vj_fill(vj_backend *be, float *x, float value, int64_t n);
void vj_copy(vj_backend *be, float *dst, const float *src, int64_t n);
/** The same for memory of any type. */
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
 * D], added to the present values if `accumulate`.
 */
void vj_predictor_input_backward(vj_backend *be, float *du, float *dmask_tokens, const float *ds, const int32_t *source,
                                 int64_t R, int D, int tokens, int accumulate);

/* A crop box in the frames of a clip, and whether the crop is mirrored. */
typedef struct {
    int top, left, height, width;
    int flip;
} vj_crop;

/* Where the frames of one clip are in an array of several clips, and which part of them becomes pixels. */
typedef struct {
    int64_t at;        /* byte offset of the frames: u8 [T, height, width, 3] */
    int height, width; /* pixels */
    vj_crop crop;
} vj_clip_view;

/**
 * Crop, bilinear resize to size x size (half-pixel centres, no antialias), mirror, normalise (x - 255 mean)/(255 std):
 * writes pixels [B, 3, T, size, size] from frames, as the views [B] say. views, mean and std are host memory and are
 * read before it returns. docs/method.md, section 10.3; the arithmetic is exactly that of the data fixture.
 */
void vj_crop_clips(vj_backend *be, float *pixels, const uint8_t *frames, const vj_clip_view *views, int64_t B, int T,
                   int size, const double mean[3], const double std[3]);
/**
 * The same for one clip in host memory, with the same bits: pixels [3, T, size, size]. If the device is the host, the
 * loader's threads call this, so that the computing threads do not spend time on it in a step.
 */
void vj_host_crop(float *pixels, const uint8_t *frames, const vj_clip_view *view, int T, int size, const double mean[3],
                  const double std[3]);

/**
 * Cut clips [B, C, T, H, W] into tubelets: patches [B*N, C*tubelet*patch*patch], N = (T/tubelet)(H/patch)(W/patch),
 * token (t*gh + y)*gw + x, values in the order (channel, dt, dy, dx). docs/method.md, section 1.
 */
void vj_patchify(vj_backend *be, vj_array patches, const float *clips, int64_t B, int C, int T, int H, int W,
                 int tubelet, int patch);

/** Each row minus its mean, divided by sqrt(sample variance (divisor P-1) + eps): pixel targets, docs/method.md,
 * section 16. */
void vj_normalise_rows(vj_backend *be, float *y, const float *x, int64_t R, int P, float eps);

/* ------------------------------------------------------------------------------------------------ linear */

/* A weight `w` is the fp32 master or its bf16 copy (vj_round_bf16()): in VJ_BF16 the bits are the same. */

/**
 * y = x W^T + bias + residual: y [R, N], x [R, K], w [N, K], bias [N] or NULL. `residual` is NULL or [residual_rows,
 * N], of which row r mod residual_rows is added to row r of y (residual_rows = R: a residual stream, which may be y
 * itself; = the tokens of a clip: a position table).
 */
void vj_linear_forward(vj_backend *be, vj_array y, vj_array x, vj_array w, const float *bias, const float *residual,
                       int64_t residual_rows, int64_t R, int N, int K);

/**
 * pre = x W^T + bias, y = gelu(pre). `pre` may be none (not kept). If it is kept as bf16, y is the gelu of the rounded
 * value, so that the backward pass differentiates the function that was computed. If pre is bf16, or there is no pre
 * and y is bf16, y may have an error of 2e-6 (1e-5 of itself above -4.5) before it is rounded, and the gradient one of
 * 5e-6.
 */
void vj_linear_gelu_forward(vj_backend *be, vj_array y, vj_array pre, vj_array x, vj_array w, const float *bias,
                            int64_t R, int N, int K);

/** dx = dy W: dx [R, K], dy [R, N], w [N, K]. */
void vj_linear_backward_input(vj_backend *be, vj_array dx, vj_array dy, vj_array w, int64_t R, int N, int K);

/**
 * dpre = (dy W) * gelu'(pre): backward through a linear layer whose input was gelu(pre). dpre, pre [R, K]; dpre may be
 * pre. `hidden` [R, K] or none: gets gelu(pre) recomputed with the same bits as in forward, for the weight's gradient,
 * so that forward need not keep it. `dbias` [K] or NULL: gets the column sums of dpre, the gradient of the bias in pre,
 * added to the present values if `accumulate`; whether of dpre as stored or before it was rounded is up to the backend.
 */
void vj_linear_gelu_backward_input(vj_backend *be, vj_array dpre, vj_array hidden, float *dbias, vj_array dy,
                                   vj_array w, vj_array pre, int accumulate, int64_t R, int N, int K);

/**
 * dw = dy^T x [N, K] and dbias = column sums of dy [N] (NULL: not wanted); added to the present values if `accumulate`.
 * The column sums are in fp32, of dy as stored, not rounded as an operand of a product.
 */
void vj_linear_backward_weight(vj_backend *be, float *dw, float *dbias, vj_array dy, vj_array x, int accumulate,
                               int64_t R, int N, int K);
/** dbias alone, for callers that compute dw from a bf16 copy of dy, and have dy as floats. */
void vj_linear_backward_bias(vj_backend *be, float *dbias, vj_array dy, int accumulate, int64_t R, int N);

/* ------------------------------------------------------------------------------------------------ layer norm */

/**
 * y = weight * (x - mean) * rstd + bias over the last axis, biased variance, rstd = 1/sqrt(variance + eps). Errors are
 * relative to a row's standard deviation, however large its mean. weight and bias NULL: plain normalisation. mean, rstd
 * [R]: kept for backward, or both NULL. y may be x. Ba, Kiros, Hinton 2016, eq. 3.
 */
void vj_layernorm_forward(vj_backend *be, vj_array y, float *mean, float *rstd, const float *x, const float *weight,
                          const float *bias, int64_t R, int D, float eps);
/**
 * dx = [dx +] gradient through the norm (added if `accumulate_dx`: the residual path); dweight, dbias [D] likewise by
 * `accumulate_dw`, or both NULL. dx must not be dy. `y` [R, D] or none: gets the output of forward recomputed (the only
 * use of bias), so that it need not be kept for the next layer. It is computed from the rounded mean with a correction:
 * as accurate as forward's, but the last bit may differ, so a bf16 value may be rounded the other way. `copy` [R, D] or
 * none: gets dx as bf16 too, for products that would have to round it. dy [R, D] may be of either type. `sums` [D] or
 * NULL: gets the column sums of dx, the gradient of a bias that was added to x; added by `accumulate_dw`; only with
 * dweight.
 */
void vj_layernorm_backward(vj_backend *be, float *dx, vj_array copy, vj_array y, float *dweight, float *dbias,
                           float *sums, vj_array dy, const float *x, const float *mean, const float *rstd,
                           const float *weight, const float *bias, int accumulate_dx, int accumulate_dw, int64_t R,
                           int D);

/* ------------------------------------------------------------------------------------------------ attention */

/*
 * Packed rows of `segments` sequences: rows offset[s] .. offset[s+1]-1 are sequence s. The facts about the offsets that
 * are needed on the host are kept here too, so that no call has to read device memory.
 */
typedef struct {
    int64_t rows, longest; /* in all, and of the longest segment */
    int segments;
    const int32_t *offset; /* device, [segments + 1] */
    double squares;        /* sum of the segments' squared lengths: the work of attention */
} vj_rows;

/** Make a vj_rows from offsets on the host, which must ascend from 0, and their copy on the device, `offset`. */
vj_rows vj_rows_from(const int32_t *host_offset, const int32_t *offset, int segments);

/**
 * Self-attention inside each segment of R packed rows. qkv [R, 3D] = q | k | v, each [R, heads, D/heads]; out [R, D] =
 * softmax(q k^T / sqrt(D/heads)) v, heads concatenated; lse [R, heads] = log-sum-exp of the scaled scores, or NULL when
 * no backward follows. Nothing of size S x S is stored.
 */
void vj_attention_forward(vj_backend *be, vj_array out, float *lse, vj_array qkv, const vj_rows *rows, int D,
                          int heads);
/**
 * Writes dqkv [R, 3D]. The row term sum(dout * out) of the softmax's gradient is computed from the stored (possibly
 * bf16) arrays. `dbias` [3D] or NULL: gets the column sums of dqkv, the gradient of a bias in qkv, added to the present
 * values if `accumulate`; whether of dqkv as stored or before it was rounded is up to the backend.
 */
void vj_attention_backward(vj_backend *be, vj_array dqkv, float *dbias, vj_array dout, vj_array qkv, vj_array out,
                           const float *lse, int accumulate, const vj_rows *rows, int D, int heads);

/**
 * Attention of one learned query per head over the tokens of each clip, with key and value projections folded away (the
 * attentive probe with one query): score[b,h,n] = x[b,n] . query[h] (softmax scale and key projection already folded
 * into query [heads, D]), prob = softmax over n, pooled[b,h] = sum_n prob x[b,n]. x [B, N, D], prob [B, heads, N],
 * pooled [B, heads, D]. Always in fp32.
 */
void vj_pool_forward(vj_backend *be, float *pooled, float *prob, const float *x, const float *query, int64_t B,
                     int64_t N, int D, int heads);
/** Writes dquery [heads, D] from dpooled [B, heads, D]; there is no gradient of x, which is frozen. */
void vj_pool_backward(vj_backend *be, float *dquery, const float *dpooled, const float *pooled, const float *prob,
                      const float *x, int64_t B, int64_t N, int D, int heads);

/* ------------------------------------------------------------------------------------------------ probes */

/** x *= factor. */
void vj_scale(vj_backend *be, float *x, float factor, int64_t n);

/**
 * Sums that do not depend on the order of additions: sums[i] += x[i] * units, rounded to the nearest integer (a tie to
 * the even one). The mean of `count` terms: x[i] = sums[i] / units / count, in double, then rounded. On overflow of the
 * integers the result is undefined.
 */
void vj_add_units(vj_backend *be, int64_t *sums, const float *x, double units, int64_t n);
void vj_mean_of_units(vj_backend *be, float *x, const int64_t *sums, double units, int64_t count, int64_t n);

/**
 * Mean over B clips of the cross-entropy of logits [B, classes] for labels (device, [B], each in [0, classes)): *loss
 * (double, device) written; dlogits its gradient.
 */
void vj_softmax_loss(vj_backend *be, double *loss, float *dlogits, const float *logits, const int32_t *labels,
                     int64_t B, int classes);

/** mean [B, D] over the tokens of x [B, N, D], summed in double; backward writes dx from dmean. */
void vj_mean_tokens(vj_backend *be, float *mean, const float *x, int64_t B, int64_t N, int D);
void vj_mean_tokens_backward(vj_backend *be, float *dx, const float *dmean, int64_t B, int64_t N, int D);
/** The same on host memory, with the same bits. */
void vj_host_mean_tokens(float *mean, const float *x, int64_t B, int64_t N, int D);

/** heads_apart [heads, B, D/heads] = x [B, D]; and back: y [B, D] = row [D] + heads_apart. */
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
 * One query q [D] attends to the tokens of each clip, softmax in double: kv [B, N, 2D] = k | v, prob [B, heads, N], y
 * [B, D] = row [D] + sum of prob v. Backward writes dq [B, D], one for each clip, and dkv.
 */
void vj_query_attention_forward(vj_backend *be, float *y, float *prob, const float *q, const float *kv,
                                const float *row, int64_t B, int64_t N, int D, int heads);
void vj_query_attention_backward(vj_backend *be, float *dq, float *dkv, const float *dy, const float *prob,
                                 const float *q, const float *kv, int64_t B, int64_t N, int D, int heads);

/* ------------------------------------------------------------------------------------------------ losses */

/**
 * L = sum_r weight[r] sum_d |pred[r,d] - target[target_row[r],d]|^e / e, e = `exponent` >= 1; the share of each row r
 * is added to loss[group[r]] (double, device, [groups]); dpred [R, D] = dL/dpred (0 where the difference is 0), or
 * NULL. docs/method.md, section 6.
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
 * sums[i] (double, device) = sum of squares of span i of x, in double; 0 for an empty span. The spans are host memory
 * and are read before it returns.
 */
void vj_sum_squares_many(vj_backend *be, double *sums, const float *x, const vj_span *spans, int64_t count);
/** *sum (double, device) = sum of squares of x, in double. */
void vj_sum_squares(vj_backend *be, double *sum, const float *x, int64_t n);

/** Copy the spans of x one after the other into `packed`; and back. The spans are read before it returns. */
void vj_pack_spans(vj_backend *be, float *packed, const float *x, const vj_span *spans, int64_t count);
void vj_unpack_spans(vj_backend *be, float *x, const float *packed, const vj_span *spans, int64_t count);

/**
 * out = the sum of `count` arrays of n elements, in the order of base/tree_sum.h; `in` is host memory and is read
 * before it returns; its arrays and out are device memory. out may be one of the arrays.
 */
void vj_sum_arrays(vj_backend *be, float *out, const float *const *in, int count, int64_t n);

/** sums[0..D) += column sums, sums[D..2D) += column sums of squares; double, device. */
void vj_column_moments(vj_backend *be, double *sums, const float *x, int64_t R, int D);

/* The vectors of an update; element i of each belongs to the same weight. */
typedef struct {
    float *w, *first_moment, *second_moment;
    const float *gradient;
    float *target;                        /* NULL: no moving average */
    uint16_t *rounded_w, *rounded_target; /* bf16 copies for products, written in the same pass; NULL: none */
} vj_adamw_vectors;

/* A range of elements with its own learning rate and weight decay. */
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
