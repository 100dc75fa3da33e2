/* Writes the encoder of a checkpoint to a separate file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt/inner.h"
#include "parallel/parallel.h"

typedef struct {
    vj_ckpt_view from;
    vj_ckpt_source *source;  /* [count] the tensors to export */
    vj_ckpt_tensor *tensors; /* [count], the data of each points to its source */
    int count;
    char origin[VJ_PATH + 64];
} exporter;

static bool begins_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Choose the tensors: those of the target encoder, or with the pixel objective, which has none, of the encoder. */
static vj_status choose(exporter *e)
{
    const char *const prefixes[] = {"model/target/", "model/encoder/"};
    const vj_ckpt_view *v = &e->from;
    const char *prefix = NULL;
    for (int p = 0; p < 2 && !prefix; p++)
        for (int i = 0; i < v->count; i++)
            if (begins_with(v->names[i], prefixes[p])) prefix = prefixes[p];
    if (!prefix) return vj_raise(VJ_ERR_FORMAT, "%s holds no encoder", v->path);
    e->source = vj_calloc(v->count, sizeof *e->source);
    e->tensors = vj_calloc(v->count, sizeof *e->tensors);
    if (!e->source || !e->tensors) return vj_raise(VJ_ERR_MEMORY, "no memory for the tensors of %s", v->path);
    for (int i = 0; i < v->count; i++) {
        if (!begins_with(v->names[i], prefix)) continue;
        VJ_TRY(vj_ckpt_view_tensor(&e->from, v->names[i], &e->source[e->count]));
        e->tensors[e->count] = e->source[e->count].tensor;
        e->tensors[e->count].data = &e->source[e->count];
        e->count++;
    }
    return VJ_OK;
}

/* The writer asks for whole blocks, because no row of an encoder is larger than VJ_CKPT_COPY_BYTES. */
static vj_status get(void *user, const vj_ckpt_tensor *tensor, int64_t first, int64_t last, float *host)
{
    (void)user; /* part of the signature */
    const vj_ckpt_source *source = tensor->data;
    int64_t damaged = 0;
    VJ_ASSERT(first % vj_ckpt_block_elements(&source->tensor) == 0);
    VJ_TRY(vj_ckpt_source_read(source, first, last, host, &damaged));
    return damaged == 0 ? VJ_OK : VJ_ERR_FORMAT;
}

static vj_status write_encoder(exporter *e, const char *to, vj_ckpt_type type, const vj_ckpt_state *state)
{
    vj_ckpt_writer *writer;
    for (int i = 0; i < e->count; i++) e->tensors[i].type = type;
    VJ_TRY(vj_ckpt_open(&writer, e->tensors, e->count, false, VJ_ALONE));
    vj_status status = vj_ckpt_begin_file(writer, to, state, e->origin, get, NULL);
    if (status == VJ_OK) status = vj_ckpt_commit(writer);
    vj_ckpt_close(writer);
    return status;
}

static vj_status export_encoder(exporter *e, const char *to, vj_ckpt_type type)
{
    vj_ckpt_state state;
    char *date = NULL;
    VJ_TRY(choose(e));
    VJ_TRY(vj_h5_get_text(e->from.file, e->from.path, "date", &date));
    snprintf(e->origin, sizeof e->origin, "%s of %s", e->from.path, date);
    free(date);
    vj_status status = vj_ckpt_get_state(e->from.file, e->from.path, &state);
    if (status == VJ_OK) status = write_encoder(e, to, type, &state);
    vj_ckpt_state_release(&state);
    return status;
}

static vj_status export(const char *from, const char *to, vj_ckpt_type type)
{
    exporter e = {.from = {.file = H5I_INVALID_HID, .fd = -1}};
    if (access(to, F_OK) == 0) return vj_raise(VJ_ERR_USAGE, "%s exists: it is not replaced by an export", to);
    VJ_TRY(vj_ckpt_view_open(&e.from, from));
    vj_status status = export_encoder(&e, to, type);
    for (int i = 0; i < e.count; i++) vj_ckpt_source_close(&e.source[i]);
    free(e.source);
    free(e.tensors);
    vj_ckpt_view_close(&e.from);
    return status;
}

vj_status vj_ckpt_export(const char *from, const char *to, vj_ckpt_type type)
{
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = export(from, to, type);
    }
    H5E_END_TRY
    return status;
}
