/* Writes the catalogue from the manifests, and looks sources up in it. */
#include "pack/catalogue.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "pack/held_out.h"

/* A source in the file: this record, then the path without terminating zero. The index has the offset of each record,
 * and the end of the last. */
typedef struct {
    int32_t dataset, exclusion;
    int64_t windows, first;
    double start_s, end_s;
    int32_t labels[VJ_MAX_LABELS];
} record;

static void file_path(char path[VJ_PATH + 32], const char *dir, const char *name)
{
    snprintf(path, VJ_PATH + 32, "%s/catalogue.%s", dir, name);
}

/* ------------------------------------------------------------------------------------------------ writing */

typedef struct {
    vj_catalogue_summary *summary;
    vj_class_names *classes;
    vj_file data_file, index_file; /* not begun if the files are only counted */
    FILE *data, *index;            /* their streams, or NULL */
    int64_t at;
    int64_t windows;      /* pack.windows */
    int drop;             /* exclude files that are listed twice */
    int reading_held_out; /* the manifest is one of held-out videos */
    const vj_config *config;
    int list;                               /* number of the list being read: pack.lists, then pack.datasets */
    int64_t contradictions;                 /* entries that give a file another label than its first entry did */
    char contradiction[2 * VJ_PATH + 1024]; /* the first of them, for the warning */
    vj_held_out held_out;
    vj_hashmap seen; /* entry -> source; with the number of a label before it, -> its label, and -> its place */
    XXH3_state_t *digest[VJ_MAX_LIST + 1]; /* of each dataset, and of the held-out videos; created when first needed */
} builder;

static vj_status add_digest(builder *b, const vj_media *m)
{
    XXH3_state_t **state = &b->digest[b->reading_held_out ? VJ_MAX_LIST : m->dataset];
    if (!*state) {
        *state = XXH3_createState();
        if (!*state) return vj_raise(VJ_ERR_MEMORY, "no memory for a digest");
        XXH3_64bits_reset(*state);
    }
    const double part[] = {m->start_s, m->end_s, (double)m->windows};
    XXH3_64bits_update(*state, m->listed, strlen(m->listed) + 1);
    XXH3_64bits_update(*state, part, sizeof part);
    XXH3_64bits_update(*state, m->labels, sizeof m->labels);
    return VJ_OK;
}

/* The place of an entry as one number, list and line, and as text. */
enum { LINE_BITS = 40 };

static int64_t place_of(const builder *b, const vj_media *m)
{
    return ((int64_t)b->list << LINE_BITS) + m->line;
}

static void show_place(const builder *b, int64_t place, char text[VJ_PATH + 32])
{
    const vj_strings *lists = &b->config->pack.lists;
    const int list = (int)(place >> LINE_BITS), in_lists = list < lists->count;
    const vj_dataset_settings *d = &b->config->pack.dataset[in_lists ? 0 : list - lists->count];
    const char *name = in_lists ? lists->item[list] : *d->list ? d->list : d->root;
    snprintf(text, VJ_PATH + 32, "%s:%lld", name, (long long)(place & (((int64_t)1 << LINE_BITS) - 1)));
}

static void show_label(const builder *b, int label, int64_t value, char text[256])
{
    const vj_label_classes *classes = &b->classes->of[label];
    if (classes->count > 0)
        snprintf(text, 256, "%.240s", classes->name[value]);
    else
        snprintf(text, 256, "%lld", (long long)value);
}

/* Count labels of an entry that contradict those of an earlier entry for the same part of the same file. */
static vj_status compare_labels(builder *b, const vj_media *m, const char *entry)
{
    char text[VJ_MEDIA_PATH + 256], places[2][VJ_PATH + 32], labels[2][256];
    for (int l = 0; l < VJ_MAX_LABELS; l++) {
        int64_t first_label, first_place;
        if (m->labels[l] < 0) continue;
        snprintf(text, sizeof text, "label %d %s", l, entry);
        VJ_TRY(vj_hashmap_put(&b->seen, text, m->labels[l], &first_label));
        snprintf(text, sizeof text, "place %d %s", l, entry);
        VJ_TRY(vj_hashmap_put(&b->seen, text, place_of(b, m), &first_place));
        if (first_label == m->labels[l] || b->contradictions++ > 0) continue;
        show_place(b, first_place, places[0]);
        show_place(b, place_of(b, m), places[1]);
        show_label(b, l, first_label, labels[0]);
        show_label(b, l, m->labels[l], labels[1]);
        snprintf(b->contradiction, sizeof b->contradiction, "%.300s is %s %.100s in %s and %.100s in %s", m->listed,
                 b->summary->names.label_names[l], labels[0], places[0], labels[1], places[1]);
    }
    return VJ_OK;
}

static void warn_of_contradictions(const builder *b)
{
    if (b->contradictions > 0)
        vj_warn("the lists contradict each other: %s (%lld such entries in all). %s", b->contradiction,
                (long long)b->contradictions,
                b->drop ? "The earlier ones count (pack.duplicates=drop); correct the lists if they are wrong"
                        : "The file is packed with each of its labels; if that is not meant, correct the lists");
}

static vj_status decide(builder *b, const vj_media *m, record *r)
{
    char text[VJ_MEDIA_PATH + 192];
    int64_t first, source = b->summary->sources;
    if (b->reading_held_out) return VJ_OK;
    if (vj_held_out_has(&b->held_out, m->id, m->listed)) {
        r->exclusion = VJ_SOURCE_HELD_OUT_ID;
        b->summary->of_dataset[m->dataset].held_out_ids++;
        return VJ_OK;
    }
    snprintf(text, sizeof text, "%.17g %.17g %s", m->start_s, m->end_s, m->key);
    VJ_TRY(compare_labels(b, m, text));
    VJ_TRY(vj_hashmap_put(&b->seen, text, source, &first));
    if (first == source) return VJ_OK;
    r->exclusion = VJ_SOURCE_LISTED_TWICE;
    r->first = first;
    b->summary->of_dataset[m->dataset].listed_twice++;
    return VJ_OK;
}

static vj_status write_record(builder *b, const record *r, const char *path)
{
    size_t length = strlen(path);
    if (!b->data) return VJ_OK;
    if (fwrite(&b->at, sizeof b->at, 1, b->index) != 1 || fwrite(r, sizeof *r, 1, b->data) != 1 ||
        fwrite(path, 1, length, b->data) != length)
        return vj_raise(VJ_ERR_IO, "write the catalogue");
    b->at += (int64_t)(sizeof *r + length);
    return VJ_OK;
}

static vj_status add_source(void *user, const vj_media *m)
{
    builder *b = user;
    record r = {.dataset = b->reading_held_out ? VJ_SOURCE_HELD_OUT : m->dataset,
                .exclusion = VJ_SOURCE_TAKEN,
                .windows = m->windows > 0 ? m->windows : b->windows,
                .first = -1,
                .start_s = m->start_s,
                .end_s = m->end_s};
    memcpy(r.labels, m->labels, sizeof r.labels);
    VJ_TRY(add_digest(b, m));
    VJ_TRY(decide(b, m, &r));
    VJ_TRY(write_record(b, &r, m->path));
    b->summary->sources++;
    if (!b->reading_held_out && (r.exclusion == VJ_SOURCE_TAKEN || (r.exclusion == VJ_SOURCE_LISTED_TWICE && !b->drop)))
        b->summary->clips += r.windows;
    if (b->reading_held_out)
        b->summary->held_out_videos++;
    else
        b->summary->of_dataset[m->dataset].files++;
    return VJ_OK;
}

/* Read lists that form one dataset: pack.lists, or the held-out videos, whose names and labels are not used. */
static vj_status read_lists(builder *b, const vj_strings *lists, const char *scratch, vj_media_names *names,
                            vj_class_names *classes)
{
    vj_dataset_settings dataset = {.name = "lists"};
    for (int i = 0; i < lists->count; i++) {
        strcpy(dataset.list, lists->item[i]);
        VJ_TRY(vj_manifest_read(names, classes, &dataset, "label", scratch, add_source, b));
        b->list++;
    }
    return VJ_OK;
}

static vj_status read_held_out_videos(builder *b, const vj_strings *lists, const char *scratch)
{
    vj_class_names classes;
    vj_media_names *others = vj_calloc(1, sizeof *others);
    if (!others) return vj_raise(VJ_ERR_MEMORY, "no memory for the names of datasets");
    vj_class_names_init(&classes, scratch);
    b->reading_held_out = 1;
    vj_status status = read_lists(b, lists, scratch, others, &classes);
    vj_class_names_release(&classes);
    free(others);
    return status;
}

static int is_same_file(const char *a, const char *b)
{
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/* Refuse a list that is named twice, unless with another root or pattern, where it names other files. */
static vj_status refuse_twice(const vj_config *config)
{
    const vj_strings *lists = &config->pack.lists;
    for (int i = 1; i < lists->count; i++)
        for (int k = 0; k < i; k++)
            if (is_same_file(lists->item[i], lists->item[k]))
                return vj_raise(VJ_ERR_USAGE, "pack.lists: %s is named twice (as %s): name it once", lists->item[i],
                                lists->item[k]);
    for (int i = 1; i < config->pack.dataset_count; i++)
        for (int k = 0; k < i; k++) {
            const vj_dataset_settings *a = &config->pack.dataset[i], *b = &config->pack.dataset[k];
            const char *one = *a->list ? a->list : a->root, *other = *b->list ? b->list : b->root;
            if (is_same_file(one, other) && strcmp(a->root, b->root) == 0 && strcmp(a->pattern, b->pattern) == 0)
                return vj_raise(VJ_ERR_USAGE,
                                "pack.datasets: %s of dataset %s is named before already, in dataset %s: name it once, "
                                "or give it another root",
                                one, a->name, b->name);
        }
    return VJ_OK;
}

/* Ids in another form than the files' leave nothing out. That must not pass unnoticed. */
static void warn_of_useless_ids(const builder *b)
{
    int64_t found = 0;
    for (int d = 0; d < b->summary->names.dataset_count; d++) found += b->summary->of_dataset[d].held_out_ids;
    if (b->held_out.entries > 0 && found == 0)
        vj_warn("pack.held_out_ids: none of the %lld ids is that of a listed file, so none is left out",
                (long long)b->held_out.entries);
}

static vj_status read_manifests(builder *b, const vj_config *config, const char *scratch)
{
    vj_media_names *names = &b->summary->names;
    if (config->pack.lists.count == 0 && config->pack.dataset_count == 0)
        return vj_raise(VJ_ERR_USAGE, "neither pack.lists nor pack.datasets names a media list");
    VJ_TRY(refuse_twice(config));
    VJ_TRY(vj_held_out_read(&b->held_out, &config->pack.held_out_ids, scratch));
    VJ_TRY(vj_hashmap_init(&b->seen, scratch));
    VJ_TRY(read_lists(b, &config->pack.lists, scratch, names, b->classes));
    for (int i = 0; i < config->pack.dataset_count; i++) {
        const vj_dataset_settings *dataset = &config->pack.dataset[i];
        VJ_TRY(vj_manifest_read(names, b->classes, dataset, dataset->name, scratch, add_source, b));
        b->list++;
    }
    warn_of_useless_ids(b);
    warn_of_contradictions(b);
    VJ_TRY(vj_class_names_number(b->classes, names->label_names));
    return read_held_out_videos(b, &config->pack.held_out_videos, scratch);
}

/* Replace places of class names (class_names.h), which were written as labels, by the final numbers of the classes. */
static vj_status renumber(const builder *b)
{
    record r;
    if (!b->data || vj_class_names_are_in_order(b->classes)) return VJ_OK;
    if (fflush(b->data) != 0 || fflush(b->index) != 0) return vj_raise(VJ_ERR_IO, "write the catalogue");
    for (int64_t i = 0, at; i < b->summary->sources; i++) {
        if (vj_read_at(b->index_file.fd, &at, sizeof at, i * (int64_t)sizeof at) != sizeof at ||
            vj_read_at(b->data_file.fd, &r, sizeof r, at) != sizeof r)
            return vj_raise(VJ_ERR_IO, "read %s again", b->data_file.part);
        if (r.dataset < 0) continue;
        for (int l = 0; l < VJ_MAX_LABELS; l++)
            if (r.labels[l] >= 0 && b->classes->of[l].count > 0) r.labels[l] = b->classes->of[l].number[r.labels[l]];
        if (!vj_write_at(b->data_file.fd, &r, sizeof r, at))
            return vj_raise(VJ_ERR_IO, "write the labels into %s", b->data_file.part);
    }
    return VJ_OK;
}

static uint64_t digest_classes(const vj_label_classes *c)
{
    uint64_t digest = 0;
    for (int64_t i = 0; i < c->count; i++) {
        digest = XXH3_64bits_withSeed(c->name[i], strlen(c->name[i]) + 1, digest);
        digest = XXH3_64bits_withSeed(&c->number[i], sizeof c->number[i], digest);
    }
    return digest;
}

static void finish_summary(builder *b)
{
    vj_catalogue_summary *s = b->summary;
    for (int i = 0; i < VJ_MAX_LIST; i++)
        if (b->digest[i]) s->of_dataset[i].digest = XXH3_64bits_digest(b->digest[i]);
    if (b->digest[VJ_MAX_LIST]) s->held_out_videos_digest = XXH3_64bits_digest(b->digest[VJ_MAX_LIST]);
    s->held_out_ids = b->held_out.entries;
    s->held_out_ids_digest = b->held_out.digest;
    for (int l = 0; l < VJ_MAX_LABELS; l++) {
        s->classes[l].count = b->classes->of[l].count;
        s->classes[l].digest = digest_classes(&b->classes->of[l]);
    }
    s->digest = XXH3_64bits(s, offsetof(vj_catalogue_summary, digest)); /* padding is zero too */
    for (int l = 0; l < VJ_MAX_LABELS; l++)
        if (s->classes[l].count > 0) s->digest = XXH3_64bits_withSeed(&s->classes[l], sizeof s->classes[l], s->digest);
}

static vj_status finish_file(vj_file *file, vj_status status)
{
    if (!file->stream) return status;
    if (status == VJ_OK) return vj_file_commit(file);
    vj_file_rollback(file);
    return status;
}

static vj_status create_files(builder *b, const char *dir)
{
    char path[VJ_PATH + 32];
    file_path(path, dir, "data");
    VJ_TRY(vj_file_begin_text(&b->data_file, path));
    b->data = b->data_file.stream;
    file_path(path, dir, "index");
    VJ_TRY(vj_file_begin_text(&b->index_file, path));
    b->index = b->index_file.stream;
    return VJ_OK;
}

vj_status vj_catalogue_build(vj_catalogue_summary *summary, vj_class_names *classes, const vj_config *config,
                             const char *dir, const char *scratch)
{
    builder b = {.data_file = VJ_FILE_NONE,
                 .index_file = VJ_FILE_NONE,
                 .summary = summary,
                 .classes = classes,
                 .windows = config->pack.windows,
                 .config = config,
                 .drop = config->pack.duplicates == VJ_DUPLICATES_DROP};
    memset(summary, 0, sizeof *summary);
    vj_status status = dir ? create_files(&b, dir) : VJ_OK;
    if (status == VJ_OK) status = read_manifests(&b, config, scratch);
    if (status == VJ_OK) finish_summary(&b);
    if (status == VJ_OK) status = renumber(&b);
    if (status == VJ_OK && b.index && fwrite(&b.at, sizeof b.at, 1, b.index) != 1)
        status = vj_raise(VJ_ERR_IO, "write the catalogue");
    status = finish_file(&b.data_file, status);
    status = finish_file(&b.index_file, status);
    for (int i = 0; i <= VJ_MAX_LIST; i++) XXH3_freeState(b.digest[i]);
    vj_held_out_release(&b.held_out);
    vj_hashmap_release(&b.seen);
    return status;
}

void vj_catalogue_remove(const char *dir)
{
    char path[VJ_PATH + 32];
    file_path(path, dir, "data");
    (void)unlink(path); /* a file that cannot be removed only takes space */
    file_path(path, dir, "index");
    (void)unlink(path);
}

/* ------------------------------------------------------------------------------------------------ looking up */

vj_status vj_catalogue_open(vj_catalogue *c, const char *dir, int64_t sources)
{
    char path[VJ_PATH + 32];
    *c = (vj_catalogue){.data = -1, .index = -1, .sources = sources};
    snprintf(c->dir, sizeof c->dir, "%s", dir);
    file_path(path, dir, "data");
    c->data = open(path, O_RDONLY | O_CLOEXEC);
    if (c->data < 0) return vj_raise(VJ_ERR_IO, "open %s", path);
    file_path(path, dir, "index");
    c->index = open(path, O_RDONLY | O_CLOEXEC);
    return c->index < 0 ? vj_raise(VJ_ERR_IO, "open %s", path) : VJ_OK;
}

static vj_status read_at(const vj_catalogue *c, int fd, void *data, int64_t bytes, int64_t at)
{
    const int64_t got = vj_read_at(fd, data, bytes, at);
    if (got < 0) return vj_raise(VJ_ERR_IO, "read the catalogue in %s", c->dir);
    if (got < bytes) return vj_raise(VJ_ERR_FORMAT, "the catalogue in %s ends too early: start again", c->dir);
    return VJ_OK;
}

vj_status vj_catalogue_find(const vj_catalogue *c, int64_t source, vj_pack_source *found)
{
    int64_t range[2];
    record r;
    VJ_ASSERT(source >= 0 && source < c->sources);
    VJ_TRY(read_at(c, c->index, range, sizeof range, source * (int64_t)sizeof *range));
    int64_t length = range[1] - range[0] - (int64_t)sizeof r;
    if (length < 0 || length >= VJ_MEDIA_PATH)
        return vj_raise(VJ_ERR_FORMAT, "the catalogue in %s is damaged: start again", c->dir);
    VJ_TRY(read_at(c, c->data, &r, sizeof r, range[0]));
    VJ_TRY(read_at(c, c->data, found->path, length, range[0] + (int64_t)sizeof r));
    found->path[length] = '\0';
    found->dataset = r.dataset;
    found->exclusion = r.exclusion;
    found->windows = r.windows;
    found->first = r.first;
    found->start_s = r.start_s;
    found->end_s = r.end_s;
    memcpy(found->labels, r.labels, sizeof found->labels);
    return VJ_OK;
}

void vj_catalogue_close(vj_catalogue *c)
{
    if (c->data >= 0) (void)close(c->data); /* only read */
    if (c->index >= 0) (void)close(c->index);
    c->data = c->index = -1;
}
