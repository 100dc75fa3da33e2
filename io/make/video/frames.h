/* Chooses the frames of a video that make a clip. */
#ifndef VJ_VIDEO_FRAMES_H
#define VJ_VIDEO_FRAMES_H

#include <stdint.h>

/**
 * Compute the frame numbers of docs/method.md, section 10.2, into indices [segments, F], for a video of `available`
 * frames. `starts` [segments] gives the window's offset inside each segment, used where the segment is longer than
 * F*step (NULL: 0); `overlap`: windows of shorter segments overlap (the published evaluation). The numbers of a
 * window ascend, and no window begins before the previous one.
 */
void vj_clip_frames(int64_t *indices, int64_t available, int F, int step, int segments, int overlap,
                    const int64_t *starts);

#endif
