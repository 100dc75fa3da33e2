/* The kinds of fixtures (their README describes the content), each with the function that checks one. */
#ifndef VJ_PARITY_KINDS_H
#define VJ_PARITY_KINDS_H

#include "parity/fixture.h"

/* VJ_OK although quantities differ: those are counted in the fixture. Errors: what cannot be checked at all. */
vj_status vj_parity_positions(vj_fixture *f);
vj_status vj_parity_schedules(vj_fixture *f);
vj_status vj_parity_masks(vj_fixture *f);
vj_status vj_parity_data(vj_fixture *f);
vj_status vj_parity_ops(vj_fixture *f);
vj_status vj_parity_forward(vj_fixture *f);
vj_status vj_parity_step(vj_fixture *f);
vj_status vj_parity_pixel(vj_fixture *f);
vj_status vj_parity_probe(vj_fixture *f);
vj_status vj_parity_deep_probe(vj_fixture *f);
vj_status vj_parity_segments(vj_fixture *f);
vj_status vj_parity_metrics(vj_fixture *f);
vj_status vj_parity_pictures(vj_fixture *f);
vj_status vj_parity_layer_decay(vj_fixture *f);

/* Part of ops: one attention group. */
void vj_parity_attention(vj_fixture *f, const char *group);

#endif
