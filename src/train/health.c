/* Judges a step by its numbers. */
#include "train/health.h"

#include <math.h>

enum { USUAL_STEPS = 100 };

/* Why a step is bad, in words; "" for a good one. */
static void find_fault(const vj_health *h, const vj_step_report *r, char *text, size_t bytes)
{
    const vj_config *c = h->config;
    *text = '\0';
    if (!r->healthy)
        snprintf(text, bytes, "skipped: loss %g, gradient norms %g (encoder) %g (predictor) are not all finite",
                 r->loss, r->norm[VJ_ENCODER], r->norm[VJ_PREDICTOR]);
    else if (c->train.rollback_loss > 0.0 && h->usual_loss > 0.0 && r->loss > c->train.rollback_loss * h->usual_loss)
        snprintf(text, bytes, "is bad: loss %g is over train.rollback_loss %g times the usual %g", r->loss,
                 c->train.rollback_loss, h->usual_loss);
    else if (r->spread.std < c->train.rollback_std)
        snprintf(text, bytes, "is bad: the target features' deviation %g is below train.rollback_std %g", r->spread.std,
                 c->train.rollback_std);
    else if (h->low > 0 && isfinite(r->spread.effective_rank))
        snprintf(text, bytes, "is bad: the target features' effective rank %g is below train.rollback_rank %g",
                 r->spread.effective_rank, c->train.rollback_rank);
}

vj_verdict vj_health_judge(vj_health *h, int64_t number, const vj_step_report *r)
{
    char fault[256];
    const int64_t most = h->config->train.max_bad_steps;
    if (isfinite(r->spread.effective_rank))
        h->low = r->spread.effective_rank < h->config->train.rollback_rank ? h->low + 1 : 0;
    find_fault(h, r, fault, sizeof fault);
    if (*fault) {
        h->bad++;
        vj_log("step %lld %s; %lld in a row", (long long)number + 1, fault,
               (long long)(h->low > h->bad ? h->low : h->bad));
    } else {
        const int64_t over = h->usual_loss == 0.0 ? 1 : number + 1 < USUAL_STEPS ? number + 1 : USUAL_STEPS;
        h->bad = 0;
        h->usual_loss += (r->loss - h->usual_loss) / (double)over;
    }
    if (h->bad >= most || h->low >= most) return VJ_HEALTH_LOST;
    return h->bad > 0 || h->low > 0 ? VJ_HEALTH_BAD : VJ_HEALTH_GOOD;
}
