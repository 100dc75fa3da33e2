/*
 * Packing, the main path: is it done already, read the lists, then for each of this rank's files decode, choose frames,
 * add clips, note a verdict; at the end the ledger and the store's index.
 */
#include "pack/pack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "clips/write.h"
#include "pack/ledger.h"
#include "pack/list.h"
#include "pack/progress.h"
#include "parallel/parallel.h"
#include "video/video.h"

/*
 * Frames of a video held at a time; more windows than fit are decoded in several passes. Half of what io/video allows:
 * the estimate is from the header's size, not from a decoded picture's.
 */
static const int64_t frames_bytes = VJ_VIDEO_MAX_RGB_BYTES / 2;

typedef struct {
    const vj_config *config;
    MPI_Comm comm;
    int rank, size;
    vj_media_list list;
    vj_clips_layout layout;
    vj_shard *shard; /* this rank's: the files of its part of the list */
    vj_ledger ledger;
    /* For the frames of one video, [windows, frames]: */
    int64_t *index, *start;
    double *wanted_s, *shown_s;
} packer;

/* ------------------------------------------------------------------------------------------------ done before? */

/* What decides a store's content, as text: pack.yaml in the store. */
static char *recipe_text(const packer *p)
{
    vj_config *only = malloc(sizeof *only);
    if (!only) return NULL;
    vj_config_defaults(only);
    only->pack = p->config->pack;
    only->pack.lists.count = 0;
    only->pack.store[0] = '\0'; /* a store may be moved */
    char *all = vj_config_text(only), *text = NULL;
    free(only);
    char *section = all ? strstr(all, "pack:\n") : NULL;
    if (section) {
        char *end = section + strlen("pack:\n");
        while (*end == ' ') end += strcspn(end, "\n") + 1;
        if (asprintf(&text, "%.*sfiles: %lld\nlists_xxh3: %016llx\n", (int)(end - section), section,
                     (long long)p->list.count, (unsigned long long)p->list.digest) < 0)
            text = NULL;
    }
    free(all);
    return text;
}

/* The first line in which two texts differ, for a message. */
static void first_difference(const char *found, const char *wanted, char *text, size_t bytes)
{
    while (*found && *wanted) {
        size_t a = strcspn(found, "\n"), b = strcspn(wanted, "\n");
        if (a != b || memcmp(found, wanted, a) != 0) break;
        found += a + (found[a] == '\n');
        wanted += b + (wanted[b] == '\n');
    }
    snprintf(text, bytes, "\"%.*s\", now \"%.*s\"", (int)strcspn(found, "\n"), found, (int)strcspn(wanted, "\n"),
             wanted);
}

/* index.h5 is what makes a store exist; it came by rename, after everything else. */
static vj_status look_for_store(const packer *p, const char *recipe, int *done)
{
    enum { MOST = 65536 };
    char path[VJ_PATH + 32], difference[512], *found = malloc(MOST);
    const char *store = p->config->pack.store;
    *done = 0;
    snprintf(path, sizeof path, "%s/index.h5", store);
    int exists = access(path, F_OK) == 0;
    snprintf(path, sizeof path, "%s/pack.yaml", store);
    FILE *f = exists ? fopen(path, "r") : NULL;
    vj_status status = found ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to read %s", path);
    if (exists && status == VJ_OK && !f)
        status = vj_raise(VJ_ERR_USAGE,
                          "%s holds a clip store already, and no pack.yaml says how it was made: remove it or choose "
                          "another pack.store",
                          store);
    if (f && status == VJ_OK) {
        found[fread(found, 1, MOST - 1, f)] = '\0'; /* what could not be read differs */
        *done = strcmp(found, recipe) == 0;
        first_difference(found, recipe, difference, sizeof difference);
        if (!*done)
            status = vj_raise(
                VJ_ERR_USAGE,
                "%s holds a clip store already, made otherwise: it has %s. Remove it or choose another pack.store",
                store, difference);
    }
    if (f) fclose(f);
    free(found);
    return status;
}

static vj_status write_recipe(const packer *p, const char *recipe)
{
    char path[VJ_PATH + 32];
    snprintf(path, sizeof path, "%s/pack.yaml", p->config->pack.store);
    FILE *f = fopen(path, "w");
    if (!f) return vj_raise(VJ_ERR_IO, "create %s", path);
    int good = fputs(recipe, f) >= 0 && fflush(f) == 0;
    if (fclose(f) != 0 || !good) return vj_raise(VJ_ERR_IO, "write %s", path);
    return vj_file_sync(path);
}

/* ------------------------------------------------------------------------------------------------ one file */

/* Times of the frames of all windows (spec 10.2); returns the number of windows, at most one a frame. */
static int choose_frames(packer *p, const vj_video *video, int64_t source)
{
    const int64_t available = vj_video_describe(video)->frames, F = p->config->pack.frames;
    const int64_t span = F * p->config->pack.step, windows = p->config->pack.windows;
    const int segments = (int)(available < windows ? available : windows);
    vj_rng rng;
    vj_rng_init(&rng, (uint64_t)p->config->pack.seed, VJ_RNG_WINDOW, (uint64_t)source);
    for (int i = 0; i < segments; i++) {
        int64_t room = available / segments - span; /* the last start is never drawn, as published */
        p->start[i] = p->config->pack.random_windows && room > 0 ? vj_rng_below(&rng, room) : 0;
    }
    vj_clip_frames(p->index, available, (int)F, (int)p->config->pack.step, segments, 0, p->start);
    for (int64_t k = 0; k < segments * F; k++) p->wanted_s[k] = vj_video_times(video)[p->index[k]];
    return segments;
}

/* Windows whose frames fit into frames_bytes, at least one. */
static int windows_a_pass(const packer *p, const vj_video_info *info)
{
    int64_t side = p->config->pack.short_side, shorter = info->width < info->height ? info->width : info->height;
    int64_t longer = info->width < info->height ? info->height : info->width;
    double clip = 3. * (double)p->config->pack.frames * (double)(side * side) * (double)longer /
                  (double)(shorter > 0 ? shorter : 1);
    double fit = (double)frames_bytes / clip;
    return fit < 1 ? 1 : fit > 4096 ? 4096 : (int)fit;
}

static vj_status add_clips(packer *p, int64_t source, int first, int count, const uint8_t *frames, int height,
                           int width)
{
    const int64_t F = p->config->pack.frames, bytes = vj_frames_bytes((int)F, height, width);
    for (int i = 0; i < count; i++) {
        const vj_clip clip = {.source = source,
                              .window = first + i,
                              .pts_s = p->shown_s[(first + i) * F],
                              .height = height,
                              .width = width,
                              .labels = p->list.labels + source * p->list.label_count,
                              .record = frames + i * bytes,
                              .bytes = bytes,
                              .psnr = INFINITY};
        VJ_TRY(vj_shard_add_clip(p->shard, &clip));
    }
    return VJ_OK;
}

/* The verdict on a file that was packed. */
static void judge(const packer *p, vj_ledger_row *row)
{
    const vj_video_info *info = &row->info;
    int64_t span = p->config->pack.frames * p->config->pack.step;
    if (info->corrupt + info->missing > 0) {
        row->verdict = VJ_LEDGER_DAMAGED;
        snprintf(row->reason, sizeof row->reason, "%lld frames damaged, %lld missing", (long long)info->corrupt,
                 (long long)info->missing);
    } else if (!info->is_image && info->frames / row->clips < span) {
        row->verdict = VJ_LEDGER_SHORT;
        snprintf(row->reason, sizeof row->reason, "a window spans %lld frames: the last frame is held",
                 (long long)span);
    }
}

static vj_status pack_video(packer *p, vj_video *video, vj_ledger_row *row)
{
    const int64_t F = p->config->pack.frames;
    int windows = choose_frames(p, video, row->source), each = windows_a_pass(p, vj_video_describe(video));
    vj_status status = VJ_OK;
    for (int first = 0; first < windows && row->verdict == VJ_VIDEO_OK && status == VJ_OK; first += each) {
        int count = windows - first < each ? windows - first : each, height, width;
        uint8_t *frames;
        row->verdict =
            vj_video_frames(video, p->wanted_s + first * F, (int)(count * F), (int)p->config->pack.short_side, &frames,
                            &height, &width, p->shown_s + first * F, row->reason, sizeof row->reason);
        if (row->verdict != VJ_VIDEO_OK) break;
        status = add_clips(p, row->source, first, count, frames, height, width);
        row->clips += count;
        free(frames);
    }
    row->info = *vj_video_describe(video);
    if (row->verdict == VJ_VIDEO_OK) judge(p, row);
    return status;
}

static vj_status pack_file(packer *p, int64_t source, vj_ledger_row *row)
{
    double begin = vj_now();
    struct stat st;
    *row = (vj_ledger_row){.source = source, .path = p->list.path[source]};
    if (stat(row->path, &st) == 0) row->bytes = st.st_size;
    vj_video *video;
    vj_video_verdict verdict;
    VJ_TRY(vj_video_open(&video, row->path, &verdict, row->reason, sizeof row->reason));
    row->verdict = (int)verdict;
    vj_status status = video ? pack_video(p, video, row) : VJ_OK;
    vj_video_close(video);
    row->seconds = vj_now() - begin;
    return status;
}

/* This rank's part of the list, which is one shard. */
static vj_status pack_files(packer *p, vj_progress_counts *all)
{
    vj_progress progress;
    int64_t first, last;
    vj_split(p->list.count, p->size, p->rank, &first, &last);
    VJ_TRY(vj_progress_begin(&progress, p->list.count, p->comm));
    for (int64_t source = first; source < last; source++) {
        vj_ledger_row row;
        VJ_TRY(pack_file(p, source, &row));
        VJ_TRY(vj_ledger_add(&p->ledger, &row));
        const vj_clips_file file = {.source = source,
                                    .verdict = row.verdict,
                                    .clips = (int32_t)row.clips,
                                    .row = vj_ledger_verdict_name(row.verdict)};
        VJ_TRY(vj_shard_add_file(p->shard, &file));
        vj_progress_add(&progress, row.bytes, row.clips);
    }
    vj_progress_end(&progress, all);
    return vj_shard_publish(&p->shard);
}

/* ------------------------------------------------------------------------------------------------ the whole */

static vj_status allocate(packer *p)
{
    int64_t windows = p->config->pack.windows, frames = windows * p->config->pack.frames;
    p->index = vj_calloc(frames, sizeof *p->index);
    p->start = vj_calloc(windows, sizeof *p->start);
    p->wanted_s = vj_calloc(frames, sizeof *p->wanted_s);
    p->shown_s = vj_calloc(frames, sizeof *p->shown_s);
    if (!p->index || !p->start || !p->wanted_s || !p->shown_s)
        return vj_raise(VJ_ERR_MEMORY, "no memory for the times of %lld frames", (long long)frames);
    return VJ_OK;
}

static vj_status open_shard(packer *p, const char *recipe)
{
    const char *store = p->config->pack.store;
    p->layout = (vj_clips_layout){.frames = (int32_t)p->config->pack.frames,
                                  .label_count = p->list.label_count,
                                  .dataset_count = 1,
                                  .dataset_names = {"all"}};
    memcpy(p->layout.label_names, p->list.label_names, sizeof p->layout.label_names);
    vj_status status = p->rank == 0 ? vj_clips_make_folder(store) : VJ_OK;
    if (status == VJ_OK && p->rank == 0) status = write_recipe(p, recipe);
    VJ_TRY(vj_agree(p->comm, status));
    return vj_agree(p->comm, vj_shard_create(&p->shard, store, p->rank, &p->layout));
}

static vj_status write_index(packer *p)
{
    vj_clips_index_writer *writer;
    char *config_text = vj_config_text(p->config);
    if (!config_text) return vj_raise(VJ_ERR_MEMORY, "no memory for the configuration's text");
    p->layout.config_text = config_text;
    vj_status status = vj_clips_index_create(&writer, p->config->pack.store, &p->layout, p->size);
    p->layout.config_text = NULL;
    free(config_text);
    for (int64_t s = 0; s < p->size && status == VJ_OK; s++) {
        vj_shard_tables tables;
        status = vj_shard_tables_read(&tables, p->config->pack.store, s, &p->layout);
        if (status == VJ_OK) status = vj_clips_index_append(writer, s, &tables, NULL);
        vj_shard_tables_release(&tables);
    }
    if (status == VJ_OK) return vj_clips_index_publish(&writer);
    vj_clips_index_abandon(writer);
    return status;
}

static void say_summary(const packer *p, const vj_progress_counts *all, double begin)
{
    double spent = vj_now() - begin;
    vj_log("%s: %.0f clips from %lld files, %.1f MB, in %.1f s (%.1f files/s)", p->config->pack.store, all->clips,
           (long long)p->list.count, all->bytes / 1e6, spent, (double)p->list.count / spent);
    for (int v = 0; v < VJ_LEDGER_VERDICTS; v++)
        if (p->ledger.verdicts[v] > 0)
            vj_log("  %-13s %lld files", vj_ledger_verdict_name(v), (long long)p->ledger.verdicts[v]);
    if (p->ledger.verdicts[VJ_VIDEO_OK] < p->list.count) vj_log("  reasons in %s/ledger.csv", p->config->pack.store);
}

static vj_status pack_store(packer *p, const char *recipe)
{
    double begin = vj_now();
    vj_progress_counts all;
    VJ_TRY(vj_agree(p->comm, allocate(p)));
    VJ_TRY(open_shard(p, recipe));
    VJ_TRY(pack_files(p, &all));
    VJ_TRY(vj_ledger_write(&p->ledger, p->config->pack.store, p->comm));
    MPI_Bcast(&all, 4, MPI_DOUBLE, 0, p->comm);
    if (all.clips == 0) {
        say_summary(p, &all, begin);
        if (p->rank == 0)
            vj_raise(VJ_ERR_FORMAT, "no clip could be made from %lld files: see %s/ledger.csv",
                     (long long)p->list.count, p->config->pack.store);
        return VJ_ERR_FORMAT;
    }
    VJ_TRY(vj_agree(p->comm, p->rank == 0 ? write_index(p) : VJ_OK));
    say_summary(p, &all, begin);
    return VJ_OK;
}

static vj_status prepare_and_pack(packer *p, int dry_run)
{
    const char *store = p->config->pack.store;
    if (*store == '\0') {
        if (p->rank == 0) vj_raise(VJ_ERR_USAGE, "pack.store is not set: the clip store to write");
        return VJ_ERR_USAGE;
    }
    VJ_TRY(vj_media_list_read(&p->list, &p->config->pack.lists, p->comm));
    char *recipe = recipe_text(p);
    vj_status status = recipe ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the settings' text");
    int done = 0;
    if (p->rank == 0 && status == VJ_OK) status = look_for_store(p, recipe, &done);
    status = vj_agree(p->comm, status);
    MPI_Bcast(&done, 1, MPI_INT, 0, p->comm);
    if (status == VJ_OK && done) {
        vj_log("%s is packed already, from the same lists with the same settings: nothing to do", store);
    } else if (status == VJ_OK && dry_run) {
        vj_log("would pack %lld files with %d labels into %s: %lld windows of %lld frames each, short side %lld",
               (long long)p->list.count, p->list.label_count, store, (long long)p->config->pack.windows,
               (long long)p->config->pack.frames, (long long)p->config->pack.short_side);
    } else if (status == VJ_OK) {
        status = pack_store(p, recipe);
    }
    free(recipe);
    return status;
}

vj_status vj_pack(const vj_config *config, MPI_Comm comm, int dry_run)
{
    packer p = {.config = config, .comm = comm};
    MPI_Comm_rank(comm, &p.rank);
    MPI_Comm_size(comm, &p.size);
    vj_status status = prepare_and_pack(&p, dry_run);
    vj_shard_abandon(p.shard);
    vj_ledger_release(&p.ledger);
    vj_media_list_release(&p.list);
    free(p.index);
    free(p.start);
    free(p.wanted_s);
    free(p.shown_s);
    return status;
}
