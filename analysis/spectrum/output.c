/* Keeps the declared datasets and attributes, and writes them with h5/h5.h in its three phases. */
#include "spectrum/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "h5/h5.h"
#include "parallel/parallel.h"

enum { NAME = 256, DIMENSIONS = 4, MAX_DATASETS = 4096, MAX_ATTRIBUTES = 2048, MAX_U64S = 4 };

typedef struct {
    char name[NAME];
    hid_t type; /* owned */
    int ndim;
    hsize_t dim[DIMENSIONS];
    int64_t place, value_bytes;
} dataset;

typedef struct {
    char object[NAME], name[64];
    enum { NUMBER, COUNT, DIGEST, U64S, TEXT } kind;
    double number;
    int64_t count;
    uint64_t u64[MAX_U64S];
    int u64_count;
    char *text; /* owned */
} attribute;

struct vj_analysis_file {
    const vj_analysis *analysis;
    const char *command;
    dataset *datasets;     /* [count] */
    attribute *attributes; /* [attribute_count] */
    int count, attribute_count;
    vj_h5_writer file;
    bool begun;
};

vj_status vj_analysis_file_may_replace(const char *out)
{
    struct stat info;
    char format[64];
    if (!out || stat(out, &info) != 0) return VJ_OK;
    vj_h5_format(out, format, sizeof format);
    if (strcmp(format, VJ_ANALYSIS_FORMAT) == 0) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE,
                    "--out %s: a file of that name is there, which vjepa-spectrum did not write; choose another name, "
                    "or remove it",
                    out);
}

vj_status vj_analysis_file_open(vj_analysis_file **output, const vj_analysis *analysis, const char *command)
{
    vj_analysis_file *o = *output = vj_calloc(1, sizeof *o);
    if (o) {
        o->analysis = analysis;
        o->command = command;
        o->datasets = vj_calloc(MAX_DATASETS, sizeof *o->datasets);
        o->attributes = vj_calloc(MAX_ATTRIBUTES, sizeof *o->attributes);
    }
    if (vj_agree(analysis->comm, o && o->datasets && o->attributes ? VJ_OK : VJ_ERR_MEMORY) == VJ_OK) return VJ_OK;
    if (o) free(o->datasets), free(o->attributes);
    free(o);
    *output = NULL;
    return vj_raise(VJ_ERR_MEMORY, "no memory for the tables of an output file");
}

/* ------------------------------------------------------------------------------------------------ declaring */

static int declare(vj_analysis_file *o, hid_t type, int ndim, const int64_t *dim, const char *name, va_list args)
{
    VJ_ASSERT(o->count < MAX_DATASETS && ndim >= 1 && ndim <= DIMENSIONS && !o->begun);
    dataset *d = &o->datasets[o->count];
    vsnprintf(d->name, sizeof d->name, name, args);
    d->type = H5Tcopy(type);
    d->ndim = ndim;
    d->value_bytes = (int64_t)H5Tget_size(type);
    for (int i = 0; i < ndim; i++) d->dim[i] = (hsize_t)dim[i];
    return o->count++;
}

int vj_analysis_file_dataset(vj_analysis_file *o, hid_t type, int ndim, const int64_t *dim, const char *name, ...)
{
    va_list args;
    va_start(args, name);
    const int number = declare(o, type, ndim, dim, name, args);
    va_end(args);
    return number;
}

int vj_analysis_file_texts(vj_analysis_file *o, int64_t count, int64_t bytes, const char *name, ...)
{
    va_list args;
    hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, (size_t)bytes);
    H5Tset_cset(text, H5T_CSET_UTF8);
    va_start(args, name);
    const int number = declare(o, text, 1, &count, name, args);
    va_end(args);
    H5Tclose(text); /* the output has its copy */
    return number;
}

static attribute *add_attribute(vj_analysis_file *o, const char *object, const char *name)
{
    VJ_ASSERT(o->attribute_count < MAX_ATTRIBUTES);
    attribute *a = &o->attributes[o->attribute_count++];
    snprintf(a->object, sizeof a->object, "%s", object);
    snprintf(a->name, sizeof a->name, "%s", name);
    return a;
}

void vj_analysis_file_number(vj_analysis_file *o, const char *object, const char *name, double value)
{
    attribute *a = add_attribute(o, object, name);
    a->kind = NUMBER;
    a->number = value;
}

void vj_analysis_file_count(vj_analysis_file *o, const char *object, const char *name, int64_t value)
{
    attribute *a = add_attribute(o, object, name);
    a->kind = COUNT;
    a->count = value;
}

void vj_analysis_file_u64s(vj_analysis_file *o, const char *object, const char *name, const uint64_t *values, int count)
{
    attribute *a = add_attribute(o, object, name);
    VJ_ASSERT(count <= MAX_U64S);
    a->kind = U64S;
    a->u64_count = count;
    memcpy(a->u64, values, (size_t)count * sizeof *values);
}

void vj_analysis_file_digest(vj_analysis_file *o, const char *object, const char *name, uint64_t value)
{
    attribute *a = add_attribute(o, object, name);
    a->kind = DIGEST;
    a->u64[0] = value;
}

void vj_analysis_file_text(vj_analysis_file *o, const char *object, const char *name, const char *value)
{
    attribute *a = add_attribute(o, object, name);
    a->kind = TEXT;
    a->text = strdup(value);
}

/* ------------------------------------------------------------------------------------------------ the file */

/* Numbers of the datasets that describe the clips; -1: no such dataset. */
typedef struct {
    int clip, sums, label, classes[VJ_MAX_LABELS];
} columns;

/* Declare the class names of a label in the format of clip stores. */
static int declare_classes(vj_analysis_file *o, const char *label, const vj_clips_classes *classes)
{
    char name[NAME];
    if (classes->count == 0) return -1;
    snprintf(name, sizeof name, "classes/%s", label);
    const int number = vj_analysis_file_texts(o, classes->count, classes->bytes, "%s", name);
    vj_analysis_file_digest(o, name, "xxh3", XXH3_64bits(classes->names, (size_t)(classes->count * classes->bytes)));
    return number;
}

static columns declare_columns(vj_analysis_file *o)
{
    const vj_source *source = o->analysis->source;
    const int64_t clips = vj_source_clips(source), labels = vj_source_label_count(source);
    char names[VJ_MAX_LABELS * (VJ_LABEL_NAME + 1) + 1] = "";
    columns c = {-1, -1, -1, {0}};
    c.clip = vj_analysis_file_dataset(o, H5T_STD_I64LE, 1, &clips, "clip");
    if (vj_source_clip_sums(source)) c.sums = vj_analysis_file_dataset(o, H5T_STD_U64LE, 1, &clips, "clip_xxh3");
    if (labels == 0) return c;
    c.label = vj_analysis_file_dataset(o, H5T_STD_I32LE, 2, (const int64_t[]){clips, labels}, "label");
    for (int l = 0; l < labels; l++) {
        strcat(strcat(names, l > 0 ? "\n" : ""), vj_source_label_name(source, l));
        c.classes[l] = declare_classes(o, vj_source_label_name(source, l), vj_source_classes(source, l));
    }
    vj_analysis_file_text(o, "label", "names", names);
    return c;
}

static vj_status write_columns(vj_analysis_file *o, const columns *c)
{
    const vj_source *source = o->analysis->source;
    const int64_t clips = vj_source_clips(source), labels = vj_source_label_count(source);
    VJ_TRY(vj_analysis_file_write(o, c->clip, 0, clips, vj_source_clip_numbers(source)));
    if (c->sums >= 0) VJ_TRY(vj_analysis_file_write(o, c->sums, 0, clips, vj_source_clip_sums(source)));
    if (labels > 0) VJ_TRY(vj_analysis_file_write(o, c->label, 0, clips * labels, vj_source_labels(source)));
    for (int l = 0; l < labels; l++) {
        const vj_clips_classes *classes = vj_source_classes(source, l);
        if (c->classes[l] >= 0) VJ_TRY(vj_analysis_file_write(o, c->classes[l], 0, classes->count, classes->names));
    }
    return VJ_OK;
}

/* Only rank 0 calls this. */
static vj_status lay_out(vj_analysis_file *o)
{
    for (int i = 0; i < o->count; i++) {
        dataset *d = &o->datasets[i];
        VJ_TRY(vj_h5_dataset(&o->file, d->name, d->type, d->ndim, d->dim, &d->place));
    }
    return VJ_OK;
}

static vj_status begin(vj_analysis_file *o)
{
    enum { OBJECTS = 4 }; /* for a dataset: itself, its attributes, and the groups that are made for it */
    const vj_analysis *analysis = o->analysis;
    const bool first = analysis->rank == 0;
    columns c;
    if (analysis->source) c = declare_columns(o);
    vj_analysis_file_text(o, "/", "command", o->command);
    VJ_TRY(vj_h5_create(&o->file, analysis->out, VJ_ANALYSIS_FORMAT, VJ_ANALYSIS_VERSION,
                        (int64_t)o->count * OBJECTS * VJ_H5_OBJECT_BYTES, analysis->comm));
    VJ_TRY(vj_h5_share(&o->file, first ? lay_out(o) : VJ_OK));
    o->begun = true;
    for (int i = 0; i < o->count; i++) MPI_Bcast(&o->datasets[i].place, 1, MPI_INT64_T, 0, analysis->comm);
    return vj_agree(analysis->comm, first && analysis->source ? write_columns(o, &c) : VJ_OK);
}

vj_status vj_analysis_file_begin(vj_analysis_file *o)
{
    vj_status status = VJ_OK;
    if (!o->analysis->out) return VJ_OK;
    H5E_BEGIN_TRY
    {
        status = begin(o);
    }
    H5E_END_TRY
    return status;
}

vj_status vj_analysis_file_write(vj_analysis_file *o, int number, int64_t first, int64_t count, const void *values)
{
    const dataset *d = &o->datasets[number];
    if (!o->begun) return VJ_OK;
    return vj_h5_write(&o->file, d->place + first * d->value_bytes, values, count * d->value_bytes);
}

/* Only rank 0 calls this. */
static vj_status put_attribute(const vj_analysis_file *o, const attribute *a)
{
    hid_t object = H5Oopen(o->file.file, a->object, H5P_DEFAULT);
    vj_status status = VJ_OK;
    if (object < 0) return vj_raise_h5("%s: open %s", o->file.path, a->object);
    if (a->kind == NUMBER)
        status = vj_h5_put_f64(object, a->name, a->number);
    else if (a->kind == COUNT)
        status = vj_h5_put_i64(object, a->name, a->count);
    else if (a->kind == DIGEST)
        status = vj_h5_put_u64(object, a->name, a->u64[0]);
    else if (a->kind == U64S)
        status = vj_h5_put_u64s(object, a->name, a->u64, a->u64_count);
    else
        status = vj_h5_put_text(object, a->name, a->text ? a->text : "");
    if (H5Oclose(object) < 0 && status == VJ_OK) status = vj_raise_h5("%s: close %s", o->file.path, a->object);
    return status;
}

static vj_status commit(vj_analysis_file *o, vj_status status)
{
    if (status == VJ_OK) status = vj_h5_flush(&o->file);
    VJ_TRY(vj_h5_gather(&o->file, status));
    VJ_TRY(vj_h5_gather(&o->file, vj_h5_verify(&o->file)));
    for (int i = 0; i < o->attribute_count && o->analysis->rank == 0 && status == VJ_OK; i++)
        status = put_attribute(o, &o->attributes[i]);
    if (o->analysis->rank == 0 && status == VJ_OK) status = vj_h5_publish(&o->file);
    return vj_h5_commit(&o->file, status);
}

vj_status vj_analysis_file_commit(vj_analysis_file *o, vj_status status)
{
    status = vj_agree(o->analysis->comm, status);
    if (o->begun) {
        H5E_BEGIN_TRY
        {
            status = commit(o, status);
        }
        H5E_END_TRY
    }
    for (int i = 0; i < o->count; i++) H5Tclose(o->datasets[i].type); /* copies in memory: nothing is lost */
    for (int i = 0; i < o->attribute_count; i++) free(o->attributes[i].text);
    free(o->datasets);
    free(o->attributes);
    free(o);
    return status;
}
