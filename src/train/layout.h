/* Which layouts of ranks a configuration can be trained on, known before anything is opened or allocated. */
#ifndef VJ_TRAIN_LAYOUT_H
#define VJ_TRAIN_LAYOUT_H

#include <stddef.h>

#include "base/config.h"

/**
 * Why `ranks` ranks in tensor groups of `tensor` cannot train `config`, as text of at most `bytes`; false when they
 * can. The configuration is checked (vj_config_check).
 */
bool vj_layout_cannot(const vj_config *config, int ranks, int tensor, char *reason, size_t bytes);

/* One that can. */
typedef struct {
    int ranks, tensor;
} vj_layout_choice;

/**
 * The layouts nearest to `ranks` in groups of `tensor` that can, at most `capacity`: by the difference in ranks, then
 * by how far the tensor size is from the one wanted. Their number; up to twice the ranks are looked at.
 */
int vj_layouts_near(const vj_config *config, int ranks, int tensor, vj_layout_choice *choice, int capacity);

/** Refuse (VJ_ERR_USAGE) what cannot, saying what would; `rank` 0 speaks. Not collective: all find the same. */
vj_status vj_layout_check(const vj_config *config, int rank, int ranks);

#endif
