/* Functions for the kinds of fixtures that check probes. */
#ifndef VJ_PARITY_PROBE_H
#define VJ_PARITY_PROBE_H

#include "parity/fixture.h"
#include "probe/probe.h"

/** Set all tensors of a probe on the cpu backend from GROUP/<name>. False if one is missing or has another size, which
 * is counted. */
bool vj_parity_probe_weights(vj_fixture *f, vj_probe *probe, const char *group);

/** Compare `count` floats with GROUP/DATASET; `form` is added to the printed name. */
void vj_parity_probe_compare(vj_fixture *f, const char *group, const char *dataset, const char *form, const float *got,
                             int64_t count, vj_quantity quantity);

/** Compare the gradients of all tensors with GROUP/gradients/<name>. */
void vj_parity_probe_gradients(vj_fixture *f, vj_probe *probe, const char *group, const char *form);

#endif
