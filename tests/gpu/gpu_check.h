/* The parts of gpu-check: each prints what it measures with its unit and returns the program's exit code. */
#ifndef VJ_TESTS_GPU_CHECK_H
#define VJ_TESTS_GPU_CHECK_H

#include "kernels/kernels.h"

/** Rates of a plain copy, of matrix products and of GELU. `small`: for the emulated GPU. */
int gpu_ceilings(bool small);

/** Rates of a training step's products by each who can multiply. `small`: for the emulated GPU. */
int gpu_products(bool small);

/** Whether products and attention by wgmma, which the backend tries before it uses them, are right on this GPU. If even
 * the trial makes the GPU fail, which is then lost to this process, the exit code is GPU_LOST. */
enum { GPU_LOST = 3 };
int gpu_trial(void);

/** The kernels of "cuda" against those of "cpu", and twice with equal bits: all, or those that the check `name` has.
 * `small`: only small shapes. */
int gpu_kernels(const char *name, bool small);

/** Three training steps of a tiny network, in both precisions: loss and gradient against the cpu kernels' ones. */
int gpu_model(void);

/**
 * Training steps of the network `name` (L224, H224, H384, tiny) in bf16. `recompute`: none, attention, block, or NULL
 * for what the published configuration does. `profile`: by operation too, each launch waited for.
 */
int gpu_step(const char *name, const char *recompute, bool profile);

/** What one such step asks of the backend, as tests/cuda_compile/roofline.py reads it: nothing is computed. */
int gpu_work(const char *name, const char *recompute);

/** From here on kernels of the backend only count (work.c). */
void gpu_count_work(vj_backend *be);
/** Lines "op NAME PHASE ..." of all kernels, "product ..." and "attention_..." with their shapes. */
void gpu_print_work(const vj_backend *be);

#endif
