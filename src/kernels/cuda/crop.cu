/*
 * Frames to pixels: crop, resize, mirror and normalise in one pass, with the bits of cpu_crop.c: there are no
 * multiply-adds with one rounding (mul_exact()), and positions of taps are computed in double as there.
 */
#include "kernels/cuda/lanes.cuh"

struct crop_tap {
    int low, high;
    float weight;
};
VJ_DEVICE crop_tap tap_at(int i, int size, int length)
{
    double at = (i + 0.5) * length / size - 0.5;
    if (at < 0) at = 0;
    int low = (int)at;
    if (low > length - 1) low = length - 1;
    return crop_tap{low, low + 1 < length ? low + 1 : low, (float)(at - low)};
}

/* The normalisation of each channel: (x - offset) * gain. */
struct affine {
    float offset[3], gain[3];
};

VJ_DEVICE float between(float a, float b, float weight)
{
    return a + mul_exact(weight, b - a);
}

/* A thread computes one position of the image (x), in all channels of the frames of its block (y), of one clip (z). */
enum { CROP_FRAMES = 4 };
__global__ void __launch_bounds__(THREADS)
    crop_kernel(float *__restrict__ pixels, const uint8_t *__restrict__ frames, const vj_clip_view *__restrict__ views,
                int T, int size, affine normal)
{
    const int64_t place = global_thread(), image = (int64_t)size * size, plane = T * image;
    if (place >= image) return;
    const vj_clip_view view = views[blockIdx.z];
    const int i = (int)(place % size);
    const crop_tap x = tap_at(view.crop.flip ? size - 1 - i : i, size, view.crop.width);
    const crop_tap y = tap_at((int)(place / size), size, view.crop.height);
    const int64_t line = 3 * (int64_t)view.width;
    const int left = 3 * (view.crop.left + x.low), right = 3 * (view.crop.left + x.high);
    const int first = (int)blockIdx.y * CROP_FRAMES, end = first + CROP_FRAMES < T ? first + CROP_FRAMES : T;
    for (int f = first; f < end; f++) {
        const uint8_t *frame = frames + view.at + ((int64_t)f * view.height + view.crop.top) * line;
        const uint8_t *low = frame + y.low * line, *high = frame + y.high * line;
        VJ_UNROLL
        for (int c = 0; c < 3; c++) {
            const float above = between((float)low[left + c], (float)low[right + c], x.weight);
            const float below = between((float)high[left + c], (float)high[right + c], x.weight);
            pixels[(blockIdx.z * (int64_t)3 + c) * plane + f * image + place] =
                mul_exact(between(above, below, y.weight) - normal.offset[c], normal.gain[c]);
        }
    }
}

void vj_cuda_crop_clips(vj_backend *be, float *pixels, const uint8_t *frames, const vj_clip_view *views, int64_t B,
                        int T, int size, const double *mean, const double *std)
{
    const int64_t most = 16384; /* clips in a launch: limit of its grid and of the table */
    affine normal;
    for (int c = 0; c < 3; c++) {
        normal.offset[c] = (float)(255.0 * mean[c]);
        normal.gain[c] = (float)(1.0 / (255.0 * std[c]));
    }
    for (int64_t b = 0; b < B; b++) {
        const vj_crop *crop = &views[b].crop;
        VJ_ASSERT(crop->top >= 0 && crop->left >= 0 && crop->height >= 1 && crop->width >= 1 &&
                  crop->top + crop->height <= views[b].height && crop->left + crop->width <= views[b].width);
    }
    for (int64_t first = 0; first < B; first += most) {
        const int64_t clips = B - first < most ? B - first : most;
        const vj_clip_view *table =
            (const vj_clip_view *)vj_cuda_table(be, views + first, clips * (int64_t)sizeof *views);
        if (!table) return;
        const dim3 grid((unsigned)groups_of((int64_t)size * size, THREADS), (unsigned)groups_of(T, CROP_FRAMES),
                        (unsigned)clips);
        launch_blocks(be, "crop_clips", crop_kernel, grid, THREADS, 0, pixels + first * 3 * T * (int64_t)size * size,
                      frames, table, T, size, normal);
    }
}
