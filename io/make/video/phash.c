/* Perceptual hash of a video: signs of the low frequencies of eight pictures, and their motion. */
#include "video/phash.h"

#include <math.h>
#include <stdlib.h>

#include "video/inside.h"

/* Frequencies are used in the order of the sum of both indices, without the constant; 64 of them reach index 10. */
enum { SIDE = 32, BITS = 64, FREQUENCIES = 11, FEWEST = VJ_PHASH_INSTANTS / 2 };

/* A picture is uniform if the mean distance of its luma (in 256ths) from its mean is below 1.5 levels. */
enum { FLAT = SIDE * SIDE * 256 * 3 / 2 };

void vj_phash_times(double start_s, double end_s, double times_s[VJ_PHASH_INSTANTS])
{
    for (int i = 0; i < VJ_PHASH_INSTANTS; i++)
        times_s[i] = start_s + (i + 0.5) / VJ_PHASH_INSTANTS * (end_s - start_s);
}

/* Compute the luma (BT.601) minus its mean, in 256ths of a level. Returns the sum of the absolute values. */
static int32_t centred_luma(const uint8_t *rgb, int32_t luma[SIDE][SIDE], int32_t *mean)
{
    int32_t sum = 0, deviation = 0;
    for (int i = 0; i < SIDE * SIDE; i++, rgb += 3)
        sum += luma[i / SIDE][i % SIDE] = 77 * rgb[0] + 150 * rgb[1] + 29 * rgb[2];
    *mean = sum / (SIDE * SIDE);
    for (int i = 0; i < SIDE * SIDE; i++) deviation += abs(luma[i / SIDE][i % SIDE] -= *mean);
    return deviation;
}

/* Uses integer arithmetic, so that the result does not depend on the processor. */
static uint64_t signs_of_frequencies(int32_t luma[SIDE][SIDE])
{
    int64_t cosine[FREQUENCIES][SIDE], across[SIDE][FREQUENCIES] = {{0}};
    for (int q = 0; q < FREQUENCIES; q++)
        for (int x = 0; x < SIDE; x++) cosine[q][x] = lround(4096 * cos(M_PI * (x + 0.5) * q / SIDE));
    for (int y = 0; y < SIDE; y++)
        for (int q = 0; q < FREQUENCIES; q++)
            for (int x = 0; x < SIDE; x++) across[y][q] += luma[y][x] * cosine[q][x];
    uint64_t bits = 0;
    for (int n = 0, sum = 1; n < BITS; sum++)
        for (int p = 0; p <= sum && n < BITS; p++, n++) {
            int64_t amplitude = 0;
            for (int y = 0; y < SIDE; y++) amplitude += across[y][sum - p] * cosine[p][y];
            bits = bits << 1 | (amplitude > 0);
        }
    return bits;
}

/* Compute the means of cells of 4 x 4 values in 16ths of a level, from luma in 256ths. */
static void mean_of_cells(int32_t luma[SIDE][SIDE], int32_t mean, int16_t cells[VJ_PHASH_CELLS])
{
    enum { ACROSS = 8, EDGE = SIDE / ACROSS };
    for (int cell = 0; cell < VJ_PHASH_CELLS; cell++) {
        int32_t sum = 0;
        for (int i = 0; i < EDGE * EDGE; i++)
            sum += luma[cell / ACROSS * EDGE + i / EDGE][cell % ACROSS * EDGE + i % EDGE];
        cells[cell] = (int16_t)((sum / (EDGE * EDGE) + mean) / 16);
    }
}

vj_video_verdict vj_phash_add(vj_phash *look, vj_phash_cells *cells, int instant, const vj_picture *picture)
{
    vj_video *v = picture->video;
    uint8_t rgb[SIDE * SIDE * 3];
    int32_t luma[SIDE][SIDE];
    int error = vj_convert(&v->look_converter, v->held, v->orientation, SIDE, SIDE, rgb);
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_FAILED, error, "scaling");
    int32_t mean;
    if (centred_luma(rgb, luma, &mean) >= FLAT) look->valid |= (uint8_t)(1 << instant);
    look->bits[instant] = signs_of_frequencies(luma);
    mean_of_cells(luma, mean, cells->luma[instant]);
    return VJ_VIDEO_OK;
}

void vj_phash_finish(vj_phash *look, const vj_phash_cells *cells)
{
    enum { QUARTER = 4 }; /* 16ths in a quarter of a level */
    int32_t still[VJ_PHASH_CELLS] = {0}, moved[VJ_PHASH_CELLS];
    for (int i = 0; i < VJ_PHASH_INSTANTS; i++)
        for (int c = 0; c < VJ_PHASH_CELLS; c++) still[c] += cells->luma[i][c];
    for (int i = 0; i < VJ_PHASH_INSTANTS; i++) {
        int32_t mean = 0; /* of the picture, which may become brighter or darker as a whole */
        for (int c = 0; c < VJ_PHASH_CELLS; c++)
            mean += moved[c] = VJ_PHASH_INSTANTS * cells->luma[i][c] - still[c]; /* 128ths */
        for (int c = 0; c < VJ_PHASH_CELLS; c++) {
            const int32_t m = (moved[c] - mean / VJ_PHASH_CELLS) / (VJ_PHASH_INSTANTS * QUARTER);
            look->motion[i][c] = (int8_t)(m < -127 ? -127 : m > 127 ? 127 : m);
        }
    }
}

double vj_phash_distance(const vj_phash *a, const vj_phash *b)
{
    int differ = 0, instants = 0;
    for (int i = 0; i < VJ_PHASH_INSTANTS; i++)
        if ((a->valid & b->valid) >> i & 1) {
            differ += __builtin_popcountll(a->bits[i] ^ b->bits[i]);
            instants++;
        }
    return instants < FEWEST ? 1 : (double)differ / (BITS * instants);
}

/* Return how much the pictures of a video differ from each other: the mean distance over all pairs. */
static double variety(const vj_phash *look)
{
    int differ = 0, pairs = 0;
    for (int i = 0; i < VJ_PHASH_INSTANTS; i++)
        for (int k = 0; k < i; k++)
            if (look->valid >> i & look->valid >> k & 1) {
                differ += __builtin_popcountll(look->bits[i] ^ look->bits[k]);
                pairs++;
            }
    return pairs ? (double)differ / (BITS * pairs) : 0;
}

int vj_phash_alike(const vj_phash *a, const vj_phash *b)
{
    const double distance = vj_phash_distance(a, b);
    if (distance > 0.25) return 0;
    return distance <= fmin(0.1 + 0.5 * fmin(variety(a), variety(b)), 0.25);
}

/*
 * The thresholds were chosen on half of the pairs of docs/duplicates.md. Motion below LEAST_MOTION levels (root mean
 * square over cells and instants) is noise of the encoders.
 */
#define LEAST_MOTION 0.75
#define COPY         0.985
#define DIFFERENT    0.3

vj_likeness vj_phash_compare(const vj_phash *a, const vj_phash *b)
{
    if (!vj_phash_alike(a, b)) return VJ_PHASH_DIFFERENT;
    double aa = 0, bb = 0, ab = 0;
    const int8_t *x = &a->motion[0][0], *y = &b->motion[0][0];
    for (int i = 0; i < VJ_PHASH_MOTION_BYTES; i++) {
        aa += x[i] * x[i];
        bb += y[i] * y[i];
        ab += x[i] * y[i];
    }
    const double least = 16 * LEAST_MOTION * LEAST_MOTION * VJ_PHASH_MOTION_BYTES; /* in squared quarters of a level */
    if (aa < least && bb < least) return VJ_PHASH_DOUBTFUL;
    const double correlation = aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
    return correlation >= COPY ? VJ_PHASH_COPY : correlation >= DIFFERENT ? VJ_PHASH_DOUBTFUL : VJ_PHASH_DIFFERENT;
}
