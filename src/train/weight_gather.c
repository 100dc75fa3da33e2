/* Finds the spans of the flat vector that are not matrices, and cuts them at the borders of slices. */
#include "train/weight_gather.h"

#include <stdlib.h>

/* The number of floats of a part of the network that kernels read as floats. */
static int64_t count_floats(const vj_params *ps, vj_network_part part)
{
    int64_t floats = 0;
    for (int i = 0; i < ps->count; i++)
        if (ps->item[i].part == part && !vj_param_is_operand(&ps->item[i])) floats += ps->item[i].count;
    return floats;
}

int64_t vj_weight_gather_packed(const vj_params *ps, bool target, bool rounded)
{
    if (!rounded) return 0;
    return (target ? 2 : 1) * count_floats(ps, VJ_ENCODER) + count_floats(ps, VJ_PREDICTOR);
}

int64_t vj_weight_gather_bytes(const vj_params *ps, bool target, bool rounded)
{
    const int64_t flat = ps->total + (target ? ps->encoder_total : 0);
    return flat * (int64_t)(rounded ? sizeof(uint16_t) : sizeof(float)) +
           vj_weight_gather_packed(ps, target, rounded) * (int64_t)sizeof(float);
}

/* List the spans rank by rank, which is the order of the flat vector. */
static void list_spans(vj_weight_gather *g, const vj_params *ps, int ranks)
{
    int64_t packed = 0;
    for (int r = 0, i = 0; r < ranks; r++) {
        g->first_span[r] = g->spans;
        g->packed[r] = packed;
        while (i < ps->count && ps->item[i].offset + ps->item[i].count <= g->slice[r]) i++;
        for (int at = i; at < ps->count && ps->item[at].offset < g->slice[r + 1]; at++) {
            const vj_param *p = &ps->item[at];
            const int64_t end = p->offset + p->count;
            const int64_t first = p->offset > g->slice[r] ? p->offset : g->slice[r];
            const int64_t last = end < g->slice[r + 1] ? end : g->slice[r + 1];
            if (vj_param_is_operand(p) || first >= last) continue;
            g->span[g->spans++] = (vj_span){first, last - first};
            if (p->part == VJ_ENCODER) g->encoder_spans = g->spans;
            packed += last - first;
        }
    }
    g->first_span[ranks] = g->spans;
    g->packed[ranks] = packed;
}

vj_status vj_weight_gather_describe(vj_weight_gather *g, const vj_params *ps, bool target, bool rounded,
                                    const int64_t *slice, int ranks)
{
    const int64_t flat[2] = {ps->total, ps->encoder_total};
    *g = (vj_weight_gather){.rounded = rounded, .slice = slice};
    for (int v = 0; v < (target ? 2 : 1); v++)
        g->vector[g->vectors++] = (vj_gathered){
            .n = flat[v], .element = rounded ? (int)sizeof(uint16_t) : (int)sizeof(float), .first = slice};
    if (!rounded) return VJ_OK;
    g->packed = vj_calloc(ranks + 1, sizeof *g->packed);
    g->first_span = vj_calloc(ranks + 1, sizeof *g->first_span);
    g->span = vj_calloc(ps->count + ranks, sizeof *g->span);
    if (!g->packed || !g->first_span || !g->span)
        return vj_raise(VJ_ERR_MEMORY, "no memory to describe slices of %d ranks", ranks);
    list_spans(g, ps, ranks);
    const int64_t encoder = count_floats(ps, VJ_ENCODER), packed[2] = {g->packed[ranks], encoder};
    for (int v = 0; v < (target ? 2 : 1); v++)
        g->vector[g->vectors++] = (vj_gathered){.n = packed[v], .element = (int)sizeof(float), .first = g->packed};
    return VJ_OK;
}

void vj_weight_gather_release(vj_weight_gather *g)
{
    free(g->packed);
    free(g->first_span);
    free(g->span);
    *g = (vj_weight_gather){0};
}
