/*
 * What a video looks like: to find copies of it that were encoded again at another size, bitrate, frame rate,
 * brightness or in another container. Two parts, both of the pictures at eight instants spread over its duration:
 *
 * - a perceptual hash of 512 bits. The luma of a picture is reduced to 32 x 32, and each bit is the sign of one of its
 * 64 lowest frequencies (a cosine transform), which noise, scaling and changes of brightness and contrast leave alone.
 *   It finds candidates. Videos of one fixed camera have nearly the same hash, whatever moves in them.
 * - what moves: the mean luma of 8 x 8 cells at each instant, less that cell's mean over the instants, less the
 *   picture's mean. It decides among candidates. Copies have the same movement; where nothing moves there is nothing
 *   to decide by.
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
    uint8_t valid; /* bit i: instant i has a picture that is not flat; 0: the video has no look */
    int8_t motion[VJ_PHASH_INSTANTS][VJ_PHASH_CELLS]; /* in quarters of a level, at most 31.75 */
} vj_phash;

/* Mean luma of the cells, in 16ths of a level, while the pictures come. */
typedef struct {
    int16_t luma[VJ_PHASH_INSTANTS][VJ_PHASH_CELLS];
} vj_phash_cells;

/* Of two videos. */
typedef enum {
    VJ_PHASH_DIFFERENT,
    VJ_PHASH_DOUBTFUL, /* their pictures are alike, and too little moves, or the movement is not alike enough, to tell
                        */
    VJ_PHASH_COPY
} vj_likeness;

/** The instants of a video, or a part of one, whose frames are shown from start_s to end_s. */
void vj_phash_times(double start_s, double end_s, double times_s[VJ_PHASH_INSTANTS]);

/** Enter the picture at an instant. Start with zeros. */
vj_video_verdict vj_phash_add(vj_phash *look, vj_phash_cells *cells, int instant, const vj_picture *picture);

/** All instants are entered: find what moves. */
void vj_phash_finish(vj_phash *look, const vj_phash_cells *cells);

/** Share of the bits that differ, over instants valid in both; 1 if these are fewer than half. */
double vj_phash_distance(const vj_phash *a, const vj_phash *b);

/**
 * Whether one may be a copy of the other, by the hash: the distance is below a threshold that is 0.25 for videos whose
 * pictures change, and falls to 0.1 for those that show one picture all the time, as these have fewer bits that say
 * anything.
 *
 * The hash alone, measured on 28 videos and 18 parts of a film, each also in five encodings (half the size at crf 35,
 * 12 frames a second, brighter with more contrast, VP8 at 100 kbit/s, MPEG-4): of 726 pairs of the same content none
 * was missed (largest distance 0.21); of 37,224 pairs of different content the only 36 taken for copies are of one
 * scene, filmed twice by a camera that did not move; all others are at 0.33 or more (mean 0.49, standard deviation
 * 0.036). Single pictures of different videos have a mean of 0.49 and a standard deviation of 0.068, so of still
 * pictures one pair in 10^8 or so will be taken for copies by chance.
 */
int vj_phash_alike(const vj_phash *a, const vj_phash *b);

/** Hash and movement together. */
vj_likeness vj_phash_compare(const vj_phash *a, const vj_phash *b);

#endif
