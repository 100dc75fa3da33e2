/* Files are counted; how long and large they are only the settings say. */
#include "plan/media.h"

#include <math.h>
#include <stdio.h>

#include "pack/list.h"

static const double bits_a_pixel = 0.1, aspect = 16.0 / 9; /* of usual H.264 on the web */

static vj_status count_files(vj_media *m, const vj_config *c)
{
    vj_media_list list;
    m->files = c->plan.files;
    snprintf(m->from, sizeof m->from,
             m->files > 0 ? "plan.files" : "neither pack.lists nor plan.files: nothing to pack");
    if (m->files > 0 || c->pack.lists.count == 0) return VJ_OK;
    vj_status status = vj_media_list_read(&list, &c->pack.lists, MPI_COMM_SELF);
    m->files = list.count;
    snprintf(m->from, sizeof m->from, "named in %d list%s", c->pack.lists.count, c->pack.lists.count == 1 ? "" : "s");
    vj_media_list_release(&list);
    if (status == VJ_OK) return VJ_OK;
    return vj_raise(status, "the lists cannot be read; with --set plan.files=N they are not looked at");
}

vj_status vj_media_describe(vj_media *m, const vj_config *c)
{
    const double height = (double)c->plan.mean_height, width = round(height * aspect);
    *m = (vj_media){.seconds = c->plan.mean_seconds, .fps = c->plan.mean_fps, .height = height, .width = width};
    m->bytes = c->plan.mean_mb > 0 ? 1e6 * c->plan.mean_mb : m->seconds * m->fps * height * width * bits_a_pixel / 8;
    return count_files(m, c);
}
