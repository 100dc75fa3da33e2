/* Finds the kind of a fixture. */
#include "parity/parity.h"

#include <stdio.h>
#include <string.h>

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

static void list_kinds(char *text, size_t size)
{
    size_t at = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds && at < size; k++)
        at += (size_t)snprintf(text + at, size - at, "%s%s", k > 0 ? ", " : "", kinds[k].name);
}

/* The attribute `kind` decides; files without it are known by their contents. */
static vj_status find_kind(const kind **found, const vj_fixture *f)
{
    char name[VJ_FIXTURE_NAME], known[512];
    list_kinds(known, sizeof known);
    *found = NULL;
    if (vj_fixture_text(f, "format", name))
        return vj_raise(VJ_ERR_FORMAT,
                        "%s: found the format %s, expected one of the kinds that this release can check: %s", f->path,
                        name, known);
    const bool told = vj_fixture_text(f, "kind", name);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds && !*found; k++) {
        if (told && strcmp(name, kinds[k].name) == 0) *found = &kinds[k];
        for (int c = 0; !told && c < 8 && kinds[k].content[c] && !*found; c++)
            if (vj_fixture_has(f, kinds[k].content[c])) *found = &kinds[k];
    }
    if (*found) return VJ_OK;
    return vj_raise(VJ_ERR_FORMAT, "%s: found %s%s, expected one of the kinds that this release can check: %s", f->path,
                    told ? "the kind " : "neither an attribute kind nor datasets that tell it", told ? name : "",
                    known);
}

static vj_status check(vj_fixture *f)
{
    const kind *found;
    VJ_TRY(find_kind(&found, f));
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
