/* Reads predictions.h5. The file is not trusted: types, sizes and ranges are checked. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "h5/h5.h"
#include "probe/predictions_table.h"

#define FACT(KIND, field)                                                                                              \
    {                                                                                                                  \
#field, VJ_FACT_##KIND, offsetof(vj_head_facts, field), sizeof(((vj_head_facts *)0)->field)                    \
    }

const vj_fact vj_facts[] = {
    FACT(TEXT, task),        FACT(TEXT, encoder),     FACT(TEXT, kind),          FACT(TEXT, features),
    FACT(TEXT, preset),      FACT(TEXT, precision),   FACT(TEXT, split),         FACT(TEXT, description),
    FACT(F64, labels),       FACT(U64, seed),         FACT(U64, encoder_digest), FACT(U64, train_digest),
    FACT(U64, store_digest), FACT(U64, split_digest), FACT(U64, class_digest),   FACT(I64, training_samples),
    FACT(I64, counted),      FACT(I64, failed),       FACT(INT, classes),        {NULL, VJ_FACT_TEXT, 0, 0},
};

hid_t vj_prediction_type(void)
{
    const hsize_t top = VJ_TOP;
    const hid_t type = H5Tcreate(H5T_COMPOUND, sizeof(vj_prediction));
    const hid_t classes = H5Tarray_create2(H5T_STD_I32LE, 1, &top), chances = H5Tarray_create2(H5T_IEEE_F32LE, 1, &top);
    H5Tinsert(type, "clip", offsetof(vj_prediction, clip), H5T_STD_I64LE);
    H5Tinsert(type, "content", offsetof(vj_prediction, content), H5T_STD_U64LE);
    H5Tinsert(type, "label", offsetof(vj_prediction, label), H5T_STD_I32LE);
    H5Tinsert(type, "rank", offsetof(vj_prediction, rank), H5T_STD_I32LE);
    H5Tinsert(type, "views", offsetof(vj_prediction, views), H5T_STD_I32LE);
    H5Tinsert(type, "class", offsetof(vj_prediction, top), classes);
    H5Tinsert(type, "probability", offsetof(vj_prediction, chance), chances);
    H5Tclose(classes);
    H5Tclose(chances);
    return type;
}

/* ------------------------------------------------------------------------------------------------ the heads */

static vj_status read_text(hid_t table, const char *path, const vj_fact *f, char *to)
{
    char *text;
    VJ_TRY(vj_h5_get_text(table, path, f->name, &text));
    const bool fits = strlen(text) < f->bytes;
    if (fits) strcpy(to, text);
    free(text);
    return fits ? VJ_OK : vj_raise(VJ_ERR_FORMAT, "%s: attribute %s is longer than %zu bytes", path, f->name, f->bytes);
}

vj_status vj_fact_get(hid_t table, const char *path, const vj_fact *f, vj_head_facts *head)
{
    char *to = (char *)head + f->offset;
    int64_t number;
    switch (f->kind) {
    case VJ_FACT_TEXT:
        return read_text(table, path, f, to);
    case VJ_FACT_I64:
        return vj_h5_get_i64(table, path, f->name, (int64_t *)to);
    case VJ_FACT_U64:
        return vj_h5_get_u64(table, path, f->name, (uint64_t *)to);
    case VJ_FACT_F64:
        return vj_h5_get_f64(table, path, f->name, (double *)to);
    case VJ_FACT_INT:
        VJ_TRY(vj_h5_get_i64(table, path, f->name, &number));
        if (number < 1 || number > VJ_MAX_CLASSES)
            return vj_raise(VJ_ERR_FORMAT, "%s: attribute %s is %lld", path, f->name, (long long)number);
        *(int *)to = (int)number;
    }
    return VJ_OK;
}

/* Check the number of rows of a table and their type. */
static vj_status check_table(hid_t table, const char *path, const vj_head_facts *h)
{
    hsize_t rows = 0;
    const hid_t space = H5Dget_space(table), found = H5Dget_type(table), ours = vj_prediction_type();
    vj_status status = VJ_OK;
    if (H5Sget_simple_extent_ndims(space) != 1 || H5Sget_simple_extent_dims(space, &rows, NULL) != 1 ||
        h->counted < 0 || rows != (hsize_t)h->counted)
        status =
            vj_raise(VJ_ERR_FORMAT, "%s: %s has not the %lld rows that it says", path, h->name, (long long)h->counted);
    else if (H5Tequal(found, ours) <= 0)
        status = vj_raise(VJ_ERR_FORMAT, "%s: %s has rows of another type than vjepa writes", path, h->name);
    else
        status = vj_h5_check_stored(table, path, h->name);
    H5Tclose(ours);
    H5Tclose(found);
    H5Sclose(space);
    return status;
}

static vj_status read_facts(vj_head_facts *h, int64_t *number, hid_t group, const char *path)
{
    const hid_t table = H5Dopen2(group, h->name, H5P_DEFAULT);
    if (table < 0) return vj_raise_h5("%s: %s is no table", path, h->name), VJ_ERR_FORMAT;
    vj_status status = vj_h5_get_i64(table, path, "number", number);
    for (const vj_fact *f = vj_facts; f->name && status == VJ_OK; f++) status = vj_fact_get(table, path, f, h);
    if (status == VJ_OK) status = vj_h5_get_u64(table, path, "probe_digest", &h->probe_digest);
    if (status == VJ_OK) status = check_table(table, path, h);
    H5Dclose(table);
    return status;
}

/* Read the facts of a head into the place that its number gives. */
static vj_status read_head(vj_predictions *p, hid_t group, hsize_t at)
{
    vj_head_facts h = {0};
    int64_t number;
    const ssize_t length =
        H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, at, h.name, sizeof h.name, H5P_DEFAULT);
    if (length < 1 || length >= (ssize_t)sizeof h.name || !vj_printable(h.name))
        return vj_raise(VJ_ERR_FORMAT, "%s: a head has no name of 1 to %zu bytes", p->path, sizeof h.name - 1);
    VJ_TRY(read_facts(&h, &number, group, p->path));
    if (number < 0 || number >= p->count || p->head[number].name[0])
        return vj_raise(VJ_ERR_FORMAT, "%s: %s is head %lld of %lld, or another is too", p->path, h.name,
                        (long long)number, (long long)p->count);
    p->head[number] = h;
    return VJ_OK;
}

static vj_status read_heads(vj_predictions *p, hid_t file)
{
    H5G_info_t info;
    const hid_t group = H5Gopen2(file, "heads", H5P_DEFAULT);
    if (group < 0) return vj_raise_h5("%s: no group heads", p->path), VJ_ERR_FORMAT;
    vj_status status = H5Gget_info(group, &info) < 0 ? VJ_ERR_FORMAT : VJ_OK;
    if (status != VJ_OK) vj_raise_h5("%s: heads cannot be listed", p->path);
    if (status == VJ_OK) {
        p->head = vj_calloc((int64_t)info.nlinks, sizeof *p->head);
        if (!p->head) status = vj_raise(VJ_ERR_MEMORY, "no memory for %llu heads", (unsigned long long)info.nlinks);
        p->count = p->head ? (int64_t)info.nlinks : 0;
    }
    for (hsize_t i = 0; i < (hsize_t)p->count && status == VJ_OK; i++) status = read_head(p, group, i);
    H5Gclose(group);
    return status;
}

static vj_status open_and(const char *path, vj_status (*work)(hid_t file, void *with), void *with)
{
    hid_t file;
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = vj_h5_open(&file, path, VJ_PREDICTIONS_FORMAT, VJ_PREDICTIONS_VERSION);
        if (status == VJ_OK) {
            status = work(file, with);
            H5Fclose(file); /* only read */
        }
    }
    H5E_END_TRY
    return status;
}

static vj_status open_work(hid_t file, void *with)
{
    vj_predictions *p = with;
    VJ_TRY(vj_h5_get_text(file, p->path, "config", &p->config));
    return read_heads(p, file);
}

vj_status vj_predictions_open(vj_predictions *p, const char *path)
{
    *p = (vj_predictions){0};
    if (snprintf(p->path, sizeof p->path, "%s", path) >= (int)sizeof p->path)
        return vj_raise(VJ_ERR_USAGE, "path too long: %s", path);
    return open_and(path, open_work, p);
}

void vj_predictions_release(vj_predictions *p)
{
    free(p->head);
    free(p->config);
    *p = (vj_predictions){0};
}

int64_t vj_predictions_find(const vj_predictions *p, const char *name)
{
    for (int64_t i = 0; i < p->count; i++)
        if (strcmp(p->head[i].name, name) == 0) return i;
    return -1;
}

/* ------------------------------------------------------------------------------------------------ the rows */

typedef struct {
    const vj_predictions *predictions;
    const vj_head_facts *head;
    vj_prediction *rows;
} row_request;

static vj_status check_rows(const row_request *r)
{
    const int classes = r->head->classes;
    for (int64_t i = 0; i < r->head->counted; i++) {
        const vj_prediction *p = &r->rows[i];
        bool good = p->label >= 0 && p->label < classes && p->rank >= 0 && p->rank < classes && p->views >= 1;
        for (int k = 0; k < VJ_TOP; k++) good &= k < classes ? p->top[k] >= 0 && p->top[k] < classes : p->top[k] == -1;
        for (int k = 0; k < VJ_TOP; k++) good &= p->chance[k] >= 0.0f && p->chance[k] <= 1.0f;
        if (!good)
            return vj_raise(VJ_ERR_FORMAT, "%s: row %lld of %s has a class, rank or probability that cannot be",
                            r->predictions->path, (long long)i, r->head->name);
    }
    return VJ_OK;
}

static vj_status rows_work(hid_t file, void *with)
{
    row_request *r = with;
    char name[VJ_HEAD_NAME + 8];
    snprintf(name, sizeof name, "heads/%s", r->head->name);
    const hid_t table = H5Dopen2(file, name, H5P_DEFAULT);
    if (table < 0) return vj_raise_h5("%s: no table %s", r->predictions->path, name), VJ_ERR_FORMAT;
    vj_status status = check_table(table, r->predictions->path, r->head);
    const hid_t type = vj_prediction_type();
    if (status == VJ_OK && !(r->rows = vj_calloc(r->head->counted + 1, sizeof *r->rows)))
        status = vj_raise(VJ_ERR_MEMORY, "no memory for %lld predictions", (long long)r->head->counted);
    if (status == VJ_OK && H5Dread(table, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, r->rows) < 0)
        status = vj_raise_h5("%s: read %s", r->predictions->path, name);
    if (status == VJ_OK) status = check_rows(r);
    H5Tclose(type);
    H5Dclose(table);
    return status;
}

vj_status vj_predictions_read(const vj_predictions *p, int64_t head, vj_prediction **rows)
{
    row_request r = {.predictions = p, .head = &p->head[head]};
    const vj_status status = open_and(p->path, rows_work, &r);
    *rows = r.rows;
    if (status != VJ_OK) {
        free(r.rows);
        *rows = NULL;
    }
    return status;
}

typedef struct {
    const char *path, *task;
    vj_clips_classes *classes;
} classes_request;

static vj_status classes_work(hid_t file, void *with)
{
    const classes_request *r = with;
    return vj_clips_get_classes(file, r->path, r->task, r->classes);
}

vj_status vj_predictions_classes(const vj_predictions *p, const char *task, vj_clips_classes *classes)
{
    *classes = (vj_clips_classes){0};
    return open_and(p->path, classes_work, &(classes_request){p->path, task, classes});
}
