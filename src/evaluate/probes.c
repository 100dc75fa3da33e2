/* Probe files: writes all heads of a campaign, and reads files as heads that are measured without training. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "evaluate/heads.h"
#include "evaluate/parts.h"

/* ------------------------------------------------------------------------------------------------ writing */

vj_status vj_eval_keep_probes(vj_evaluation *e, const vj_eval_score *scores)
{
    char name[VJ_HEAD_NAME], dir[VJ_PATH + 16];
    snprintf(dir, sizeof dir, "%.*s/probes", VJ_PATH - 1, e->request->dir);
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) return vj_raise(VJ_ERR_IO, "make the folder %s", dir);
    for (int64_t i = 0; i < e->head_count; i++) {
        const vj_eval_head *h = &e->head[i];
        if (h->owner != e->rank) continue;
        vj_probe_file file = {.facts = vj_eval_head_facts(e, h)};
        if (h->on_tokens)
            vj_probe_file_of_token_probe(&file, &(vj_token_probe_shape){h->shape.D, h->shape.heads, h->shape.classes,
                                                                        h->shape.depth, h->shape.tokens});
        else
            vj_probe_file_of_head(&file, &h->shape);
        file.facts.probe_digest = scores[i].digest;
        if (!h->measured) file.classes = *vj_clips_classes_of(e->train.clips, e->train.label[h->task]);
        vj_eval_head_name(e, h, name);
        if (snprintf(file.path, sizeof file.path, "%s/%s.h5", dir, name) >= (int)sizeof file.path)
            return vj_raise(VJ_ERR_USAGE, "path too long: %s/%s.h5", dir, name);
        VJ_TRY(h->on_tokens ? vj_probe_file_write_token_probe(&file, e->frozen.be, h->token_probe)
                            : vj_probe_file_write_head(&file, e->frozen.be, h->head));
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ which files */

static int is_probe(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name);
    return length > 3 && strcmp(entry->d_name + length - 3, ".h5") == 0;
}

/* Name the last probe like its file, as --keep-probes names files. Names must be unique. */
static vj_status name_by_file(vj_evaluation *e)
{
    vj_probe_file *last = &e->measured[e->measured_count - 1];
    const char *slash = strrchr(last->path, '/'), *base = slash ? slash + 1 : last->path;
    const size_t length = strlen(base), ending = length > 3 && strcmp(base + length - 3, ".h5") == 0 ? 3 : 0;
    snprintf(last->facts.name, sizeof last->facts.name, "%.*s", (int)(length - ending), base);
    for (int64_t i = 0; i < e->measured_count - 1; i++)
        if (strcmp(e->measured[i].facts.name, last->facts.name) == 0)
            return vj_raise(VJ_ERR_USAGE, "%s and %s are both called '%s': give one of the files another name",
                            e->measured[i].path, last->path, last->facts.name);
    return VJ_OK;
}

static vj_status add_file(vj_evaluation *e, const char *folder, const char *name)
{
    char path[VJ_PATH];
    if (snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", name) >= (int)sizeof path)
        return vj_raise(VJ_ERR_USAGE, "path too long: %s/%s", folder, name);
    vj_probe_file *more = realloc(e->measured, sizeof *more * (size_t)(e->measured_count + 1));
    if (!more) return vj_raise(VJ_ERR_MEMORY, "no memory for a list of probes");
    e->measured = more;
    memset(&more[e->measured_count], 0, sizeof *more);
    VJ_TRY(vj_probe_file_open(&more[e->measured_count++], path));
    return name_by_file(e);
}

/* Add a file, or all files of a folder in the order of their names. */
static vj_status add_path(vj_evaluation *e, const char *path)
{
    struct stat info;
    struct dirent **entry;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) return add_file(e, "", path);
    const int n = scandir(path, &entry, is_probe, alphasort);
    if (n < 0) return vj_raise(VJ_ERR_IO, "list the folder %s", path);
    vj_status status = n > 0 ? VJ_OK : vj_raise(VJ_ERR_USAGE, "%s holds no probe (*.h5)", path);
    for (int i = 0; i < n; i++) {
        if (status == VJ_OK) status = add_file(e, path, entry[i]->d_name);
        free(entry[i]);
    }
    free(entry);
    return status;
}

vj_status vj_eval_find_probes(vj_evaluation *e)
{
    vj_strings paths;
    VJ_TRY(vj_frozen_split_paths(&paths, e->request->probes));
    for (int i = 0; i < paths.count; i++) VJ_TRY(add_path(e, paths.item[i]));
    for (int64_t i = 0; i < e->measured_count; i++) {
        const char *task = e->measured[i].facts.task;
        int t = 0;
        while (t < e->tasks.count && strcmp(e->tasks.item[t], task) != 0) t++;
        if (t == VJ_MAX_LABELS) return vj_raise(VJ_ERR_USAGE, "probes of more than %d tasks", VJ_MAX_LABELS);
        if (t == e->tasks.count) snprintf(e->tasks.item[e->tasks.count++], VJ_PATH, "%s", task);
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ as heads */

static vj_status check_probe(vj_evaluation *e, const vj_probe_file *file, int task)
{
    const vj_eval_side *side = &e->validation;
    bool compared;
    if (file->width != e->config->model.width)
        return vj_raise(VJ_ERR_USAGE, "%s is for features of width %d, model.width is %lld", file->path, file->width,
                        (long long)e->config->model.width);
    VJ_TRY(vj_probe_file_check_classes(file, file->facts.task, vj_clips_classes_of(side->clips, side->label[task]),
                                       side->paths, &compared));
    for (int64_t i = 0; i < side->set.count; i++)
        if (vj_eval_set_label(&side->set, i, side->label[task]) >= file->facts.classes)
            return vj_raise(VJ_ERR_USAGE, "%s knows %d classes of '%s', a sample of %s is of class %d", file->path,
                            file->facts.classes, file->facts.task, side->paths,
                            vj_eval_set_label(&side->set, i, side->label[task]));
    if (compared) return VJ_OK;
    return vj_eval_note_unnamed(e, file->facts.task, &file->classes, e->request->probes,
                                vj_clips_classes_of(side->clips, side->label[task]), side->paths);
}

static int find_encoder(const vj_evaluation *e, const char *name)
{
    for (int i = 0; i < e->encoders.count; i++)
        if (strcmp(e->encoders.name[i], name) == 0) return i;
    return -1;
}

static vj_status make_head(vj_evaluation *e, int64_t i)
{
    const vj_probe_file *file = &e->measured[i];
    vj_eval_split *s = &e->split[i];
    vj_eval_head *h = &e->head[i];
    int task = 0;
    while (strcmp(e->tasks.item[task], file->facts.task) != 0) task++;
    VJ_TRY(check_probe(e, file, task));
    *s = (vj_eval_split){.task = task,
                         .labels = file->facts.labels,
                         .seed = file->facts.seed,
                         .digest = file->facts.split_digest,
                         .learned = file->facts.training_samples};
    *h = (vj_eval_head){.encoder = find_encoder(e, file->facts.encoder),
                        .task = task,
                        .split = (int)i,
                        .seed = file->facts.seed,
                        .key_at = -1,
                        .owner = (int)(i % e->size),
                        .measured = file,
                        .on_tokens = file->on_tokens,
                        .shape = vj_probe_file_head_shape(file, e->tokens, 1)};
    if (h->encoder < 0)
        return vj_raise(VJ_ERR_USAGE, "%s is of encoder '%s', which is not among those given", file->path,
                        file->facts.encoder);
    if (h->shape.pooling != VJ_POOL_ATTENTIVE || h->on_tokens) return VJ_OK;
    h->key_at = e->encoded.keyed[h->encoder]++;
    if (e->key_heads != 0 && e->key_heads != h->shape.heads)
        return vj_raise(VJ_ERR_USAGE, "%s has %d heads of attention, others have %lld: measure them apart", file->path,
                        h->shape.heads, (long long)e->key_heads);
    e->key_heads = h->shape.heads;
    return VJ_OK;
}

/* Return whether two heads have the same entries in the columns of the table. */
static bool same_columns(const vj_eval_head *a, const vj_eval_head *b, const vj_evaluation *e)
{
    return a->encoder == b->encoder && a->task == b->task && a->shape.pooling == b->shape.pooling &&
           a->shape.depth == b->shape.depth && a->on_tokens == b->on_tokens &&
           e->split[a->split].labels == e->split[b->split].labels;
}

static bool differ_in_seed(const vj_eval_head *a, const vj_eval_head *b, const vj_evaluation *e)
{
    return same_columns(a, b, e) && strcmp(a->measured->facts.description, b->measured->facts.description) == 0;
}

/* Files that differ only in the seed make one row of the table, if such files are neighbours and each row has the same
 * number of them. */
static vj_status group_seeds(vj_evaluation *e)
{
    int seeds = 1;
    while (seeds < e->head_count && differ_in_seed(&e->head[0], &e->head[seeds], e)) seeds++;
    for (int64_t i = 1; i < e->head_count; i++)
        if (same_columns(&e->head[i - 1], &e->head[i], e) != (i % seeds != 0) ||
            differ_in_seed(&e->head[i - 1], &e->head[i], e) != (i % seeds != 0))
            return vj_notes_add(&e->notes, "some probes differ in nothing that the table shows: heads.csv has each");
    e->seeds = seeds;
    return VJ_OK;
}

vj_status vj_eval_plan_probes(vj_evaluation *e)
{
    e->sweep = e->seeds = 1;
    e->key_heads = 0;
    e->head = vj_calloc(e->measured_count, sizeof *e->head);
    e->split = vj_calloc(e->measured_count, sizeof *e->split);
    if (!e->head || !e->split) return vj_raise(VJ_ERR_MEMORY, "no memory for a list of probes");
    e->head_count = e->measured_count;
    e->split_count = (int)e->measured_count;
    for (int64_t i = 0; i < e->measured_count; i++) VJ_TRY(make_head(e, i));
    if (e->key_heads == 0) e->key_heads = 1; /* no head has a key: rows are a mean token */
    e->key_floats = e->key_heads * e->config->model.width;
    return group_seeds(e);
}

vj_status vj_eval_read_probes(vj_evaluation *e)
{
    for (int64_t i = 0; i < e->head_count; i++) {
        const vj_eval_head *h = &e->head[i];
        const uint64_t want = h->measured->facts.encoder_digest, found = e->encoders.digest[h->encoder];
        if (want != 0 && want != found)
            return vj_raise(VJ_ERR_USAGE, "%s was trained on features of encoder %016llx, '%s' is %016llx",
                            h->measured->path, (unsigned long long)want, e->encoders.name[h->encoder],
                            (unsigned long long)found);
        if (!vj_eval_has_weights(e, h)) continue;
        VJ_TRY(h->on_tokens ? vj_probe_file_read_token_probe(h->measured, e->frozen.be, h->token_probe)
                            : vj_probe_file_read_head(h->measured, e->frozen.be, h->head));
    }
    return VJ_OK;
}
