/* Functions that several commands share: sums, memory, means and progress. */
#include "spectrum/parts.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "parallel/parallel.h"
#include "parallel/room.h"

void vj_sum_many(MPI_Comm comm, double *values, int64_t count)
{
    enum { PIECE = 1 << 18 }; /* a sum of many MB at once is slow in some MPI libraries */
    for (int64_t at = 0; at < count; at += PIECE)
        vj_sum_doubles(comm, values + at, (int)(count - at < PIECE ? count - at : PIECE));
}

/* ------------------------------------------------------------------------------------------------ memory */

vj_status vj_check_memory(MPI_Comm comm, int64_t bytes, const char *what, const char *advice)
{
    const int64_t room = vj_rank_memory(comm);
    MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_INT64_T, MPI_MAX, comm);
    if (bytes <= room) return VJ_OK;
    if (vj_comm_rank(comm) == 0)
        vj_raise(VJ_ERR_USAGE, "%lld MiB a rank are needed for %s, and its node has %lld MiB a rank: %s",
                 (long long)(bytes >> 20), what, (long long)(room >> 20), advice);
    return VJ_ERR_USAGE;
}

/* ------------------------------------------------------------------------------------------------ labels */

static int find_label(const vj_source *source, const char *name)
{
    for (int l = 0; l < vj_source_label_count(source); l++)
        if (strcmp(vj_source_label_name(source, l), name) == 0) return l;
    return -1;
}

vj_status vj_choose_labels(int *labels, int *count, const vj_source *source, const vj_config *config)
{
    const vj_strings *tasks = &config->probe.tasks;
    const int all = vj_source_label_count(source), wanted = tasks->count > 0 ? tasks->count : all;
    const char *origin = vj_source_representation(source, 0)->origin;
    for (int r = 0; r < vj_source_representations(source); r++)
        if (vj_source_representation(source, r)->tokens > 1)
            return vj_raise(VJ_ERR_USAGE, "a label is one of a clip, not of its tokens: leave out --tokens");
    if (all == 0) return vj_raise(VJ_ERR_FORMAT, "%s has no labels, and this command needs them", origin);
    *count = 0;
    for (int t = 0; t < wanted; t++) {
        const int label = tasks->count > 0 ? find_label(source, tasks->item[t]) : t;
        if (label < 0)
            return vj_raise(VJ_ERR_USAGE, "probe.tasks: '%s' is not among the labels of %s", tasks->item[t], origin);
        for (int other = 0; other < t; other++)
            if (labels[other] == label) return vj_raise(VJ_ERR_USAGE, "probe.tasks names '%s' twice", tasks->item[t]);
        labels[(*count)++] = label;
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ copies */

static int compare_sums(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

vj_status vj_count_copies(int64_t *copies, const vj_source *training, const vj_source *queries)
{
    const uint64_t *sums = vj_source_clip_sums(training), *asked = vj_source_clip_sums(queries);
    const int64_t n = vj_source_clips(training);
    *copies = sums && asked ? 0 : -1;
    if (*copies < 0) return VJ_OK;
    uint64_t *sorted = vj_calloc(n, sizeof *sorted);
    if (!sorted) return vj_raise(VJ_ERR_MEMORY, "no memory to compare %lld clips", (long long)n);
    memcpy(sorted, sums, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_sums);
    for (int64_t i = 0; i < vj_source_clips(queries); i++) {
        const uint64_t *found = bsearch(&asked[i], sorted, (size_t)n, sizeof *sorted, compare_sums);
        if (found && queries == training) /* the clip finds itself: it has a copy only if a neighbour is equal too */
            found = (found > sorted && found[-1] == *found) || (found < sorted + n - 1 && found[1] == *found) ? found
                                                                                                              : NULL;
        *copies += found != NULL;
    }
    free(sorted);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ sums */

vj_status vj_memory_for_sums(int64_t *bytes, MPI_Comm comm, const char *option, int64_t needed)
{
    double mib;
    const int64_t memory = vj_rank_memory(comm), left = memory > needed ? memory - needed : 0;
    *bytes = left / 2;
    if (!option) return VJ_OK;
    const int rank = vj_comm_rank(comm); /* errors are reported once */
    VJ_TRY(vj_agree(comm, rank == 0 ? vj_option_positive("--memory", option, &mib) : VJ_OK));
    if (rank != 0) VJ_TRY(vj_option_positive("--memory", option, &mib));
    *bytes = mib < 1e9 ? (int64_t)(mib * 1048576.0) : INT64_MAX;
    return VJ_OK;
}

vj_status vj_begin_sums(vj_matrix *matrix, int64_t *bytes)
{
    const int64_t wanted = vj_matrix_sums_bytes(matrix);
    if (wanted > *bytes) return VJ_OK;
    *bytes -= wanted;
    return vj_matrix_begin_sums(matrix);
}

void vj_rows_widen(double *rows, const float *x, int64_t count, int width, const double *minus, double *sum)
{
#pragma omp parallel
    {
        int64_t first, last; /* some columns of all rows: sums do not depend on the number of threads */
        vj_split(width, omp_get_num_threads(), omp_get_thread_num(), &first, &last);
        for (int64_t i = 0; i < count; i++) {
            const float *from = x + i * width;
            double *row = rows + i * width;
            for (int64_t k = first; k < last; k++) row[k] = (double)from[k] - minus[k];
            for (int64_t k = first; k < last; k++) sum[k] += row[k];
        }
    }
}

/* ------------------------------------------------------------------------------------------------ means */

static void add_rows(double *sum, const float *x, int64_t rows, int width)
{
    for (int64_t row = 0; row < rows; row++, x += width)
        for (int k = 0; k < width; k++) sum[k] += (double)x[k];
}

vj_status vj_source_means(vj_source *source, MPI_Comm comm, double *const *mean, vj_progress *progress)
{
    const int count = vj_source_representations(source);
    vj_slab slab;
    bool more;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < vj_source_representation(source, i)->width; k++) mean[i][k] = 0.0;
    VJ_TRY(vj_source_begin(source));
    for (;;) {
        VJ_TRY(vj_source_next(source, &slab, &more));
        if (!more) break;
        for (int i = 0; i < count; i++) {
            const vj_representation *r = vj_source_representation(source, i);
            add_rows(mean[i], slab.x[i], slab.count * r->tokens, r->width);
        }
        vj_progress_add(progress, slab.count);
    }
    for (int i = 0; i < count; i++) {
        const vj_representation *r = vj_source_representation(source, i);
        vj_sum_many(comm, mean[i], r->width);
        for (int k = 0; k < r->width; k++) mean[i][k] /= (double)vj_source_clips(source) * (double)r->tokens;
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ progress */

vj_progress vj_progress_begin(const char *name)
{
    return (vj_progress){.name = name, .line = vj_progress_line_begin()};
}

/* For vj_source_set_listener(): of the present slab, `clips` clips are read. */
static void log_progress(void *progress, double clips, double now_s)
{
    vj_progress *p = progress;
    const double read = (double)p->done + clips;
    if (read <= 0.0 || !vj_progress_line_is_due_in_batch(&p->line, clips, now_s)) return;
    const double share = read / (double)p->mine, spent = now_s - p->line.began_s, done = share * (double)p->all;
    char left[32];
    vj_log("%s: %3.0f %%, %.0f of %lld clips read, in all passes, %.5g clips/s, %s left", p->name, 100.0 * share, done,
           (long long)p->all, done / spent, vj_duration(spent / share - spent, left));
}

void vj_progress_expect(vj_progress *p, vj_source *source, int64_t passes)
{
    int64_t first, last;
    vj_source_set_listener(source, log_progress, p);
    p->source[p->source[0] != NULL] = source;
    vj_source_part(source, &first, &last);
    p->mine += passes * (last - first);
    p->all += passes * vj_source_clips(source);
}

void vj_progress_add(vj_progress *p, int64_t clips)
{
    p->done += clips;
    log_progress(p, 0.0, vj_now());
}

void vj_progress_end(vj_progress *p)
{
    for (int i = 0; i < 2; i++)
        if (p->source[i]) vj_source_set_listener(p->source[i], NULL, NULL);
    const double spent = vj_now() - p->line.began_s;
    vj_log("%s: %lld clips read, in all passes, in %.1f s, %.5g clips/s", p->name, (long long)p->all, spent,
           (double)p->all / spent);
}
