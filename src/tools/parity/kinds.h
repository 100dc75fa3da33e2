/* The functions that check the kinds of fixtures. The README of the fixtures describes their contents. */
#ifndef VJ_PARITY_KINDS_H
#define VJ_PARITY_KINDS_H

#include "parity/fixture.h"

/* All return VJ_OK even if quantities differ, which the fixture counts. An error means that the file cannot be checked.
 */
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

/* Check one attention group; part of vj_parity_ops(). */
void vj_parity_attention(vj_fixture *f, const char *group);

#endif
