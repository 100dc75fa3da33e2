/* Decides when lines about progress are due. */
#include "base/progress.h"

#include "base/status.h"

enum { QUIET_AT_FIRST_S = 20, QUIET_S = 60, QUIET_BETWEEN_BATCHES_S = 5 };

vj_progress_line vj_progress_line_begin(void)
{
    const double now_s = vj_now();
    return (vj_progress_line){.began_s = now_s, .logged_s = now_s};
}

static bool is_due(vj_progress_line *line, double quiet_s, double now_s)
{
    if (now_s - line->logged_s < quiet_s) return false;
    line->logged_s = now_s;
    return true;
}

bool vj_progress_line_is_due(vj_progress_line *line, double now_s)
{
    return is_due(line, line->logged_s > line->began_s ? QUIET_S : QUIET_AT_FIRST_S, now_s);
}

bool vj_progress_line_is_due_in_batch(vj_progress_line *line, double share, double now_s)
{
    return share > 0.0 ? vj_progress_line_is_due(line, now_s) : is_due(line, QUIET_BETWEEN_BATCHES_S, now_s);
}

void vj_progress_line_log(vj_progress_line *line, const char *what, double share, double now_s)
{
    char left[32];
    if (share <= 0.0 || !vj_progress_line_is_due(line, now_s)) return;
    vj_log("%s: %.0f %% done, about %s left", what, 100.0 * share,
           vj_duration((now_s - line->began_s) * (1.0 - share) / share, left));
}
