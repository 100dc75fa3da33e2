/* Finds the kind of a fixture by its contents. */
#include "parity/parity.h"

#include <stdio.h>

#include "parity/kinds.h"

typedef struct {
    const char *name;
    const char *content[8]; /* any of these makes a file this kind; the first kind that fits is taken */
    vj_status (*run)(vj_fixture *f);
} kind;

static const kind kinds[] = {
    {"step", {"f64/weights", "schedule"}, vj_parity_step},
    {"pixel", {"f64/targets_normalised", "f64/mask0"}, vj_parity_pixel},
    {"forward", {"f64/outputs", "inputs/clips"}, vj_parity_forward},
    {"metrics", {"inputs/logits_b", "f64/mcnemar_p"}, vj_parity_metrics},
    {"layer_decay", {"f64/lr_scale"}, vj_parity_layer_decay},
    {"multi_segment", {"inputs/frame_index"}, vj_parity_segments},
    {"deep_probe",
     {"weights/query1", "weights/query2", "weights/query3", "weights/query4", "weights/tokens1", "weights/tokens2",
      "weights/tokens3", "weights/tokens4"},
     vj_parity_deep_probe},
    {"probe", {"inputs/features"}, vj_parity_probe},
    {"masks", {"twister", "block_size", "blocks_to_indices", "statistics", "tube"}, vj_parity_masks},
    {"data", {"clip_frames", "augment"}, vj_parity_data},
    {"schedules", {"*/weight_decay", "*/lr"}, vj_parity_schedules},
    {"image_ops", {"inputs/image"}, vj_parity_pictures},
    {"ops", {"*/output_gradient"}, vj_parity_ops},
    {"positions", {"resampled", "*/values"}, vj_parity_positions},
};

static const kind *find_kind(const vj_fixture *f)
{
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int c = 0; c < 8 && kinds[k].content[c]; c++)
            if (vj_fixture_has(f, kinds[k].content[c])) return &kinds[k];
    return NULL;
}

static vj_status check(vj_fixture *f)
{
    const kind *found = find_kind(f);
    if (!found) return vj_raise(VJ_ERR_FORMAT, "%s holds nothing that is known here", f->path);
    printf("%s: %s\n", f->path, found->name);
    VJ_TRY(found->run(f));
    if (f->passed + f->failed == 0) return vj_raise(VJ_ERR_FORMAT, "%s holds nothing to compare", f->path);
    return VJ_OK;
}

vj_status vj_parity_run(const char *path, vj_backend *be, int *passed, int *failed)
{
    vj_fixture f;
    vj_status status = vj_fixture_open(&f, path, be);
    if (status == VJ_OK) status = check(&f);
    *passed += f.passed;
    *failed += f.failed;
    vj_fixture_close(&f);
    return status;
}
