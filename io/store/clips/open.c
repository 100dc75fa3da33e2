/*
 * Opens stores: rank 0 reads the indices column by column, checks every value, and distributes them. Each shard file is
 * checked on disk, and opened once, by one of the ranks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/progress.h"
#include "clips/store.h"
#include "parallel/parallel.h"

/* ------------------------------------------------------------------------------------------------ tables */

/* A table of the store with a row for each shard or clip: offset of its pointer in vj_clips, bytes of a row. */
typedef struct {
    size_t at, row_bytes;
    int64_t rows;
} table;
enum { TABLES = 10 };

#define TABLE(member) offsetof(vj_clips, member), sizeof *((vj_clips *)0)->member

static void list_tables(table tables[TABLES], const vj_clips *clips, int64_t count, int64_t shards)
{
    const int labels = clips->layout.label_count;
    const table all[TABLES] = {
        {TABLE(shard), shards},
        {TABLE(offset), count},
        {TABLE(xxh3), count},
        {TABLE(bytes), count},
        {TABLE(clip_shard), count},
        {TABLE(shape), count},
        {TABLE(source), count},
        {TABLE(window), count},
        {TABLE(dataset), count},
        {offsetof(vj_clips, label), sizeof(int32_t) * (size_t)(labels ? labels : 1), labels ? count : 0},
    };
    memcpy(tables, all, sizeof all);
}

static void *get_table(const vj_clips *clips, const table *t)
{
    void *memory;
    memcpy(&memory, (const char *)clips + t->at, sizeof memory);
    return memory;
}

static void set_table(vj_clips *clips, const table *t, void *memory)
{
    memcpy((char *)clips + t->at, &memory, sizeof memory);
}

static size_t table_bytes(const table *t)
{
    return (size_t)t->rows * t->row_bytes;
}

/* On rank 0, while it reads: resize the tables, which are in its own memory and grow with each store. */
static vj_status resize_tables(vj_clips *clips, int64_t count, int64_t shards)
{
    table tables[TABLES];
    list_tables(tables, clips, count, shards);
    for (int i = 0; i < TABLES; i++) {
        const table *t = &tables[i];
        void *moved = (size_t)t->rows < SIZE_MAX / 2 / t->row_bytes
                          ? realloc(get_table(clips, t), table_bytes(t) ? table_bytes(t) : 1)
                          : NULL;
        if (!moved) return vj_raise(VJ_ERR_MEMORY, "no memory for a table of %lld rows", (long long)t->rows);
        set_table(clips, t, moved);
    }
    clips->count = count;
    clips->shards = shards;
    return VJ_OK;
}

/* Free the tables in rank 0's own memory. */
static void free_tables(vj_clips *clips)
{
    table tables[TABLES];
    list_tables(tables, clips, 0, 0);
    for (int i = 0; i < TABLES; i++) {
        free(get_table(clips, &tables[i]));
        set_table(clips, &tables[i], NULL);
    }
}

/* ------------------------------------------------------------------------------------------------ one index */

/* One index while it is read into the tables, from row `first` on. */
typedef struct {
    hid_t file;
    char path[VJ_CLIPS_FILE_PATH];
    const char *dir;
    vj_clips_header layout;
    int64_t clips, shards;            /* of this store */
    int64_t first, first_shard;       /* first rows of this store in the tables */
    uint8_t dataset[VJ_MAX_DATASETS]; /* data set numbers of this store -> those of all stores together */
    int64_t *wide;                    /* [clips] a column before it is narrowed */
    int32_t *label;                   /* [clips, layout.label_count] */
} index_reader;

static vj_status get_column(const index_reader *r, const char *name, hid_t type, void *to)
{
    const hsize_t n = (hsize_t)r->clips;
    return vj_clips_get(r->file, r->path, name, type, 1, &n, to);
}

/* Read a column into r->wide; every value must be in [low, high]. */
static vj_status get_bounded(const index_reader *r, const char *name, int64_t low, int64_t high)
{
    VJ_TRY(get_column(r, name, H5T_NATIVE_INT64, r->wide));
    for (int64_t i = 0; i < r->clips; i++)
        if (r->wide[i] < low || r->wide[i] > high)
            return vj_raise(VJ_ERR_FORMAT, "%s is damaged: %s of clip %lld is %lld, expected %lld to %lld", r->path,
                            name, (long long)i, (long long)r->wide[i], (long long)low, (long long)high);
    return VJ_OK;
}

static vj_status get_shards(const index_reader *r, vj_clips *clips)
{
    const hsize_t n = (hsize_t)r->shards;
    int64_t *bytes = vj_calloc(r->shards, sizeof *bytes);
    vj_status status = bytes ? vj_clips_get(r->file, r->path, "/shards/bytes", H5T_NATIVE_INT64, 1, &n, bytes)
                             : vj_raise(VJ_ERR_MEMORY, "no memory for a table of %lld shards", (long long)r->shards);
    for (int64_t s = 0; s < r->shards && status == VJ_OK; s++) {
        vj_clips_shard_file *shard = &clips->shard[r->first_shard + s];
        vj_clips_shard_path(shard->path, r->dir, s);
        shard->bytes = bytes[s];
        if (bytes[s] < 0)
            status = vj_raise(VJ_ERR_FORMAT, "%s is damaged: shard %lld has %lld bytes", r->path, (long long)s,
                              (long long)bytes[s]);
        shard->codec = r->layout.codec.codec;
        shard->frames = r->layout.frames;
    }
    free(bytes);
    return status;
}

static vj_status get_shapes(const index_reader *r, vj_clips *clips)
{
    vj_clips_shape *shape = clips->shape + r->first;
    VJ_TRY(get_bounded(r, "/clips/height", 1, VJ_CLIPS_MAX_SIDE));
    for (int64_t i = 0; i < r->clips; i++) shape[i].height_less_1 = (uint16_t)(r->wide[i] - 1);
    VJ_TRY(get_bounded(r, "/clips/width", 1, VJ_CLIPS_MAX_SIDE));
    for (int64_t i = 0; i < r->clips; i++) shape[i].width_less_1 = (uint16_t)(r->wide[i] - 1);
    return VJ_OK;
}

static vj_status get_places(const index_reader *r, vj_clips *clips)
{
    int32_t *shard = clips->clip_shard + r->first;
    int64_t *offset = clips->offset + r->first;
    VJ_TRY(get_bounded(r, "/clips/shard", 0, r->shards - 1));
    for (int64_t i = 0; i < r->clips; i++) {
        if (i > 0 && r->wide[i] < r->wide[i - 1])
            return vj_raise(VJ_ERR_FORMAT, "%s is damaged: clip %lld of shard %lld comes after one of shard %lld",
                            r->path, (long long)i, (long long)r->wide[i], (long long)r->wide[i - 1]);
        shard[i] = (int32_t)(r->first_shard + r->wide[i]);
    }
    VJ_TRY(get_bounded(r, "/clips/bytes", 1, VJ_RECORD_MAX_BYTES));
    for (int64_t i = 0; i < r->clips; i++) clips->bytes[r->first + i] = (uint32_t)r->wide[i];
    VJ_TRY(get_column(r, "/clips/offset", H5T_NATIVE_INT64, offset));
    for (int64_t i = 0; i < r->clips; i++) {
        const vj_clips_shard_file *s = &clips->shard[shard[i]];
        const vj_clips_shape *shape = &clips->shape[r->first + i];
        const int64_t frames = vj_frames_bytes(r->layout.frames, shape->height_less_1 + 1, shape->width_less_1 + 1);
        if (offset[i] < 0 || offset[i] > s->bytes - r->wide[i])
            return vj_raise(VJ_ERR_FORMAT,
                            "%s is damaged: clip %lld is said to be %lld bytes at %lld of %s, which has %lld", r->path,
                            (long long)i, (long long)r->wide[i], (long long)offset[i], s->path, (long long)s->bytes);
        if (frames > VJ_RECORD_MAX_BYTES || !vj_record_can_hold(s->codec, r->wide[i], frames))
            return vj_raise(VJ_ERR_FORMAT, "%s is damaged: clip %lld has %lld bytes of %lld x %lld x %d pixels",
                            r->path, (long long)i, (long long)r->wide[i], (long long)shape->height_less_1 + 1,
                            (long long)shape->width_less_1 + 1, r->layout.frames);
    }
    return VJ_OK;
}

/* Source files of this store get numbers after those of the stores before it. */
static vj_status get_sources(const index_reader *r, vj_clips *clips)
{
    int64_t largest = -1;
    VJ_TRY(get_bounded(r, "/clips/source", 0, INT32_MAX - 1 - clips->sources));
    for (int64_t i = 0; i < r->clips; i++) {
        clips->source[r->first + i] = (int32_t)(clips->sources + r->wide[i]);
        if (r->wide[i] > largest) largest = r->wide[i];
    }
    clips->sources += largest + 1;
    VJ_TRY(get_bounded(r, "/clips/window", 0, INT32_MAX));
    for (int64_t i = 0; i < r->clips; i++) clips->window[r->first + i] = (int32_t)r->wide[i];
    return VJ_OK;
}

static vj_status get_datasets(const index_reader *r, vj_clips *clips)
{
    VJ_TRY(get_bounded(r, "/clips/dataset", 0, r->layout.dataset_count - 1));
    for (int64_t i = 0; i < r->clips; i++) clips->dataset[r->first + i] = (uint8_t)r->wide[i];
    return VJ_OK;
}

/* Labels that will be dropped are read too, because the fingerprint covers them. */
static vj_status get_labels(const index_reader *r, vj_clips *clips)
{
    const int64_t labels = clips->layout.label_count;
    const hsize_t dims[2] = {(hsize_t)r->clips, (hsize_t)r->layout.label_count};
    VJ_TRY(vj_clips_get(r->file, r->path, "/clips/label", H5T_NATIVE_INT32, 2, dims, r->label));
    if (labels > 0) memcpy(clips->label + r->first * labels, r->label, sizeof *r->label * (size_t)(r->clips * labels));
    return VJ_OK;
}

/* Call while data sets still have this store's own numbers, as when it was written. */
static vj_status check_fingerprint(const index_reader *r, const vj_clips *clips, uint64_t *fingerprint)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state) return vj_raise(VJ_ERR_MEMORY, "no memory for a checksum");
    VJ_ASSERT(XXH3_64bits_reset(state) == XXH_OK);
    const int labels = r->layout.label_count;
    for (int64_t k = 0; k < r->clips; k++) {
        const int64_t i = r->first + k;
        vj_clips_fingerprint_add(state, clips->xxh3[i], clips->shape[i].height_less_1 + 1,
                                 clips->shape[i].width_less_1 + 1, clips->dataset[i], r->label + k * labels, labels);
    }
    const uint64_t found = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    VJ_TRY(vj_h5_get_u64(r->file, r->path, "fingerprint", fingerprint));
    if (found != *fingerprint)
        return vj_raise(VJ_ERR_FORMAT, "%s is damaged: fingerprint %016llx of its clips, %016llx stored", r->path,
                        (unsigned long long)found, (unsigned long long)*fingerprint);
    return VJ_OK;
}

/* Warn if the class numbers of one store have names and those of another have none: they cannot be compared. */
static void warn_of_bare_numbers(const index_reader *r, const vj_clips *clips, int label, int64_t names)
{
    if (r->first_shard == 0 && r->first == 0) return;
    if ((names > 0) == (clips->classes[label].count > 0)) return;
    vj_warn("label %s: %s %s class names, the stores before it %s: that the same number means the same class cannot be "
            "checked",
            clips->layout.label_names[label], r->dir, names > 0 ? "has" : "has no", names > 0 ? "have none" : "have");
}

static vj_status get_classes(const index_reader *r, vj_clips *clips)
{
    const int labels = clips->layout.label_count;
    for (int l = 0; l < labels; l++) {
        vj_clips_classes own;
        const char *label = r->layout.label_names[l];
        VJ_TRY(vj_clips_get_classes(r->file, r->path, label, &own));
        warn_of_bare_numbers(r, clips, l, own.count);
        vj_status status = vj_clips_join_classes(&clips->classes[l], &own, r->path, label,
                                                 clips->label + r->first * labels + l, labels, r->clips);
        vj_clips_classes_release(&own);
        VJ_TRY(status);
    }
    return VJ_OK;
}

static vj_status get_columns(index_reader *r, vj_clips *clips, uint64_t *fingerprint)
{
    VJ_TRY(get_shards(r, clips));
    VJ_TRY(get_shapes(r, clips));
    VJ_TRY(get_places(r, clips));
    VJ_TRY(get_sources(r, clips));
    VJ_TRY(get_datasets(r, clips));
    VJ_TRY(get_labels(r, clips));
    VJ_TRY(get_column(r, "/clips/xxh3", H5T_NATIVE_UINT64, clips->xxh3 + r->first));
    VJ_TRY(check_fingerprint(r, clips, fingerprint));
    for (int64_t i = 0; i < r->clips; i++) clips->dataset[r->first + i] = r->dataset[clips->dataset[r->first + i]];
    return get_classes(r, clips);
}

/* ------------------------------------------------------------------------------------------------ all indices */

static bool same_labels(const vj_clips_header *a, const vj_clips_header *b)
{
    bool same = a->label_count == b->label_count;
    for (int l = 0; same && l < a->label_count; l++) same = strcmp(a->label_names[l], b->label_names[l]) == 0;
    return same;
}

/* For training: images get as many frames as clips of videos; if label names differ, all labels are dropped. */
static void adapt(vj_clips_header *own, vj_clips *clips, int frames)
{
    if (own->frames == 1) own->frames = frames;
    if (same_labels(own, &clips->layout)) return;
    for (int l = 0; l < VJ_MAX_LABELS; l++) vj_clips_classes_release(&clips->classes[l]);
    own->label_count = clips->layout.label_count = 0;
}

/* Join the header of a store to those before it. Codecs may differ; data sets are matched by name. `frames` is that of
 * vj_clips_open_training(), or 0. */
static vj_status join(index_reader *r, vj_clips *clips, int frames)
{
    vj_clips_header *all = &clips->layout;
    vj_clips_header comparable = r->layout;
    const bool first = r->first_shard == 0 && r->first == 0;
    if (first) *all = r->layout;
    if (frames > 0) adapt(&comparable, clips, frames);
    if (first) all->frames = comparable.frames;
    comparable.codec = all->codec;
    comparable.dataset_count = all->dataset_count;
    memcpy(comparable.dataset_names, all->dataset_names, sizeof all->dataset_names);
    VJ_TRY(vj_clips_check_header(r->dir, &comparable, all));
    for (int d = 0; d < r->layout.dataset_count; d++) {
        int number = 0;
        while (number < all->dataset_count && strcmp(all->dataset_names[number], r->layout.dataset_names[d]) != 0)
            number++;
        if (number == VJ_MAX_DATASETS)
            return vj_raise(VJ_ERR_FORMAT, "%s: more than %d data sets with those of the stores before it", r->dir,
                            VJ_MAX_DATASETS);
        if (number == all->dataset_count)
            memcpy(all->dataset_names[all->dataset_count++], r->layout.dataset_names[d], VJ_DATASET_NAME);
        r->dataset[d] = (uint8_t)number;
    }
    return VJ_OK;
}

static vj_status read_open_index(index_reader *r, vj_clips *clips, int frames, uint64_t *fingerprint)
{
    VJ_TRY(join(r, clips, frames));
    VJ_TRY(vj_clips_extent(r->file, r->path, "/shards/bytes", &r->shards));
    VJ_TRY(vj_clips_extent(r->file, r->path, "/clips/xxh3", &r->clips));
    if (r->clips > INT32_MAX - r->first || r->shards > INT32_MAX - r->first_shard)
        return vj_raise(VJ_ERR_FORMAT, "%s: %lld clips in %lld shards are too many", r->path, (long long)r->clips,
                        (long long)r->shards);
    VJ_TRY(resize_tables(clips, r->first + r->clips, r->first_shard + r->shards));
    r->wide = vj_calloc(r->clips, sizeof *r->wide);
    r->label = vj_calloc(r->clips * r->layout.label_count + 1, sizeof *r->label);
    vj_status status = r->wide && r->label
                           ? get_columns(r, clips, fingerprint)
                           : vj_raise(VJ_ERR_MEMORY, "no memory for a column of %lld clips", (long long)r->clips);
    free(r->label);
    free(r->wide);
    return status;
}

/* Describe what a path without a readable index is instead. Static storage. */
static const char *what_it_is(const char *path)
{
    static char text[128];
    char format[64] = "", name[VJ_CLIPS_FILE_PATH];
    struct stat info;
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
        vj_h5_format(path, format, sizeof format);
        if (strcmp(format, VJ_CLIPS_FORMAT) == 0) return "it is a file of a clip store: name the folder";
        snprintf(text, sizeof text, *format ? "it is a file of format %s" : "it is a file%s", format);
        return text;
    }
    snprintf(name, sizeof name, "%s/config.yaml", path);
    return access(name, F_OK) == 0 ? "it is a run folder" : "no readable index.h5 in it";
}

static vj_status read_index(vj_clips *clips, const char *dir, int frames, uint64_t *fingerprint)
{
    index_reader r = {.dir = dir, .first = clips->count, .first_shard = clips->shards};
    vj_clips_index_path(r.path, dir);
    if (access(dir, F_OK) != 0) return vj_raise(VJ_ERR_IO, "open clip store %s", dir);
    if (access(r.path, R_OK) != 0 && errno == EACCES) return vj_raise(VJ_ERR_IO, "read %s", r.path);
    if (access(r.path, R_OK) != 0)
        return vj_raise(VJ_ERR_FORMAT, "%s is not a clip store, or was never finished: %s", dir, what_it_is(dir));
    VJ_TRY(vj_clips_open_file(&r.file, r.path, &r.layout));
    vj_status status;
    H5E_BEGIN_TRY
    {
        status = read_open_index(&r, clips, frames, fingerprint);
    }
    H5E_END_TRY
    H5Fclose(r.file); /* only read */
    return status;
}

/* Refuse a store that is named twice, also by another path: through a link, or with an additional slash or ./ */
static vj_status refuse_twice(const vj_strings *paths)
{
    struct stat a, b;
    for (int p = 1; p < paths->count; p++)
        for (int q = 0; q < p; q++)
            if (stat(paths->item[p], &a) == 0 && stat(paths->item[q], &b) == 0 && a.st_dev == b.st_dev &&
                a.st_ino == b.st_ino)
                return vj_raise(VJ_ERR_USAGE,
                                "%s is the same clip store as %s, which is named before it: name it once (data.weights "
                                "draws more often from a data set)",
                                paths->item[p], paths->item[q]);
    return VJ_OK;
}

static vj_status read_indices(vj_clips *clips, const vj_strings *paths, int frames)
{
    if (paths->count < 1) return vj_raise(VJ_ERR_USAGE, "no clip store was named");
    VJ_TRY(refuse_twice(paths));
    for (int p = 0; p < paths->count; p++) {
        uint64_t fingerprint = 0;
        VJ_TRY(read_index(clips, paths->item[p], frames, &fingerprint));
        /* One store keeps its own fingerprint; those of further stores are folded in, in order. */
        clips->fingerprint =
            p == 0 ? fingerprint : XXH3_64bits_withSeed(&fingerprint, sizeof fingerprint, clips->fingerprint);
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ all ranks */

/* Copy rank 0's tables into memory that the ranks of each node share. */
static vj_status share_tables(vj_clips *clips, int rank, MPI_Comm comm)
{
    enum { ALIGN = 64 };
    table tables[TABLES];
    size_t at[TABLES], bytes = 0;
    list_tables(tables, clips, clips->count, clips->shards);
    for (int i = 0; i < TABLES; i++) {
        at[i] = bytes;
        bytes += (table_bytes(&tables[i]) + ALIGN - 1) / ALIGN * ALIGN;
    }
    VJ_TRY(vj_shared_open(&clips->tables, comm, (int64_t)bytes, "tables of the clip stores"));
    for (int i = 0; i < TABLES; i++) {
        char *shared = (char *)clips->tables.memory + at[i];
        if (rank == 0 && tables[i].rows > 0) memcpy(shared, get_table(clips, &tables[i]), table_bytes(&tables[i]));
        if (clips->tables.writers != MPI_COMM_NULL)
            vj_broadcast(shared, (int64_t)table_bytes(&tables[i]), clips->tables.writers);
    }
    if (rank == 0) free_tables(clips);
    for (int i = 0; i < TABLES; i++) set_table(clips, &tables[i], (char *)clips->tables.memory + at[i]);
    vj_shared_publish(&clips->tables);
    return VJ_OK;
}

/* Broadcast what rank 0 has read. */
static vj_status broadcast(vj_clips *clips, int rank, MPI_Comm comm)
{
    struct {
        vj_clips_header layout;
        int64_t count, shards;
        uint64_t fingerprint;
    } sizes = {clips->layout, clips->count, clips->shards, clips->fingerprint};
    MPI_Bcast(&sizes, sizeof sizes, MPI_BYTE, 0, comm);
    clips->layout = sizes.layout;
    clips->count = sizes.count;
    clips->shards = sizes.shards;
    clips->fingerprint = sizes.fingerprint;
    for (int l = 0; l < clips->layout.label_count; l++) VJ_TRY(vj_clips_broadcast_classes(&clips->classes[l], comm));
    return share_tables(clips, rank, comm);
}

/* Check the shard files on disk; each rank checks every size-th. A shard never changes once it has its final name. */
static vj_status check_shards(const vj_clips *clips, MPI_Comm comm)
{
    const int rank = vj_comm_rank(comm), size = vj_comm_size(comm);
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t s = rank; s < clips->shards; s += size) {
        const vj_clips_shard_file *shard = &clips->shard[s];
        struct stat found;
        if (stat(shard->path, &found) != 0)
            return vj_raise(VJ_ERR_IO, "a shard of the store is missing: %s", shard->path);
        if (!S_ISREG(found.st_mode) || found.st_size != shard->bytes)
            return vj_raise(VJ_ERR_FORMAT, "%s has %lld bytes, %lld expected: it was cut, or is another store's",
                            shard->path, (long long)found.st_size, (long long)shard->bytes);
        const int fd = open(shard->path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return vj_raise(VJ_ERR_IO, "a shard of the store cannot be read: %s", shard->path);
        close(fd); /* only read */
        vj_progress_line_log(&line, "looking at the shards of the clip stores", (double)(s + 1) / (double)clips->shards,
                             vj_now());
    }
    return VJ_OK;
}

static void find_largest(vj_clips *clips)
{
    for (int64_t i = 0; i < clips->count; i++) {
        int height, width;
        vj_clips_geometry(clips, i, &height, &width);
        const int64_t bytes = vj_frames_bytes(clips->layout.frames, height, width);
        if (bytes > clips->largest_bytes) clips->largest_bytes = bytes;
        if (clips->bytes[i] > clips->largest_record) clips->largest_record = clips->bytes[i];
    }
}

/* Create what reading needs besides the tables. */
static vj_status prepare_reading(vj_clips *clips)
{
    clips->outage = vj_calloc(1, sizeof *clips->outage);
    if (!clips->outage) return vj_raise(VJ_ERR_MEMORY, "no memory to open a clip store");
    vj_outage_init(clips->outage);
    return vj_open_files_create(&clips->files, vj_open_files_limit());
}

static vj_status open_stores(vj_clips **clips, const vj_strings *paths, int frames, MPI_Comm comm)
{
    const int rank = vj_comm_rank(comm);
    *clips = NULL;
    vj_clips *c = vj_calloc(1, sizeof *c);
    vj_status status = c ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to open a clip store");
    if (rank == 0 && status == VJ_OK) status = read_indices(c, paths, frames);
    status = vj_agree(comm, status);
    if (status == VJ_OK && comm != VJ_ALONE) status = broadcast(c, rank, comm);
    if (status == VJ_OK) find_largest(c);
    if (status == VJ_OK) status = vj_agree(comm, check_shards(c, comm));
    if (status == VJ_OK) status = vj_agree(comm, prepare_reading(c));
    if (status == VJ_OK)
        *clips = c;
    else
        vj_clips_close(c);
    return status;
}

vj_status vj_clips_open(vj_clips **clips, const vj_strings *paths, MPI_Comm comm)
{
    return open_stores(clips, paths, 0, comm);
}

vj_status vj_clips_open_training(vj_clips **clips, const vj_strings *paths, int frames, MPI_Comm comm)
{
    VJ_ASSERT(frames > 0);
    return open_stores(clips, paths, frames, comm);
}

void vj_clips_close(vj_clips *clips)
{
    if (!clips) return;
    vj_open_files_destroy(clips->files);
    if (clips->outage) vj_outage_release(clips->outage);
    free(clips->outage);
    for (int l = 0; l < VJ_MAX_LABELS; l++) vj_clips_classes_release(&clips->classes[l]);
    if (clips->tables.memory)
        vj_shared_close(&clips->tables);
    else
        free_tables(clips);
    free(clips);
}
