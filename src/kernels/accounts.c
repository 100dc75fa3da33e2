/*
 * Accounts of time and work: seconds by phase; calls, seconds, flops and bytes by operation and phase; how far a piece
 * of work is.
 */
#include <math.h>
#include <string.h>

#include "kernels/backend.h"

static const char *const phase_names[VJ_PHASES] = {
    [VJ_PHASE_DATA] = "data",           [VJ_PHASE_TARGET] = "target",     [VJ_PHASE_CONTEXT] = "context",
    [VJ_PHASE_PREDICTOR] = "predictor", [VJ_PHASE_BACKWARD] = "backward", [VJ_PHASE_REDUCE] = "reduce",
    [VJ_PHASE_OPTIMIZER] = "optimizer", [VJ_PHASE_OTHER] = "other",
};

static const char *const op_names[VJ_OPS] = {
#define VJ_ROW(name, ...) [VJ_OP_##name] = #name,
    VJ_KERNELS(VJ_ROW)
#undef VJ_ROW
        [VJ_OP_linear_forward] = "linear_forward",
    [VJ_OP_linear_gelu_forward] = "linear_gelu_forward",
    [VJ_OP_linear_backward_input] = "linear_backward_input",
    [VJ_OP_linear_gelu_backward_input] = "linear_gelu_backward_input",
    [VJ_OP_linear_backward_weight] = "linear_backward_weight",
    [VJ_OP_transfer] = "transfer",
};

const char *vj_phase_name(vj_phase phase)
{
    VJ_ASSERT(phase >= 0 && phase < VJ_PHASES);
    return phase_names[phase];
}

vj_phase vj_phase_enter(vj_backend *be, vj_phase phase)
{
    VJ_ASSERT(phase >= 0 && phase < VJ_PHASES);
    vj_accounts *a = &be->accounts;
    const vj_phase before = a->phase;
    const double now = vj_now();
    if (be->device->stamp)
        be->device->stamp(be, before);
    else
        a->seconds[a->phase] += now - a->phase_began_s;
    __atomic_store_n(&a->phase, phase, __ATOMIC_RELAXED);
    __atomic_store(&a->phase_began_s, &now, __ATOMIC_RELAXED);
    return before;
}

vj_phase vj_phase_now(const vj_backend *be, double *began_s)
{
    __atomic_load(&be->accounts.phase_began_s, began_s, __ATOMIC_RELAXED);
    return __atomic_load_n(&be->accounts.phase, __ATOMIC_RELAXED);
}

void vj_phase_seconds(const vj_backend *be, double seconds[VJ_PHASES])
{
    const vj_accounts *a = &be->accounts;
    memcpy(seconds, a->seconds, sizeof a->seconds);
    if (!be->device->stamp) seconds[a->phase] += vj_now() - a->phase_began_s;
}

void vj_phase_reset(vj_backend *be)
{
    const vj_phase phase = be->accounts.phase;
    be->accounts = (vj_accounts){.phase = phase, .phase_began_s = vj_now(), .booked_flops = be->flops};
}

void vj_work_begin(vj_backend *be, double flops, vj_work_tell *tell, void *listener)
{
    const bool known = flops > 0 && !be->device->sync; /* what is asked for is done */
    be->work = (vj_work){.tell = known ? tell : NULL, .listener = listener, .from = be->flops, .flops = flops};
}

void vj_work_end(vj_backend *be)
{
    be->work = (vj_work){0};
}

/* A kernel is done: tell how far the present piece of work is. */
static void tell(const vj_backend *be, double now_s)
{
    const vj_work *w = &be->work;
    if (w->tell) w->tell(w->listener, fmin((be->flops - w->from) / w->flops, 1.0), now_s);
}

void vj_account(vj_backend *be, vj_op op, double began_s)
{
    vj_accounts *a = &be->accounts;
    if (be->device->settle) be->device->settle(be);
    const double now_s = vj_now();
    a->account[op][a->phase].calls++;
    a->account[op][a->phase].seconds += now_s - began_s;
    a->account[op][a->phase].flops += be->flops - a->booked_flops;
    a->account[op][a->phase].bytes += a->bytes;
    a->booked_flops = be->flops;
    a->bytes = 0;
    tell(be, now_s);
}

int vj_backend_profile(const vj_backend *be, vj_op_profile *profile, int capacity)
{
    int count = 0;
    for (int op = 0; op < VJ_OPS; op++)
        for (int phase = 0; phase < VJ_PHASES; phase++) {
            if (be->accounts.account[op][phase].calls == 0) continue;
            if (count < capacity)
                profile[count] = (vj_op_profile){.name = op_names[op],
                                                 .phase = (vj_phase)phase,
                                                 .calls = be->accounts.account[op][phase].calls,
                                                 .seconds = be->accounts.account[op][phase].seconds,
                                                 .flops = be->accounts.account[op][phase].flops,
                                                 .bytes = be->accounts.account[op][phase].bytes};
            count++;
        }
    return count;
}
