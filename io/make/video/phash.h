/*
 * Perceptual hash of a video, here called its look: finds copies of the video that were encoded again at another size,
 * bitrate, frame rate or brightness, or in another container. It has two parts, both computed from the pictures at
 * eight instants spread over the video's duration:
 *
 * - a hash of 512 bits, 64 for each instant. The luma of the picture is reduced to 32 x 32, and each bit is the sign of
 *   one of its 64 lowest frequencies (a cosine transform), which noise, scaling and changes of brightness and contrast
 *   do not change. It finds candidates. Videos of one fixed camera have nearly the same hash, whatever moves in them.
 * - motion: the mean luma of 8 x 8 cells at each instant, less that cell's mean over the instants, less the picture's
 *   mean. It decides among the candidates. Copies have the same motion; where nothing moves it cannot decide.
 *
 * Copies that are mirrored, cropped by more than a few percent, or begin or end at another time are not found
 * (docs/duplicates.md has the numbers).
 */
#ifndef VJ_VIDEO_PHASH_H
#define VJ_VIDEO_PHASH_H

#include "video/video.h"

enum { VJ_PHASH_INSTANTS = 8 };

enum { VJ_PHASH_CELLS = 64, VJ_PHASH_MOTION_BYTES = VJ_PHASH_INSTANTS * VJ_PHASH_CELLS };

typedef struct {
    uint64_t bits[VJ_PHASH_INSTANTS];
    uint8_t valid; /* bit i: instant i has a picture that is not uniform; 0: the video has no hash */
    int8_t motion[VJ_PHASH_INSTANTS][VJ_PHASH_CELLS]; /* in units of a quarter of a luma level, at most 31.75 levels */
} vj_phash;

/* Mean luma of the cells in 16ths of a level, collected by vj_phash_add(). */
typedef struct {
    int16_t luma[VJ_PHASH_INSTANTS][VJ_PHASH_CELLS];
} vj_phash_cells;

/* Result of comparing two videos. */
typedef enum {
    VJ_PHASH_DIFFERENT,
    VJ_PHASH_DOUBTFUL, /* similar pictures, but too little motion, or motion not similar enough, to decide */
    VJ_PHASH_COPY
} vj_likeness;

/** Compute the instants to hash of a video, or part of one, whose frames are shown from start_s to end_s. */
void vj_phash_times(double start_s, double end_s, double times_s[VJ_PHASH_INSTANTS]);

/** Add the picture at an instant. *look and *cells must be zero before the first call. */
vj_video_verdict vj_phash_add(vj_phash *look, vj_phash_cells *cells, int instant, const vj_picture *picture);

/** Compute the motion, after all instants were added. */
void vj_phash_finish(vj_phash *look, const vj_phash_cells *cells);

/** Return the fraction of bits that differ, over the instants valid in both; 1 if these are fewer than half. */
double vj_phash_distance(const vj_phash *a, const vj_phash *b);

/**
 * Return whether one may be a copy of the other, by the hash alone: the distance must be below a threshold, which is
 * 0.25 for videos whose pictures change and falls to 0.1 for those that show one picture all the time, since fewer of
 * their bits are informative.
 *
 * Measured for the hash alone, on 28 videos and 18 parts of a film, each also in five encodings (half the size at crf
 * 35, 12 frames a second, brighter with more contrast, VP8 at 100 kbit/s, MPEG-4): of 726 pairs of the same content
 * none was missed (largest distance 0.21); of 37,224 pairs of different content only 36 were taken for copies, all of
 * one scene filmed twice by a camera that did not move; all others are at 0.33 or more (mean 0.49, standard deviation
 * 0.036). Single pictures of different videos have a mean distance of 0.49 and a standard deviation of 0.068, so about
 * one pair of still pictures in 10^8 will be taken for copies by chance.
 */
int vj_phash_alike(const vj_phash *a, const vj_phash *b);

/** Compare two videos by hash and motion together. */
vj_likeness vj_phash_compare(const vj_phash *a, const vj_phash *b);

#endif
