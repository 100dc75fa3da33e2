/* Which frames of a video make a clip. */
#ifndef VJ_VIDEO_FRAMES_H
#define VJ_VIDEO_FRAMES_H

#include <stdint.h>

/**
 * Frame numbers of docs/method.md, section 10.2, indices [segments, F], of a video of `available` frames. `starts`
 * [segments] is the window's offset inside each segment, used where the segment is longer than F*step (NULL: 0);
 * `overlap` selects the evaluation rule.
 */
void vj_clip_frames(int64_t *indices, int64_t available, int F, int step, int segments, int overlap,
                    const int64_t *starts);

#endif
