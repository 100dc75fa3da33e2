/* Turns complete shards into a store: ledger, comparison of perceptual hashes, index. */
#include "pack/commit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/progress.h"
#include "pack/phash_index.h"
#include "pack/refused.h"
#include "pack/scratch.h"

/* What is known of a source. */
typedef struct {
    uint64_t look[VJ_PHASH_INSTANTS];
    uint8_t look_valid;   /* 0: no look */
    int64_t row_at, like; /* offset of its row in the file `rows`; source of which it is or may be a copy, or -1 */
    int32_t row_bytes, dataset, verdict, clips;
} outcome;

typedef struct {
    const vj_pack_plan *plan;
    const char *store;
    vj_pack_report *report;
    vj_scratch outcomes; /* outcome [sources] */
    vj_scratch motion;   /* [sources, VJ_PHASH_MOTION_BYTES], if looks are compared */
    int rows;            /* descriptor of an unlinked file: rows of the ledger, in the order of the shards */
    int64_t rows_bytes;
    char *row; /* [row_room] one row */
    int64_t row_room;
} commit;

static bool compares(const commit *c)
{
    return c->plan->config->pack.duplicates == VJ_DUPLICATES_DROP || c->plan->summary->held_out_videos > 0;
}

static outcome *outcome_of(const commit *c, int64_t source)
{
    return (outcome *)c->outcomes.data + source;
}

static int is_held_out_video(const commit *c, int64_t source)
{
    return source >= c->plan->summary->sources - c->plan->summary->held_out_videos;
}

/* ------------------------------------------------------------------------------------------------ rows */

static vj_status write_row(commit *c, const char *row, int64_t bytes)
{
    if (!vj_write_at(c->rows, row, bytes, c->rows_bytes))
        return vj_raise(VJ_ERR_IO, "write rows of the ledger in %s", c->store);
    c->rows_bytes += bytes;
    return VJ_OK;
}

/* Read the row of a source into c->row, as a text. */
static vj_status read_row(commit *c, const outcome *f)
{
    if (f->row_bytes >= c->row_room) {
        free(c->row);
        c->row_room = 2 * (int64_t)f->row_bytes + 1024;
        c->row = malloc((size_t)c->row_room);
        if (!c->row) return vj_raise(VJ_ERR_MEMORY, "no memory for a row of the ledger");
    }
    if (vj_read_at(c->rows, c->row, f->row_bytes, f->row_at) != f->row_bytes)
        return vj_raise(VJ_ERR_IO, "read rows of the ledger again");
    c->row[f->row_bytes] = '\0';
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ shards */

static vj_status read_tables(const commit *c, int64_t shard, vj_shard_tables *tables)
{
    int64_t first, last;
    vj_sharding_shard(c->plan->layout, shard, &first, &last);
    VJ_TRY(vj_shard_tables_read(tables, c->store, shard, c->plan->clips));
    int good = tables->files == last - first;
    for (int64_t i = 0; good && i < tables->files; i++)
        good = tables->file[i].source == vj_sharding_source(c->plan->layout, first + i) &&
               tables->file[i].verdict >= 0 && tables->file[i].verdict < VJ_LEDGER_VERDICTS;
    return good ? VJ_OK
                : vj_raise(VJ_ERR_FORMAT,
                           "shard %lld of %s does not hold the files of its place: remove it and start again",
                           (long long)shard, c->store);
}

static vj_status note_files(commit *c, const vj_shard_tables *tables)
{
    for (int64_t i = 0; i < tables->files; i++) {
        const vj_clips_file *file = &tables->file[i];
        int64_t bytes = (int64_t)strlen(file->row);
        outcome *f = outcome_of(c, file->source);
        *f = (outcome){.look_valid = file->look_valid,
                       .row_at = c->rows_bytes,
                       .like = -1,
                       .row_bytes = (int32_t)bytes,
                       .dataset = file->dataset,
                       .verdict = file->verdict,
                       .clips = file->clips};
        memcpy(f->look, file->look, sizeof f->look);
        if (c->motion.data && file->motion)
            memcpy((int8_t *)c->motion.data + file->source * VJ_PHASH_MOTION_BYTES, file->motion,
                   VJ_PHASH_MOTION_BYTES);
        VJ_TRY(write_row(c, file->row, bytes));
    }
    c->report->store_bytes += tables->bytes;
    return VJ_OK;
}

static vj_status note_shards(commit *c)
{
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t shard = 0; shard < c->plan->layout->shards; shard++) {
        vj_shard_tables tables;
        vj_status status = read_tables(c, shard, &tables);
        if (status == VJ_OK) status = note_files(c, &tables);
        vj_shard_tables_release(&tables);
        VJ_TRY(status);
        vj_progress_line_log(&line, "reading what the shards hold",
                             (double)(shard + 1) / (double)c->plan->layout->shards, vj_now());
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ looks */

static vj_phash look_of(const commit *c, int64_t source)
{
    const outcome *f = outcome_of(c, source);
    vj_phash look = {.valid = f->look_valid};
    memcpy(look.bits, f->look, sizeof look.bits);
    memcpy(look.motion, (const int8_t *)c->motion.data + source * VJ_PHASH_MOTION_BYTES, sizeof look.motion);
    return look;
}

static void leave_out(outcome *f, int verdict, int64_t like)
{
    f->verdict = verdict;
    f->like = like;
    f->clips = 0;
}

/*
 * Compare looks in the order of the manifests. A copy of a held-out video is left out, and of two copies the later one.
 * A file that may be a copy, but shows too little to decide, is kept; the ledger names the other file.
 */
static vj_status compare_looks(commit *c, vj_phash_index *held_out, vj_phash_index *kept)
{
    const int64_t sources = c->plan->summary->sources, videos = sources - c->plan->summary->held_out_videos;
    int drop = c->plan->config->pack.duplicates == VJ_DUPLICATES_DROP;
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t source = videos; source < sources; source++) {
        const vj_phash look = look_of(c, source);
        vj_phash_index_add(held_out, source, &look);
    }
    for (int64_t source = 0; source < videos; source++) {
        outcome *f = outcome_of(c, source);
        vj_progress_line_log(&line, "looking for copies", (double)source / (double)videos, vj_now());
        if (f->clips == 0 || f->look_valid == 0) continue;
        const vj_phash look = look_of(c, source);
        int64_t doubtful, like = vj_phash_index_find(held_out, &look, &doubtful);
        f->like = doubtful;
        if (like >= 0) {
            leave_out(f, VJ_LEDGER_HELD_OUT_CONTENT, like);
            continue;
        }
        if (!drop) continue;
        like = vj_phash_index_find(kept, &look, &doubtful);
        if (f->like < 0) f->like = doubtful;
        if (like >= 0)
            leave_out(f, VJ_LEDGER_DUPLICATE, like);
        else
            vj_phash_index_add(kept, source, &look);
    }
    return VJ_OK;
}

static vj_status decide(commit *c)
{
    const vj_catalogue_summary *s = c->plan->summary;
    vj_phash_index *held_out = NULL, *kept = NULL;
    int drop = c->plan->config->pack.duplicates == VJ_DUPLICATES_DROP;
    if (!compares(c)) return VJ_OK;
    vj_status status = vj_phash_index_create(&held_out, s->held_out_videos, c->store);
    if (status == VJ_OK) status = vj_phash_index_create(&kept, drop ? s->sources : 0, c->store);
    if (status == VJ_OK) status = compare_looks(c, held_out, kept);
    vj_phash_index_destroy(held_out);
    vj_phash_index_destroy(kept);
    return status;
}

/* ------------------------------------------------------------------------------------------------ ledger */

static void count_file(commit *c, int64_t source, const outcome *f)
{
    vj_pack_report *r = c->report;
    if (is_held_out_video(c, source)) {
        r->held_out_videos++;
        r->held_out_unread += f->verdict != VJ_LEDGER_HELD_OUT || f->look_valid == 0;
        return;
    }
    r->files[f->dataset][f->verdict]++;
    r->clips_of[f->dataset][f->verdict] += f->clips;
    r->clips += f->clips;
    r->doubtful += f->like >= 0 && f->clips > 0;
}

/* Check whether too many files of the whole store were refused for causes that may be temporary (refused.h). */
static vj_status check_refused(commit *c)
{
    vj_refused refused = {0};
    char path[512];
    for (int64_t source = 0; source < c->plan->summary->sources; source++) {
        const outcome *f = outcome_of(c, source);
        if (!vj_refused_counts(f->verdict)) continue;
        VJ_TRY(read_row(c, f));
        vj_ledger_path(c->row, path, sizeof path);
        if (f->verdict == VJ_VIDEO_MISSING && f->dataset >= 0 && c->report->missing[f->dataset][0] == '\0')
            snprintf(c->report->missing[f->dataset], sizeof c->report->missing[0], "%s", path);
        vj_refused_add(&refused, f->dataset, f->verdict, path, "");
    }
    return vj_refused_check(&refused, c->plan);
}

static vj_status put_row(commit *c, FILE *out, const outcome *f)
{
    char reason[64], *revised = NULL;
    VJ_TRY(read_row(c, f));
    if (f->like >= 0) {
        const int is_left_out = f->verdict == VJ_LEDGER_DUPLICATE || f->verdict == VJ_LEDGER_HELD_OUT_CONTENT;
        snprintf(reason, sizeof reason,
                 is_left_out ? "a copy of source %" PRId64 : "may be a copy of source %" PRId64 ", kept", f->like);
        revised = is_left_out ? vj_ledger_revised(c->row, f->verdict, reason) : vj_ledger_remarked(c->row, reason);
        if (!revised)
            return vj_raise(VJ_ERR_FORMAT, "a row of the ledger is damaged, or there is no memory for it: %.80s",
                            c->row);
    }
    fprintf(out, "%s\n", revised ? revised : c->row); /* the caller checks the stream for errors */
    free(revised);
    return VJ_OK;
}

static vj_status write_ledger(commit *c)
{
    char path[VJ_PATH + 32];
    vj_file file;
    snprintf(path, sizeof path, "%s/ledger.csv", c->store);
    VJ_TRY(vj_file_begin_text(&file, path));
    fprintf(file.stream, "%s\n", vj_ledger_header);
    vj_status status = VJ_OK;
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t source = 0; source < c->plan->summary->sources && status == VJ_OK; source++) {
        const outcome *f = outcome_of(c, source);
        count_file(c, source, f);
        status = put_row(c, file.stream, f);
        vj_progress_line_log(&line, "writing ledger.csv", (double)(source + 1) / (double)c->plan->summary->sources,
                             vj_now());
    }
    if (status == VJ_OK) status = vj_lease_check(c->plan->lease);
    if (status == VJ_OK) return vj_file_commit(&file);
    vj_file_rollback(&file);
    return status;
}

/* ------------------------------------------------------------------------------------------------ index */

static vj_status append_shard(const commit *c, vj_clips_index_writer *index, int64_t shard)
{
    vj_shard_tables tables;
    vj_status status = read_tables(c, shard, &tables);
    uint8_t *keep = vj_calloc(tables.clips + 1, 1);
    if (status == VJ_OK && !keep) status = vj_raise(VJ_ERR_MEMORY, "no memory for the clips of a shard");
    for (int64_t i = 0; status == VJ_OK && i < tables.clips; i++)
        keep[i] = outcome_of(c, tables.entry[i].source)->clips > 0;
    if (status == VJ_OK) status = vj_clips_index_append(index, shard, &tables, keep);
    vj_shard_tables_release(&tables);
    free(keep);
    return status;
}

static vj_status add_passport(const commit *c, vj_clips_index_writer *index)
{
    const vj_catalogue_summary *s = c->plan->summary;
    const char *names[VJ_LEDGER_VERDICTS];
    const uint64_t exclusions[] = {s->held_out_ids_digest, s->held_out_videos_digest};
    for (int v = 0; v < VJ_LEDGER_VERDICTS; v++) names[v] = vj_ledger_verdict_name(v);
    char *text = vj_pack_report_text(c->report, &s->names);
    if (!text) return vj_raise(VJ_ERR_MEMORY, "no memory for the summary");
    const vj_passport passport = {.verdict_count = VJ_LEDGER_VERDICTS,
                                  .verdict_names = names,
                                  .files = c->report->files[0],
                                  .clips = c->report->clips_of[0],
                                  .duplicates = vj_pack_report_files(c->report, VJ_LEDGER_DUPLICATE),
                                  .held_out = vj_pack_report_files(c->report, VJ_LEDGER_HELD_OUT_CONTENT),
                                  .manifests = s->digest,
                                  .exclusions = XXH3_64bits(exclusions, sizeof exclusions),
                                  .summary = text};
    vj_status status = vj_clips_index_passport(index, &passport);
    free(text);
    return status;
}

/* Write the class names of all labels. */
static vj_status add_classes(const commit *c, vj_clips_index_writer *index)
{
    const vj_class_names *classes = c->plan->classes;
    vj_status status = VJ_OK;
    for (int l = 0; classes && l < c->plan->clips->label_count && status == VJ_OK; l++) {
        int64_t count = classes->of[l].numbers;
        while (count > 0 && classes->of[l].of_number[count - 1] < 0) count--;
        if (count == 0) continue;
        const char **names = vj_calloc(count, sizeof *names);
        if (!names) return vj_raise(VJ_ERR_MEMORY, "no memory for the names of classes");
        for (int64_t i = 0; i < count; i++) names[i] = vj_class_names_name(classes, l, i);
        status = vj_clips_index_classes(index, l, names, count);
        free(names);
    }
    return status;
}

static vj_status write_index(const commit *c)
{
    vj_clips_index_writer *index;
    const int64_t shards = c->plan->layout->shards;
    VJ_TRY(vj_clips_index_create(&index, c->store, c->plan->clips, shards));
    vj_status status = VJ_OK;
    vj_progress_line line = vj_progress_line_begin();
    for (int64_t shard = 0; shard < shards && status == VJ_OK; shard++) {
        status = append_shard(c, index, shard);
        vj_progress_line_log(&line, "writing index.h5", (double)(shard + 1) / (double)shards, vj_now());
    }
    if (status == VJ_OK) status = add_classes(c, index);
    if (status == VJ_OK) status = add_passport(c, index);
    if (status == VJ_OK) status = vj_lease_check(c->plan->lease);
    if (status == VJ_OK) return vj_clips_index_publish(&index);
    vj_clips_index_abandon(index);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the whole */

static vj_status create_scratch(commit *c)
{
    VJ_TRY(vj_scratch_create(&c->outcomes, c->store, c->plan->summary->sources * (int64_t)sizeof(outcome)));
    if (compares(c))
        VJ_TRY(vj_scratch_create(&c->motion, c->store, c->plan->summary->sources * (int64_t)VJ_PHASH_MOTION_BYTES));
    return vj_scratch_file(&c->rows, c->store);
}

vj_status vj_pack_commit(const vj_pack_plan *plan, vj_pack_report *report)
{
    commit c = {.plan = plan, .store = plan->config->pack.store, .report = report, .rows = -1};
    memset(report, 0, sizeof *report);
    report->sources = plan->summary->sources;
    report->shards = plan->layout->shards;
    vj_status status = create_scratch(&c);
    if (status == VJ_OK) status = note_shards(&c);
    if (status == VJ_OK) status = check_refused(&c);
    if (status == VJ_OK) status = decide(&c);
    if (status == VJ_OK) status = write_ledger(&c);
    if (status == VJ_OK && report->clips > 0) status = write_index(&c);
    vj_scratch_release(&c.outcomes);
    vj_scratch_release(&c.motion);
    if (c.rows >= 0) (void)close(c.rows); /* unlinked: its content is not needed any more */
    free(c.row);
    return status;
}
