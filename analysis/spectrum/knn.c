/*
 * The command "knn". Each rank keeps some queries in memory, as many as fit. Training rows are streamed: the slab of
 * each rank goes to all ranks, and each searches it for neighbours of its own queries (neighbours.h). So no lists are
 * merged, and a list is the same on any number of ranks. If the queries do not all fit into memory, there are more
 * passes.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report.h"
#include "parallel/parallel.h"
#include "parallel/room.h"
#include "spectrum/knn_plan.h"
#include "spectrum/output.h"
#include "spectrum/parts.h"
#include "spectrum/votes.h"

/* The search in one representation. */
typedef struct {
    const vj_representation *what;
    vj_search search;
    vj_ballot ballots[VJ_MAX_LABELS]; /* of each task */
    float *rows;                      /* [clips of a slab, D] slab of another rank */
    float *first;                     /* [D] the first training row */
    bool differ;                      /* whether any training row differs from it */
    int neighbours, similarity;       /* datasets */
} subject;

typedef struct {
    vj_analysis *analysis;
    vj_knn_plan plan;
    subject *subjects; /* [count] */
    int count;
    int64_t first, last;  /* this rank's queries */
    int64_t room, blocks; /* queries that a rank holds at a time; how many such blocks there are */
    vj_analysis_file *output;
    int clip, label; /* datasets of the validation clips, or -1 */
    vj_progress progress;
} work;

/* ------------------------------------------------------------------------------------------------ memory */

/* Choose how many queries a rank holds at a time. */
static void choose_blocks(work *w)
{
    int64_t query = 0, tiles = 0, first, last;
    for (int i = 0; i < w->count; i++) {
        const int D = vj_source_representation(w->plan.training, i)->width;
        query += vj_search_query_bytes(D, w->plan.max_k, w->plan.lists);
        tiles += vj_search_tile_bytes(D) + vj_source_slab_clips(w->plan.training) * D * (int64_t)sizeof(float);
    }
    int64_t room = vj_rank_memory(w->analysis->comm) / 2;
    if (w->plan.memory_mib > 0) room = (int64_t)(w->plan.memory_mib * 1048576.0);
    vj_split(vj_source_clips(w->plan.queries), w->analysis->size, 0, &first, &last); /* the rank that has most */
    const int64_t fit = room > tiles ? (room - tiles) / query : 0;
    w->room = fit < 1 ? 1 : fit < last ? fit : last;
    w->blocks = (last + w->room - 1) / w->room;
    if (w->blocks > 1)
        vj_log("knn: %lld queries a rank fit into %lld MiB: %lld passes over the training features", (long long)w->room,
               (long long)(room >> 20), (long long)w->blocks);
}

static vj_status prepare_subject(work *w, int i)
{
    subject *s = &w->subjects[i];
    s->what = vj_source_representation(w->plan.training, i);
    if (s->what->tokens != 1)
        return vj_raise(VJ_ERR_USAGE, "knn compares clips, one row each, and %s has %lld; leave out --tokens",
                        s->what->origin, (long long)s->what->tokens);
    VJ_TRY(vj_search_create(&s->search, w->plan.distance, s->what->width, w->plan.max_k, w->plan.lists, w->room));
    s->search.allowed = w->plan.allowed;
    s->rows = vj_calloc(vj_source_slab_clips(w->plan.training) * s->what->width, sizeof *s->rows);
    s->first = vj_calloc(s->what->width, sizeof *s->first);
    if (!s->rows || !s->first) return vj_raise(VJ_ERR_MEMORY, "no memory for a slab of %s", s->what->name);
    for (int t = 0; t < w->plan.tasks; t++)
        VJ_TRY(vj_ballot_create(&s->ballots[t], w->plan.task[t].classes, w->plan.k, w->plan.task[t].k_count,
                                w->plan.distance == VJ_COSINE ? 2 : 1, w->plan.temperature));
    return VJ_OK;
}

static vj_status prepare(work *w)
{
    w->count = vj_source_representations(w->plan.training);
    w->subjects = vj_calloc(w->count, sizeof *w->subjects);
    if (!w->subjects) return vj_raise(VJ_ERR_MEMORY, "no memory for %d representations", w->count);
    for (int i = 0; i < w->count; i++) VJ_TRY(prepare_subject(w, i));
    return VJ_OK;
}

static void release(work *w)
{
    for (int i = 0; i < w->count && w->subjects; i++) {
        vj_search_release(&w->subjects[i].search);
        for (int t = 0; t < VJ_MAX_LABELS; t++) vj_ballot_release(&w->subjects[i].ballots[t]);
        free(w->subjects[i].rows);
        free(w->subjects[i].first);
    }
    free(w->subjects);
    vj_knn_plan_release(&w->plan);
}

/* ------------------------------------------------------------------------------------------------ the search */

/* Read this rank's queries [first, first + count) into the searches, in one pass over all queries. */
static vj_status load_queries(work *w, int64_t first, int64_t count)
{
    vj_slab slab;
    bool more;
    VJ_TRY(vj_source_begin(w->plan.queries));
    for (;;) {
        VJ_TRY(vj_source_next(w->plan.queries, &slab, &more));
        if (!more) break;
        const int64_t from = slab.first > first ? slab.first : first, slab_end = slab.first + slab.count;
        const int64_t end = slab_end < first + count ? slab_end : first + count;
        for (int i = 0; i < w->count && from < end; i++) {
            vj_search *s = &w->subjects[i].search;
            memcpy(s->queries + (from - first) * s->D, slab.x[i] + (from - slab.first) * s->D,
                   (size_t)((end - from) * s->D) * sizeof *s->queries);
        }
        vj_progress_add(&w->progress, slab.count);
    }
    for (int i = 0; i < w->count; i++)
        vj_search_begin(&w->subjects[i].search, count, w->plan.leave_one_out ? first : -1);
    return VJ_OK;
}

/* Find out whether all training rows are equal. All ranks see all rows. */
static void compare_rows(subject *s, int64_t first, int64_t count)
{
    const size_t bytes = (size_t)s->search.D * sizeof *s->rows;
    if (first == 0) memcpy(s->first, s->rows, bytes);
    for (int64_t i = 0; i < count && !s->differ; i++)
        s->differ = memcmp(s->rows + i * s->search.D, s->first, bytes) != 0;
}

/* Equal rows are what an encoder makes that has collapsed. Which of them are neighbours is decided by their order. */
static void warn_of_equal_rows(const work *w)
{
    for (int i = 0; i < w->count && w->analysis->rank == 0; i++)
        if (!w->subjects[i].differ && vj_source_clips(w->plan.training) > 1)
            vj_warn(
                "knn: all training features of %s are equal, so the order of the clips decides which are neighbours "
                "and accuracies mean nothing: has the encoder collapsed, or are the features of the wrong file?",
                w->subjects[i].what->origin);
}

/* Offer the slab of each rank to the searches of all ranks. */
static void offer_slab(work *w, const vj_slab *slab)
{
    const vj_analysis *a = w->analysis;
    for (int rank = 0; rank < a->size; rank++) {
        int64_t part[2] = {slab->first, slab->count};
        MPI_Bcast(part, 2, MPI_INT64_T, rank, a->comm);
        for (int i = 0; i < w->count && part[1] > 0; i++) {
            subject *s = &w->subjects[i];
            const size_t bytes = (size_t)(part[1] * s->search.D) * sizeof *s->rows;
            if (rank == a->rank) memcpy(s->rows, slab->x[i], bytes);
            if (a->size > 1) MPI_Bcast(s->rows, (int)(part[1] * s->search.D), MPI_FLOAT, rank, a->comm);
            compare_rows(s, part[0], part[1]);
            vj_search_offer(&s->search, s->rows, part[0], part[1]);
        }
    }
}

static vj_status search_training(work *w)
{
    vj_slab slab;
    bool more;
    VJ_TRY(vj_source_begin(w->plan.training));
    for (;;) {
        VJ_TRY(vj_source_next(w->plan.training, &slab, &more));
        if (!more) return VJ_OK;
        offer_slab(w, &slab);
        vj_progress_add(&w->progress, slab.count);
    }
}

/* ------------------------------------------------------------------------------------------------ results */

/* Count the votes of one query, which is number i in the searches. */
static void vote(work *w, subject *s, int64_t i, int64_t query)
{
    const int stride = vj_source_label_count(w->plan.training);
    for (int t = 0; t < w->plan.tasks; t++) {
        int found;
        const vj_knn_task *to = &w->plan.task[t];
        const int32_t truth = vj_source_labels(w->plan.queries)[query * stride + to->label];
        if (truth < 0) continue;
        const vj_neighbour *list = vj_search_result(&s->search, to->list, i, &found);
        VJ_ASSERT(found >= w->plan.k[to->k_count - 1]);
        vj_ballot_count(&s->ballots[t], list, vj_source_labels(w->plan.training) + to->label, stride, truth);
    }
}

/* Take the lists of queries [at, at + count) of a representation's search: count votes, and get values for the file. */
static void read_lists(work *w, subject *s, int64_t at, int64_t count, int64_t first, int64_t *rows, float *values)
{
    const int k = w->plan.max_k;
    for (int64_t i = 0; i < count; i++) {
        int found;
        const vj_neighbour *list = vj_search_result(&s->search, 0, at + i, &found);
        VJ_ASSERT(found == k);
        vote(w, s, at + i, first + at + i);
        for (int j = 0; j < k; j++) {
            rows[i * k + j] = list[j].row;
            values[i * k + j] = (float)(w->plan.distance == VJ_COSINE ? list[j].similarity : sqrt(-list[j].similarity));
        }
    }
}

/* Take the results for queries [first, first + count): count votes, and write rows to the file. */
static vj_status take_results(work *w, int64_t first, int64_t count)
{
    enum { PIECE = 1024 };
    const int k = w->plan.max_k;
    int64_t *rows = vj_calloc((int64_t)PIECE * k, sizeof *rows);
    float *values = vj_calloc((int64_t)PIECE * k, sizeof *values);
    vj_status status = rows && values ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %d neighbours", k);
    for (int i = 0; i < w->count; i++)
        for (int64_t at = 0; at < count && status == VJ_OK; at += PIECE) {
            subject *s = &w->subjects[i];
            const int64_t n = count - at < PIECE ? count - at : PIECE;
            read_lists(w, s, at, n, first, rows, values);
            status = vj_analysis_file_write(w->output, s->neighbours, (first + at) * k, n * k, rows);
            if (status == VJ_OK)
                status = vj_analysis_file_write(w->output, s->similarity, (first + at) * k, n * k, values);
        }
    free(rows);
    free(values);
    return status;
}

static vj_status declare(work *w)
{
    const int64_t n = vj_source_clips(w->plan.queries), dim[2] = {n, w->plan.max_k},
                  labels[2] = {n, vj_source_label_count(w->plan.queries)};
    w->clip = w->label = -1;
    for (int i = 0; i < w->count; i++) {
        subject *s = &w->subjects[i];
        char group[VJ_REPRESENTATION_NAME + 8];
        snprintf(group, sizeof group, "knn/%s", s->what->name);
        s->neighbours = vj_analysis_file_dataset(w->output, H5T_STD_I64LE, 2, dim, "%s/neighbours", group);
        s->similarity = vj_analysis_file_dataset(w->output, H5T_IEEE_F32LE, 2, dim, "%s/%s", group,
                                                 w->plan.distance == VJ_COSINE ? "similarity" : "distance");
        vj_analysis_file_text(w->output, group, "name", s->what->name);
        vj_analysis_file_text(w->output, group, "origin", s->what->origin);
        vj_analysis_file_digest(w->output, group, "encoder_digest", s->what->digest);
    }
    if (!w->plan.leave_one_out) {
        w->clip = vj_analysis_file_dataset(w->output, H5T_STD_I64LE, 1, &n, "validation/clip");
        if (labels[1] > 0) w->label = vj_analysis_file_dataset(w->output, H5T_STD_I32LE, 2, labels, "validation/label");
    }
    vj_analysis_file_text(w->output, "/", "distance", w->plan.distance == VJ_COSINE ? "cosine" : "euclidean");
    vj_analysis_file_count(w->output, "/", "leave_one_out", w->plan.leave_one_out);
    return vj_analysis_file_begin(w->output);
}

static vj_status write_columns(work *w)
{
    const int64_t labels = vj_source_label_count(w->plan.queries), n = w->last - w->first;
    if (w->clip >= 0)
        VJ_TRY(vj_analysis_file_write(w->output, w->clip, w->first, n,
                                      vj_source_clip_numbers(w->plan.queries) + w->first));
    if (w->label < 0) return VJ_OK;
    return vj_analysis_file_write(w->output, w->label, w->first * labels, n * labels,
                                  vj_source_labels(w->plan.queries) + w->first * labels);
}

static void report(work *w)
{
    json_t *to = w->analysis->report;
    vj_put_count(to, "training_clips", vj_source_clips(w->plan.training));
    vj_put_count(to, "queries", vj_source_clips(w->plan.queries));
    vj_put_text(to, "queries_are", w->plan.leave_one_out ? "the training clips, each left out" : "validation clips");
    if (w->plan.copies >= 0) vj_put_count(to, "copies_of_training_clips", w->plan.copies);
    vj_put_text(to, "distance", w->plan.distance == VJ_COSINE ? "cosine" : "euclidean");
    if (w->plan.distance == VJ_COSINE) vj_put_number(to, "temperature", w->plan.temperature);
    for (int i = 0; i < w->count; i++)
        for (int t = 0; t < w->plan.tasks; t++) {
            vj_ballot *b = &w->subjects[i].ballots[t];
            vj_ballot_sum(b, w->analysis->comm);
            for (int kind = 0; kind < b->kinds; kind++)
                for (int k = 0; k < b->k_count; k++) {
                    const vj_accuracy a = vj_ballot_accuracy(b, (vj_vote)kind, k);
                    json_t *row = vj_put_row(to, "knn_percent");
                    vj_put_text(row, "representation", w->subjects[i].what->name);
                    vj_put_text(row, "task", vj_source_label_name(w->plan.training, w->plan.task[t].label));
                    vj_put_text(row, "votes", kind == VJ_VOTE_MAJORITY ? "majority" : "weighted");
                    vj_put_count(row, "k", b->k[k]);
                    vj_put_count(row, "queries", a.queries);
                    vj_put_number(row, "top1", a.top1);
                    vj_put_number(row, "top5", a.top5);
                    vj_put_number(row, "class_mean", a.class_mean);
                }
        }
}

/* ------------------------------------------------------------------------------------------------ the command */

static vj_status find_neighbours(work *w)
{
    for (int64_t block = 0; block < w->blocks; block++) {
        int64_t first = w->first + block * w->room;
        if (first > w->last) first = w->last;
        const int64_t count = w->last - first < w->room ? w->last - first : w->room;
        VJ_TRY(load_queries(w, first, count));
        VJ_TRY(search_training(w));
        VJ_TRY(vj_agree(w->analysis->comm, take_results(w, first, count)));
    }
    vj_progress_end(&w->progress);
    return VJ_OK;
}

/* Forecast the time of the products of all queries and rows. They are in floats, at twice the rate of doubles. */
static void forecast(const work *w)
{
    double width = 0.0;
    int widest = 1;
    for (int i = 0; i < w->count; i++) {
        width += w->subjects[i].what->width;
        if (w->subjects[i].what->width > widest) widest = w->subjects[i].what->width;
    }
    vj_speed_forecast(w->analysis, "knn", 0.0,
                      (double)vj_source_clips(w->plan.queries) * (double)vj_source_clips(w->plan.training) * width,
                      widest);
}

static vj_status run(work *w)
{
    VJ_TRY(vj_agree(w->analysis->comm, vj_knn_plan_make(&w->plan, w->analysis)));
    w->count = vj_source_representations(w->plan.training);
    choose_blocks(w);
    VJ_TRY(vj_agree(w->analysis->comm, prepare(w)));
    forecast(w);
    if (w->analysis->dry_run) return VJ_OK;
    w->progress = vj_progress_begin("knn");
    vj_progress_expect(&w->progress, w->plan.queries, w->blocks);
    vj_progress_expect(&w->progress, w->plan.training, w->blocks);
    VJ_TRY(vj_analysis_file_open(&w->output, w->analysis, "knn"));
    vj_status status = declare(w);
    if (status == VJ_OK) status = vj_agree(w->analysis->comm, write_columns(w));
    if (status == VJ_OK) status = find_neighbours(w);
    if (status == VJ_OK) warn_of_equal_rows(w);
    if (status == VJ_OK) report(w);
    return vj_analysis_file_commit(w->output, status);
}

vj_status vj_knn_run(vj_analysis *analysis)
{
    work w = {.analysis = analysis};
    vj_source_part(analysis->validation ? analysis->validation : analysis->source, &w.first, &w.last);
    const vj_status status = run(&w);
    release(&w);
    return status;
}
