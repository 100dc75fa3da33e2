/* Prints, verifies and compares probe files, tensor by tensor. */
#include <stdlib.h>
#include <string.h>

#include "probe/probe_file_parts.h"

/* The names of a file's tensors, in the order of names. */
typedef struct {
    int64_t count;
    char (*name)[VJ_TENSOR_NAME]; /* owned */
} names;

static vj_status list(hid_t file, const char *path, names *n)
{
    *n = (names){0};
    H5G_info_t info;
    const hid_t group = H5Gopen2(file, "weights", H5P_DEFAULT);
    if (group < 0) return vj_raise_h5("%s: no group weights", path), VJ_ERR_FORMAT;
    vj_status status = H5Gget_info(group, &info) < 0 ? (vj_raise_h5("%s: list weights", path), VJ_ERR_FORMAT) : VJ_OK;
    if (status == VJ_OK) {
        n->name = vj_calloc((int64_t)info.nlinks, sizeof *n->name);
        n->count = n->name ? (int64_t)info.nlinks : 0;
        if (!n->name) status = vj_raise(VJ_ERR_MEMORY, "no memory to list %s", path);
    }
    for (int64_t i = 0; i < n->count && status == VJ_OK; i++) {
        const ssize_t length = H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, (hsize_t)i, n->name[i],
                                                  sizeof n->name[i], H5P_DEFAULT);
        if (length < 1 || length >= (ssize_t)sizeof n->name[i] || !vj_printable(n->name[i]))
            status = vj_raise(VJ_ERR_FORMAT, "%s: a tensor has no name of 1 to %d bytes", path, VJ_TENSOR_NAME - 1);
    }
    H5Gclose(group);
    return status;
}

/* ------------------------------------------------------------------------------------------------ print */

static void print_facts(const vj_probe_file *f, FILE *out)
{
    const vj_head_facts *h = &f->facts;
    fprintf(out, "%s: a probe, %s\n  kind       %s", f->path, h->name[0] ? h->name : "without a name", h->kind);
    if (f->heads > 0)
        fprintf(out, ", depth %d%s, %d heads%s", f->depth,
                f->depth == 1  ? ""
                : f->on_tokens ? " (blocks on the tokens)"
                               : " (blocks on the query)",
                f->heads, f->norm_last ? ", norm behind the MLP" : "");
    fprintf(out, "\n  input      tokens of width %d; in training %lld a sample\n", f->width, (long long)f->tokens);
    fprintf(out, "  encoder    %s, digest %016llx\n", h->encoder[0] ? h->encoder : "not known",
            (unsigned long long)h->encoder_digest);
    fprintf(out, "  trained on %lld samples, %g %% of the labels by %s, split digest %016llx, seed %llu\n",
            (long long)h->training_samples, h->labels, h->split[0] ? h->split : "an unknown rule",
            (unsigned long long)h->split_digest, (unsigned long long)h->seed);
    fprintf(out, "  preset     %s, features %s\n", h->preset[0] ? h->preset : "not known",
            h->features[0] ? h->features : "not known");
    if (h->description[0]) fprintf(out, "             %s\n", h->description);
    fprintf(out, "  digest     %016llx\n", (unsigned long long)h->probe_digest);
}

static void print_classes(const vj_probe_file *f, FILE *out)
{
    enum { SHOWN = 10 };
    fprintf(out, "  classes    %d of %s", f->facts.classes, f->facts.task[0] ? f->facts.task : "an unknown task");
    if (f->classes.count == 0) {
        fprintf(out, ", without names\n");
        return;
    }
    fprintf(out, ", names with digest %016llx\n", (unsigned long long)f->facts.class_digest);
    for (int64_t c = 0; c < f->classes.count && c < SHOWN; c++)
        fprintf(out, "    %6lld  %s\n", (long long)c, vj_clips_classes_name(&f->classes, c));
    if (f->classes.count > SHOWN) fprintf(out, "    and %lld more\n", (long long)f->classes.count - SHOWN);
}

typedef struct {
    const char *path;
    FILE *out;
} printer;

static vj_status print_work(hid_t file, void *with)
{
    const printer *p = with;
    int64_t elements = 0;
    names n;
    vj_status status = list(file, p->path, &n);
    if (status == VJ_OK) status = vj_h5_print_provenance(file, p->path, p->out);
    for (int64_t i = 0; i < n.count && status == VJ_OK; i++) {
        vj_probe_file_tensor t;
        status = vj_probe_file_tensor_read(file, p->path, n.name[i], &t);
        if (status == VJ_OK) {
            fprintf(p->out, "    %-64s [", t.name);
            for (int d = 0; d < t.ndim; d++) fprintf(p->out, "%s%lld", d ? ", " : "", (long long)t.dim[d]);
            fprintf(p->out, "]%s\n", t.intact ? "" : " DAMAGED");
            elements += t.count;
        }
        free(t.values);
    }
    if (status == VJ_OK) fprintf(p->out, "  %lld tensors, %lld elements\n", (long long)n.count, (long long)elements);
    free(n.name);
    return status;
}

vj_status vj_probe_file_print(const char *path, FILE *out)
{
    vj_probe_file f;
    vj_status status = vj_probe_file_open(&f, path);
    if (status == VJ_OK) {
        print_facts(&f, out);
        print_classes(&f, out);
        status = vj_probe_file_with(path, print_work, &(printer){path, out});
    }
    vj_probe_file_release(&f);
    return status;
}

/* ------------------------------------------------------------------------------------------------ verify */

typedef struct {
    const char *path;
    uint64_t digest; /* of all tensors, as expected */
    int64_t blocks, damaged;
} verifier;

static vj_status verify_work(hid_t file, void *with)
{
    verifier *v = with;
    uint64_t digest = 0;
    names n;
    vj_status status = list(file, v->path, &n);
    for (int64_t i = 0; i < n.count && status == VJ_OK; i++) {
        vj_probe_file_tensor t;
        status = vj_probe_file_tensor_read(file, v->path, n.name[i], &t);
        if (status == VJ_OK && !t.intact) {
            vj_raise(VJ_ERR_FORMAT, "%s is damaged: %s does not fit its checksum", v->path, t.name);
            v->damaged++;
        }
        v->blocks++;
        if (status == VJ_OK) digest = vj_probe_digest_add(digest, t.name, t.values, t.count);
        free(t.values);
    }
    if (status == VJ_OK && v->damaged == 0 && digest != v->digest) {
        vj_raise(VJ_ERR_FORMAT, "%s is damaged: its tensors have the digest %016llx, not %016llx", v->path,
                 (unsigned long long)digest, (unsigned long long)v->digest);
        v->damaged++;
    }
    free(n.name);
    return status;
}

vj_status vj_probe_file_verify(const char *path, int64_t *blocks, int64_t *damaged)
{
    vj_probe_file f;
    verifier v = {.path = path};
    vj_status status = vj_probe_file_open(&f, path);
    v.digest = f.facts.probe_digest;
    vj_probe_file_release(&f);
    if (status == VJ_OK) status = vj_probe_file_with(path, verify_work, &v);
    *blocks = v.blocks;
    *damaged = v.damaged;
    return status;
}

/* ------------------------------------------------------------------------------------------------ compare */

/* All tensors of a file. */
typedef struct {
    const char *path;
    int64_t count;
    vj_probe_file_tensor *tensor; /* [count], owned with their values; in the order of names */
} content;

static vj_status content_work(hid_t file, void *with)
{
    content *c = with;
    names n;
    vj_status status = list(file, c->path, &n);
    if (status == VJ_OK && !(c->tensor = vj_calloc(n.count, sizeof *c->tensor)))
        status = vj_raise(VJ_ERR_MEMORY, "no memory to read %s", c->path);
    for (int64_t i = 0; i < n.count && status == VJ_OK; i++) {
        status = vj_probe_file_tensor_read(file, c->path, n.name[i], &c->tensor[i]);
        c->count = i + 1;
        if (status == VJ_OK && !c->tensor[i].intact)
            status = vj_raise(VJ_ERR_FORMAT, "%s is damaged: %s does not fit its checksum", c->path, n.name[i]);
    }
    free(n.name);
    return status;
}

static bool equal(const vj_probe_file_tensor *a, const vj_probe_file_tensor *b)
{
    return a->ndim == b->ndim && memcmp(a->dim, b->dim, sizeof *a->dim * (size_t)a->ndim) == 0 &&
           memcmp(a->values, b->values, sizeof *a->values * (size_t)a->count) == 0;
}

/* Both lists are in the order of names. */
static int64_t compare_tensors(const content *a, const content *b, FILE *out)
{
    int64_t i = 0, j = 0, same = 0, different = 0;
    while (i < a->count || j < b->count) {
        const int order = i == a->count ? 1 : j == b->count ? -1 : strcmp(a->tensor[i].name, b->tensor[j].name);
        if (order != 0)
            fprintf(out, "%s is in %s only\n", order < 0 ? a->tensor[i].name : b->tensor[j].name,
                    order < 0 ? a->path : b->path);
        else if (!equal(&a->tensor[i], &b->tensor[j]))
            fprintf(out, "%s differs\n", a->tensor[i].name);
        else
            same++;
        different += order != 0 || !equal(&a->tensor[i], &b->tensor[j]);
        i += order <= 0;
        j += order >= 0;
    }
    fprintf(out, "%lld tensors equal, %lld different\n", (long long)same, (long long)different);
    return different;
}

vj_status vj_probe_file_compare(const char *a, const char *b, FILE *out, int64_t *different)
{
    const char *path[2] = {a, b};
    vj_probe_file f[2] = {{.width = 0}, {.width = 0}};
    content c[2] = {{.path = a}, {.path = b}};
    vj_status status = VJ_OK;
    for (int i = 0; i < 2 && status == VJ_OK; i++) {
        status = vj_probe_file_open(&f[i], path[i]);
        if (status == VJ_OK) status = vj_probe_file_with(path[i], content_work, &c[i]);
    }
    if (status == VJ_OK) {
        *different = vj_clips_compare_classes(f[0].facts.task, &f[0].classes, &f[1].classes, out);
        *different += compare_tensors(&c[0], &c[1], out);
    }
    for (int i = 0; i < 2; i++) {
        for (int64_t k = 0; k < c[i].count; k++) free(c[i].tensor[k].values);
        free(c[i].tensor);
        vj_probe_file_release(&f[i]);
    }
    return status;
}
