/* Counts the video files to pack. Their length and size are not measured but taken from the settings. */
#include "plan/footage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "pack/catalogue.h"

static const double bits_a_pixel = 0.1, aspect = 16.0 / 9; /* typical of H.264 on the web */

/* Set the number of files that will be opened, and of clips. */
static void sum_up(vj_footage *m, const vj_config *c, const vj_catalogue_summary *summary)
{
    int64_t files = 0, held_out = 0, twice = 0;
    for (int d = 0; d < summary->names.dataset_count; d++) {
        files += summary->of_dataset[d].files;
        held_out += summary->of_dataset[d].held_out_ids;
        twice += summary->of_dataset[d].listed_twice;
    }
    const bool drop = c->pack.duplicates == VJ_DUPLICATES_DROP;
    m->files = files - held_out - (drop ? twice : 0);
    m->clips = (double)summary->clips;
    snprintf(m->from, sizeof m->from, "of %lld in the lists, without %lld held out by id; %lld listed before are %s",
             (long long)files, (long long)held_out, (long long)twice, drop ? "dropped" : "kept");
}

static vj_status count_files(vj_footage *m, const vj_config *c)
{
    const char *temporary = getenv("TMPDIR");
    m->files = c->plan.files;
    m->clips = (double)(c->plan.files * c->pack.windows);
    snprintf(m->from, sizeof m->from,
             m->files > 0 ? "plan.files" : "neither lists nor plan.files are given: nothing to pack");
    if (m->files > 0 || (c->pack.lists.count == 0 && c->pack.dataset_count == 0)) return VJ_OK;
    vj_catalogue_summary *summary = malloc(sizeof *summary);
    if (!summary) return vj_raise(VJ_ERR_MEMORY, "no memory for a summary of the lists");
    vj_class_names classes;
    const char *scratch = temporary && *temporary ? temporary : "/tmp";
    vj_class_names_init(&classes, scratch);
    vj_status status = vj_catalogue_build(summary, &classes, c, NULL, scratch);
    vj_class_names_release(&classes);
    if (status == VJ_OK)
        sum_up(m, c, summary);
    else
        status = vj_raise(status, "the lists cannot be read; with --set plan.files=N they are not looked at");
    free(summary);
    return status;
}

vj_status vj_footage_describe(vj_footage *m, const vj_config *c)
{
    const double height = (double)c->plan.mean_height, width = round(height * aspect);
    *m = (vj_footage){.seconds = c->plan.mean_seconds, .fps = c->plan.mean_fps, .height = height, .width = width};
    m->bytes = c->plan.mean_mb > 0 ? 1e6 * c->plan.mean_mb : m->seconds * m->fps * height * width * bits_a_pixel / 8;
    VJ_TRY(count_files(m, c));
    if (c->plan.store_clips > 0) m->clips = (double)c->plan.store_clips;
    return VJ_OK;
}
