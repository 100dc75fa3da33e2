/*
 * What a video looks like, in 512 bits: to find copies of it that were encoded again at another size, bitrate, frame
 * rate, brightness or in another container. At eight instants spread over its duration the picture shown is reduced to
 * 9 x 8 averages of its luma, and each bit says whether one of them is brighter than its neighbour.
 */
#ifndef VJ_VIDEO_LOOK_H
#define VJ_VIDEO_LOOK_H

#include "video/video.h"

enum { VJ_LOOK_INSTANTS = 8 };

typedef struct {
    uint64_t bits[VJ_LOOK_INSTANTS];
    uint8_t valid; /* bit i: instant i has a picture that is not flat; 0: the video has no look */
} vj_look;

/** The instants of a video, or a part of one, whose frames are shown from start_s to end_s. */
void vj_look_times(double start_s, double end_s, double times_s[VJ_LOOK_INSTANTS]);

/** Enter the picture at an instant. Start with a look of zeros. */
vj_video_verdict vj_look_add(vj_look *look, int instant, const vj_picture *picture);

/** Share of the bits that differ, over instants valid in both; 1 if these are fewer than half. */
double vj_look_distance(const vj_look *a, const vj_look *b);

#endif
