/* Which layouts can train a configuration, and which of them are nearest to one that cannot. */
#include "train/layout.h"

#include <stdlib.h>

#include "model/masks.h"
#include "model/network.h"

/* With reproducible, one tree sums over microbatches and ranks (parallel/tree.h). */
static bool even_tree(int data_ranks, int64_t microbatches)
{
    return (data_ranks & (data_ranks - 1)) == 0 && microbatches % data_ranks == 0;
}

bool vj_layout_cannot(const vj_config *c, int ranks, int tensor, char *reason, size_t bytes)
{
    const vj_shape shape = vj_shape_from(c);
    const int64_t microbatches = c->train.batch / c->train.microbatch;
    reason[0] = '\0';
    if (tensor > VJ_TENSOR_MAX)
        snprintf(reason, bytes, "parallel.tensor %d is more than %d", tensor, VJ_TENSOR_MAX);
    else if (tensor > 1 && c->watch.every > 0)
        snprintf(
            reason, bytes,
            "with watch.every the encoder must be whole on every rank, not in groups of parallel.tensor %d; measure "
            "checkpoints with vjepa-embed and vjepa-probe instead",
            tensor);
    else if (ranks % tensor != 0)
        snprintf(reason, bytes, "%d rank%s cannot form groups of parallel.tensor %d", ranks, ranks == 1 ? "" : "s",
                 tensor);
    else if (shape.heads % tensor != 0)
        snprintf(reason, bytes, "model.heads %d does not divide by parallel.tensor %d", shape.heads, tensor);
    else if (shape.hidden % tensor != 0)
        snprintf(reason, bytes,
                 "the hidden width %d (model.width, model.mlp_ratio) does not divide by parallel.tensor %d",
                 shape.hidden, tensor);
    else if (ranks / tensor > microbatches)
        snprintf(
            reason, bytes,
            "train.batch %lld in microbatches of %lld (lower train.microbatch for more) gives work to %lld rank%s or "
            "tensor groups, there are %d",
            (long long)c->train.batch, (long long)c->train.microbatch, (long long)microbatches,
            microbatches == 1 ? "" : "s", ranks / tensor);
    else if (c->parallel.reduction == VJ_REDUCTION_REPRODUCIBLE && !even_tree(ranks / tensor, microbatches))
        snprintf(reason, bytes,
                 "parallel.reduction reproducible: %d ranks or tensor groups are no power of two that divides the %lld "
                 "microbatches of a step (train.batch, train.microbatch)",
                 ranks / tensor, (long long)microbatches);
    return reason[0] != '\0';
}

int vj_layouts_near(const vj_config *c, int ranks, int tensor, vj_layout_choice *choice, int capacity)
{
    char reason[256];
    int count = 0;
    /* Search from `ranks` outwards, fewer ranks before more, and for each number of ranks from `tensor` outwards. */
    for (int away = 0; away <= ranks; away++)
        for (int more = 0; more <= (away > 0); more++) {
            const int n = more ? ranks + away : ranks - away;
            for (int off = 0; n > 0 && off <= n + tensor; off++)
                for (int wider = 0; wider <= (off > 0); wider++) {
                    const int t = wider ? tensor + off : tensor - off;
                    if (count == capacity) return count;
                    if (t < 1 || t > n || vj_layout_cannot(c, n, t, reason, sizeof reason)) continue;
                    choice[count++] = (vj_layout_choice){n, t};
                }
        }
    return count;
}

vj_status vj_layout_check(const vj_config *c, int rank, int ranks)
{
    enum { NEAREST = 4 };
    char reason[256], text[256] = "none with up to twice the ranks";
    vj_layout_choice near[NEAREST];
    const int tensor = (int)c->parallel.tensor;
    const vj_shape shape = vj_shape_from(c);
    const vj_status masks = rank == 0 ? vj_masks_check(c, vj_shape_grid(&shape)) : VJ_OK;
    if (masks != VJ_OK) return masks;
    if (!vj_layout_cannot(c, ranks, tensor, reason, sizeof reason)) return VJ_OK;
    if (rank != 0) return VJ_ERR_USAGE;
    const int count = vj_layouts_near(c, ranks, tensor, near, NEAREST);
    for (size_t i = 0, used = 0; i < (size_t)count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%d x %d on %d rank%s", i ? ", " : "",
                                 near[i].ranks / near[i].tensor, near[i].tensor, near[i].ranks,
                                 near[i].ranks == 1 ? "" : "s");
    return vj_raise(VJ_ERR_USAGE, "%s; the nearest layouts that work (data x tensor): %s", reason, text);
}
