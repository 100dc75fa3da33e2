/*
 * Chooses the frames of a video that make a clip (docs/method.md, section 10.2). It reproduces the published rule,
 * including its oddities: the end of the span is inclusive.
 */
#include <math.h>

#include "video/frames.h"

#include "base/status.h"

/*
 * Compute F indices: `points` equally spaced positions from `low` to `high`, both included, then copies of `high`; all
 * clamped to [low, high - 1] and rounded down. A position is computed as k * spacing + low, as in the published code,
 * because rounding errors decide some of the results.
 */
static void spread(int64_t *indices, int F, int64_t points, int64_t low, int64_t high, int64_t offset)
{
    double spacing = points > 1 ? (double)(high - low) / (double)(points - 1) : 0;
    for (int k = 0; k < F; k++) {
        double at = k < points ? (double)k * spacing + (double)low : (double)high;
        if (k > 0 && k == points - 1) at = (double)high;
        if (at > (double)(high - 1)) at = (double)(high - 1);
        if (at < (double)low) at = (double)low; /* if the span is empty */
        indices[k] = (int64_t)floor(at) + offset;
    }
}

void vj_clip_frames(int64_t *indices, int64_t available, int F, int step, int segments, int overlap,
                    const int64_t *starts)
{
    VJ_ASSERT(available >= 1 && F >= 1 && step >= 1 && segments >= 1);
    int64_t window = (int64_t)F * step, part = available / segments;
    for (int i = 0; i < segments; i++, indices += F) {
        if (part > window) {
            int64_t start = starts ? starts[i] : 0;
            VJ_ASSERT(start >= 0 && start + window <= part);
            spread(indices, F, F, start, start + window, i * part);
        } else if (!overlap) {
            int64_t offset = i * part; /* 0 for all segments if there are fewer frames than segments */
            spread(indices, F, part / step, 0, part, offset);
        } else {
            int64_t end = (window < available ? window : available) - 1;
            int64_t offset = available > window && segments > 1 ? i * ((available - window) / (segments - 1)) : 0;
            spread(indices, F, end / step, 0, end, offset);
        }
    }
}
