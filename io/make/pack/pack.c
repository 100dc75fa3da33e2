/*
 * Packs media files into a clip store: writes the catalogue, stops if the store is already complete, makes the shards,
 * and commits. Read this file first; shards.c makes one rank's shards, commit.c makes the store from all shards.
 */
#include "pack/pack.h"

#include <stdlib.h>
#include <string.h>

#include "pack/commit.h"
#include "pack/recipe.h"
#include "pack/refused.h"
#include "parallel/parallel.h"

typedef struct {
    const vj_config *config;
    MPI_Comm comm;
    int rank, size;
    vj_catalogue_summary *summary; /* owned */
    vj_class_names *classes;       /* on rank 0: class names of all lists. Owned */
    vj_sharding layout;
    vj_clips_header *clips; /* owned */
    vj_lease *lease;        /* of the store, on rank 0 while it is written; owned */
    vj_lease_seal seal;     /* seal of that lease, on all ranks */
} packer;

static vj_status share(const packer *p, vj_status status, void *data, size_t bytes)
{
    VJ_TRY(vj_agree(p->comm, status));
    MPI_Bcast(data, (int)bytes, MPI_BYTE, 0, p->comm);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ planning */

/* On rank 0: read all lists; with `write`, write the catalogue. */
static vj_status read_lists(const packer *p, int write)
{
    const char *store = p->config->pack.store, *temporary = getenv("TMPDIR");
    const char *scratch = write ? store : temporary && *temporary ? temporary : "/tmp";
    vj_class_names_init(p->classes, scratch);
    return vj_catalogue_build(p->summary, p->classes, p->config, write ? store : NULL, scratch);
}

static vj_status check_recipe(const packer *p, int write, int *done)
{
    char *recipe = vj_recipe_text(p->config, p->summary);
    vj_status status = recipe ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the settings' text");
    if (status == VJ_OK) status = vj_recipe_check(p->config->pack.store, recipe, done);
    if (status == VJ_OK && write) status = vj_recipe_begin(p->config->pack.store, recipe);
    free(recipe);
    return status;
}

/* On rank 0: do everything that comes before the first file is opened. */
static vj_status prepare(packer *p, int dry_run, int *done)
{
    const char *store = p->config->pack.store;
    if (*store == '\0') return vj_raise(VJ_ERR_USAGE, "pack.store is not set: the clip store to write");
    VJ_TRY(vj_recipe_check_place(store));
    int write = !dry_run && !vj_recipe_store_exists(store);
    if (write) {
        VJ_TRY(vj_clips_make_folder(store));
        VJ_TRY(vj_lease_acquire(&p->lease, store));
        write = !vj_recipe_store_exists(store); /* another job may have finished it meanwhile */
    }
    VJ_TRY(read_lists(p, write));
    return check_recipe(p, write, done);
}

static void set_layouts(packer *p)
{
    const vj_config *config = p->config;
    const vj_media_names *names = &p->summary->names;
    vj_clips_header *l = p->clips;
    p->layout = vj_sharding_of(config, p->summary->sources, p->summary->clips);
    l->frames = (int32_t)config->pack.frames;
    l->label_count = names->label_count;
    l->dataset_count = names->dataset_count;
    memcpy(l->label_names, names->label_names, sizeof l->label_names);
    memcpy(l->dataset_names, names->dataset_names, sizeof l->dataset_names);
    l->codec = (vj_codec_settings){.codec = (vj_codec)config->pack.codec,
                                   .quality = (int)config->pack.jpeg_quality,
                                   .chroma = config->pack.jpeg_chroma ? 444 : 420};
}

/* Log the labels; those without class names only if `all`. */
static void log_classes(const packer *p, int all)
{
    const vj_media_names *names = &p->summary->names;
    for (int l = 0; p->rank == 0 && l < names->label_count; l++) {
        char *text = p->classes->of[l].count > 0 ? vj_class_names_text(p->classes, l) : NULL;
        if (text)
            vj_log("  label %s: %s", names->label_names[l], text);
        else if (all)
            vj_log("  label: %s", names->label_names[l]);
        free(text);
    }
}

static void log_plan(const packer *p)
{
    const vj_catalogue_summary *s = p->summary;
    const vj_config *c = p->config;
    int drop = c->pack.duplicates == VJ_DUPLICATES_DROP;
    double megabytes = (double)s->clips * p->layout.clip_bytes / 1e6, shards = (double)p->layout.shards;
    vj_log("would pack into %s:", c->pack.store);
    for (int d = 0; d < s->names.dataset_count; d++)
        vj_log("  %s: %lld files, %lld of them held out by id, %lld listed before%s", s->names.dataset_names[d],
               (long long)s->of_dataset[d].files, (long long)s->of_dataset[d].held_out_ids,
               (long long)s->of_dataset[d].listed_twice, drop ? " and dropped" : "");
    log_classes(p, 1);
    if (s->held_out_videos > 0)
        vj_log("  compared with the looks of %lld held-out videos", (long long)s->held_out_videos);
    vj_log("at most %lld clips of %lld frames, short side %lld, codec %s: %.4g GB in %lld shards of %.4g MB and %.0f "
           "files",
           (long long)s->clips, (long long)c->pack.frames, (long long)c->pack.short_side,
           vj_codec_name(p->clips->codec.codec), megabytes / 1000, (long long)p->layout.shards, megabytes / shards,
           (double)s->sources / shards);
}

/* ------------------------------------------------------------------------------------------------ making */

/* Assign the incomplete shards to ranks in turn. *todo [*count]: this rank's, owned by the caller; *left_files: files
 * in the incomplete shards of all ranks. */
static vj_status deal_shards(const packer *p, int64_t **todo, int64_t *count, int64_t *left_files)
{
    const int64_t shards = p->layout.shards;
    uint8_t *complete = vj_calloc(shards, 1);
    *todo = vj_calloc(shards / p->size + 1, sizeof **todo);
    *count = *left_files = 0;
    vj_status status =
        complete && *todo ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %lld shards", (long long)shards);
    for (int64_t k = 0; status == VJ_OK && p->rank == 0 && k < shards; k++)
        complete[k] = vj_shard_is_complete(p->config->pack.store, k) != 0;
    status = share(p, status, complete, (size_t)shards);
    int64_t turn = 0;
    for (int64_t k = 0; status == VJ_OK && k < shards; k++) {
        int64_t first, last;
        if (complete[k]) continue;
        vj_sharding_shard(&p->layout, k, &first, &last);
        *left_files += last - first;
        if (turn++ % p->size == p->rank) (*todo)[(*count)++] = k;
    }
    free(complete);
    return status;
}

static vj_status log_how_to_go_on(const packer *p, vj_status status)
{
    if (status != VJ_OK)
        vj_warn(
            "packing ends here; shards that are complete stay in %s: when the cause is removed, the same command goes "
            "on from there",
            p->config->pack.store);
    return status;
}

/* Make the incomplete shards. *refused: whether, on any rank, files may have been refused for a temporary cause. */
static vj_status make_shards(const packer *p, const vj_pack_plan *plan, int *refused)
{
    bool here = false;
    int64_t *todo, count, left_files;
    vj_pack_progress progress;
    vj_pack_progress_counts all;
    vj_status status = deal_shards(p, &todo, &count, &left_files);
    if (status == VJ_OK && left_files < p->layout.sources)
        vj_log("%s: going on, %lld of %lld files are left", p->config->pack.store, (long long)left_files,
               (long long)p->layout.sources);
    const int workers = p->config->pack.workers > 0 ? (int)p->config->pack.workers : vj_place_of(p->comm).threads;
    if (status == VJ_OK) status = vj_agree(p->comm, vj_pack_progress_begin(&progress, left_files, p->comm));
    if (status == VJ_OK) {
        status = log_how_to_go_on(p, vj_pack_shards(plan, todo, count, workers, &progress, &here));
        if (status == VJ_OK) vj_pack_progress_end(&progress, &all);
    }
    free(todo);
    *refused = here || left_files < p->layout.sources; /* shards of an earlier run may have some too */
    if (status == VJ_OK) MPI_Allreduce(MPI_IN_PLACE, refused, 1, MPI_INT, MPI_MAX, p->comm);
    return status;
}

/* Make shards again whose files were missing and are present now, for example after a folder was mounted again. */
static vj_status make_refused_again(const packer *p, const vj_pack_plan *plan)
{
    int64_t removed = 0;
    int refused;
    const vj_status status = p->rank == 0 ? vj_refused_forget(plan, &removed) : VJ_OK;
    VJ_TRY(share(p, status, &removed, sizeof removed));
    if (removed == 0) return VJ_OK;
    vj_log("files that were missing or unreadable can be read now: %lld shards are made again", (long long)removed);
    return make_shards(p, plan, &refused);
}

static void log_result(const packer *p, const vj_pack_report *report, double begin_s)
{
    double spent_s = vj_now() - begin_s;
    char *text = vj_pack_report_text(report, &p->summary->names);
    vj_log("%s: %lld clips from %lld files, %.1f MB in %lld shards, in %.1f s (%.1f files/s)", p->config->pack.store,
           (long long)report->clips, (long long)report->sources, (double)report->store_bytes / 1e6,
           (long long)report->shards, spent_s, (double)report->sources / spent_s);
    for (char *line = text; line && *line;) {
        size_t length = strcspn(line, "\n");
        vj_log("%.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
    vj_log("  every file and reason: %s/ledger.csv", p->config->pack.store);
    log_classes(p, 0);
    free(text);
}

static vj_status commit(const packer *p, const vj_pack_plan *plan, double begin_s)
{
    vj_pack_report *report = vj_calloc(1, sizeof *report);
    if (!report) return vj_raise(VJ_ERR_MEMORY, "no memory for the summary");
    vj_status status = log_how_to_go_on(p, vj_pack_commit(plan, report));
    if (status == VJ_OK) vj_catalogue_remove(p->config->pack.store);
    if (status == VJ_OK) log_result(p, report, begin_s);
    if (status == VJ_OK && report->clips == 0)
        status =
            vj_raise(VJ_ERR_FORMAT, "no clip could be made from %lld files: see %s/ledger.csv; to start anew remove %s",
                     (long long)report->sources, p->config->pack.store, p->config->pack.store);
    free(report);
    return status;
}

static vj_status pack_store(const packer *p)
{
    const double begin_s = vj_now();
    const vj_pack_plan plan = {.config = p->config,
                               .summary = p->summary,
                               .classes = p->classes,
                               .layout = &p->layout,
                               .clips = p->clips,
                               .lease = &p->seal};
    int refused = 0;
    char *config_text = vj_config_text(p->config);
    const vj_place place = vj_place_of(p->comm);
    vj_place_log(&place, p->comm, "");
    vj_status status = config_text ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for the configuration's text");
    p->clips->config_text = config_text;
    status = vj_agree(p->comm, status);
    if (status == VJ_OK) status = make_shards(p, &plan, &refused);
    if (status == VJ_OK && refused) status = make_refused_again(p, &plan);
    if (status == VJ_OK) status = vj_agree(p->comm, p->rank == 0 ? commit(p, &plan, begin_s) : VJ_OK);
    free(config_text);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the whole */

static vj_status run(packer *p, int dry_run)
{
    int done = 0;
    VJ_TRY(share(p, p->rank == 0 ? prepare(p, dry_run, &done) : VJ_OK, p->summary, sizeof *p->summary));
    MPI_Bcast(&done, 1, MPI_INT, 0, p->comm);
    if (p->rank == 0) p->seal = vj_lease_seal_of(p->lease);
    MPI_Bcast(&p->seal, (int)sizeof p->seal, MPI_BYTE, 0, p->comm);
    set_layouts(p);
    /* A folder may be mounted on some nodes only. */
    const vj_place place = vj_place_of(p->comm);
    const bool asks = !done && !dry_run && place.local_rank == 0;
    VJ_TRY(vj_agree(p->comm, asks ? vj_refused_check_roots(p->config) : VJ_OK));
    if (done)
        vj_log("%s is packed already, from the same lists with the same settings: nothing to do",
               p->config->pack.store);
    else if (dry_run)
        log_plan(p);
    else
        return pack_store(p);
    return VJ_OK;
}

vj_status vj_pack(const vj_config *config, MPI_Comm comm, int dry_run)
{
    packer p = {.config = config, .comm = comm};
    MPI_Comm_rank(comm, &p.rank);
    MPI_Comm_size(comm, &p.size);
    p.summary = vj_calloc(1, sizeof *p.summary);
    p.clips = vj_calloc(1, sizeof *p.clips);
    p.classes = vj_calloc(1, sizeof *p.classes);
    vj_status status = vj_agree(
        comm, p.summary && p.clips && p.classes ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to plan the packing"));
    if (status == VJ_OK) status = run(&p, dry_run);
    vj_lease_release(p.lease); /* after a failure, ranks that still work notice this and publish nothing */
    if (p.classes) vj_class_names_release(p.classes);
    free(p.classes);
    free(p.summary);
    free(p.clips);
    return status;
}
