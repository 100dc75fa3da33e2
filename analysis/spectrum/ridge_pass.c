/* Makes the passes over the features: picks the rows of each subset from every slab, and gives them to its regression.
 */
#include <stdlib.h>

#include "parallel/parallel.h"
#include "parallel/room.h"
#include "spectrum/ridge.h"

/* A regression, and the subset and representation that it is for. */
typedef struct {
    int representation;
    int64_t subset;
    vj_ridge *ridge;
} fit;

typedef struct {
    const vj_ridge_work *work;
    double **shift; /* [representations] mean of all training rows, [D] */
    double *rows;   /* [slab, D] rows picked from a slab */
    int *classes;   /* [slab] */
    fit *fits;      /* [room] the regressions that are fitted at a time */
    int64_t room, count;
    vj_progress progress;
} passes;

static int width_of(const passes *p, int representation)
{
    return vj_source_representation(p->work->analysis->source, representation)->width;
}

static vj_ridge_shape shape_of(const passes *p, int representation, int task)
{
    return (vj_ridge_shape){.name = vj_source_representation(p->work->analysis->source, representation)->name,
                            .D = width_of(p, representation),
                            .C = p->work->tasks[task].classes,
                            .lambdas = p->work->lambdas,
                            .ratio = p->work->ratio,
                            .balanced = p->work->balanced};
}

/* ------------------------------------------------------------------------------------------------ passes */

/* Pick the rows of clips that have a class and, if there is a list of members, are in it. Returns their number. */
static int64_t pick(passes *p, const vj_slab *slab, int representation, const int *class_of,
                    const unsigned char *member)
{
    const int D = width_of(p, representation);
    const double *shift = p->shift[representation];
    int64_t count = 0;
    for (int64_t i = 0; i < slab->count; i++) {
        const int64_t clip = slab->first + i;
        const float *x = slab->x[representation] + i * D;
        if (class_of[clip] < 0 || (member && !member[clip])) continue;
        for (int k = 0; k < D; k++) p->rows[count * D + k] = (double)x[k] - shift[k];
        p->classes[count++] = class_of[clip];
    }
    return count;
}

typedef enum { ADD, LEAVE_OUT, VALIDATE } purpose;

static vj_status use_slab(passes *p, const vj_slab *slab, purpose what)
{
    for (int64_t i = 0; i < p->count; i++) {
        fit *f = &p->fits[i];
        const vj_ridge_subset *subset = &p->work->subsets[f->subset];
        const vj_ridge_task *task = &p->work->tasks[subset->task];
        const int64_t count = what == VALIDATE ? pick(p, slab, f->representation, task->validation, NULL)
                                               : pick(p, slab, f->representation, task->train, subset->member);
        if (what == ADD)
            VJ_TRY(vj_ridge_add(f->ridge, p->rows, p->classes, count));
        else if (what == LEAVE_OUT)
            vj_ridge_leave_out(f->ridge, p->rows, p->classes, count);
        else
            vj_ridge_validate(f->ridge, p->rows, p->classes, count);
    }
    return VJ_OK;
}

static vj_status read_all(passes *p, purpose what)
{
    vj_source *source = what == VALIDATE ? p->work->analysis->validation : p->work->analysis->source;
    vj_slab slab;
    bool more;
    VJ_TRY(vj_source_begin(source));
    for (;;) {
        VJ_TRY(vj_source_next(source, &slab, &more));
        if (!more) return VJ_OK;
        VJ_TRY(use_slab(p, &slab, what));
        vj_progress_add(&p->progress, slab.count);
    }
}

/* Fit the regressions that wait in p->fits. */
static vj_status fit_waiting(passes *p, vj_ridge_fitted *fitted, void *user)
{
    const vj_analysis *analysis = p->work->analysis;
    for (int64_t i = 0; i < p->count; i++) {
        const vj_ridge_subset *subset = &p->work->subsets[p->fits[i].subset];
        const vj_ridge_shape shape = shape_of(p, p->fits[i].representation, subset->task);
        VJ_TRY(vj_ridge_create(&p->fits[i].ridge, analysis->comm, analysis->ranks, &shape, subset->class_clips));
    }
    VJ_TRY(read_all(p, ADD));
    for (int64_t i = 0; i < p->count; i++) VJ_TRY(vj_ridge_solve(p->fits[i].ridge, analysis->comm));
    VJ_TRY(read_all(p, LEAVE_OUT));
    VJ_TRY(read_all(p, VALIDATE));
    for (int64_t i = 0; i < p->count; i++) {
        fit *f = &p->fits[i];
        const vj_ridge_path *path = vj_ridge_finish(f->ridge, analysis->comm);
        const double *shift = p->shift[f->representation];
        VJ_TRY(vj_agree(analysis->comm, fitted(user, f->representation, f->subset, f->ridge, path, shift)));
        vj_ridge_destroy(f->ridge);
        f->ridge = NULL;
    }
    p->count = 0;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ memory */

/* Compute how many regressions fit into half of the free memory; the other half is for slabs and ScaLAPACK. */
static vj_status plan_room(passes *p, int64_t all)
{
    const vj_analysis *analysis = p->work->analysis;
    int64_t largest = 0;
    for (int r = 0; r < vj_source_representations(analysis->source); r++)
        for (int t = 0; t < p->work->task_count; t++) {
            const vj_ridge_shape shape = shape_of(p, r, t);
            const int64_t bytes = vj_ridge_bytes(&shape, analysis->size);
            if (bytes > largest) largest = bytes;
        }
    VJ_TRY(vj_check_memory(analysis->comm, 2 * largest, "a ridge probe", "take fewer ranks on a node"));
    const double free_bytes = (double)vj_rank_memory(analysis->comm) / 2.0;
    const int64_t room =
        (int64_t)((p->work->memory_bytes > 0.0 ? p->work->memory_bytes : free_bytes) / (double)largest);
    p->room = room < 1 ? 1 : room < all ? room : all;
    return VJ_OK;
}

static vj_status allocate(passes *p)
{
    const vj_analysis *analysis = p->work->analysis;
    const int64_t train = vj_source_slab_clips(analysis->source),
                  validation = vj_source_slab_clips(analysis->validation),
                  slab = train > validation ? train : validation;
    const int representations = vj_source_representations(analysis->source);
    int64_t widest = 0;
    p->shift = vj_calloc(representations, sizeof *p->shift);
    bool good = p->shift != NULL;
    for (int r = 0; r < representations && good; r++) {
        if (width_of(p, r) > widest) widest = width_of(p, r);
        p->shift[r] = vj_calloc(width_of(p, r), sizeof *p->shift[r]);
        good = p->shift[r] != NULL;
    }
    p->rows = vj_calloc(slab * widest, sizeof *p->rows);
    p->classes = vj_calloc(slab, sizeof *p->classes);
    p->fits = vj_calloc(p->room, sizeof *p->fits);
    return vj_agree(analysis->comm, good && p->rows && p->classes && p->fits
                                        ? VJ_OK
                                        : vj_raise(VJ_ERR_MEMORY, "no memory for a slab of features"));
}

static void release(passes *p)
{
    for (int r = 0; p->shift && r < vj_source_representations(p->work->analysis->source); r++) free(p->shift[r]);
    for (int64_t i = 0; p->fits && i < p->room; i++) vj_ridge_destroy(p->fits[i].ridge);
    free(p->shift);
    free(p->rows);
    free(p->classes);
    free(p->fits);
}

/* ------------------------------------------------------------------------------------------------ all of it */

/* Forecast the time of products: the Gram matrix of training rows; for training and validation rows the change to the
 * eigenvector basis, and predictions for all penalties. */
static void forecast(const passes *p)
{
    const vj_ridge_work *work = p->work;
    double sums = 0.0, others = 0.0;
    int widest = 1;
    for (int r = 0; r < vj_source_representations(work->analysis->source); r++) {
        const double D = width_of(p, r);
        if (width_of(p, r) > widest) widest = width_of(p, r);
        for (int64_t i = 0; i < work->subset_count; i++) {
            const vj_ridge_subset *subset = &work->subsets[i];
            const vj_ridge_task *task = &work->tasks[subset->task];
            const double rows = (double)(subset->clips + task->validation_clips);
            if (subset->same >= 0) continue;
            sums += (double)subset->clips * D * (D + 1.0);
            others += 2.0 * rows * D * (D + task->classes * work->lambdas);
        }
    }
    vj_speed_forecast(work->analysis, "ridge", sums, others, widest);
}

static vj_status fit_all(passes *p, vj_ridge_fitted *fitted, void *user)
{
    const vj_ridge_work *work = p->work;
    const vj_analysis *analysis = work->analysis;
    const int representations = vj_source_representations(analysis->source);
    int64_t distinct = 0;
    for (int64_t i = 0; i < work->subset_count; i++) distinct += work->subsets[i].same < 0;
    const int64_t all = distinct * representations;
    VJ_TRY(plan_room(p, all));
    VJ_TRY(allocate(p));
    vj_log("ridge: %lld regressions, %lld at a time", (long long)all, (long long)p->room);
    forecast(p);
    const int64_t rounds = (all + p->room - 1) / p->room;
    p->progress = vj_progress_begin("ridge");
    vj_progress_expect(&p->progress, analysis->source, 1 + 2 * rounds);
    vj_progress_expect(&p->progress, analysis->validation, rounds);
    VJ_TRY(vj_source_means(analysis->source, analysis->comm, p->shift, &p->progress));
    for (int r = 0; r < representations; r++)
        for (int64_t i = 0; i < work->subset_count; i++) {
            if (work->subsets[i].same >= 0) continue;
            p->fits[p->count++] = (fit){.representation = r, .subset = i};
            if (p->count == p->room) VJ_TRY(fit_waiting(p, fitted, user));
        }
    if (p->count > 0) VJ_TRY(fit_waiting(p, fitted, user));
    vj_progress_end(&p->progress);
    return VJ_OK;
}

vj_status vj_ridge_work_do(const vj_ridge_work *work, vj_ridge_fitted *fitted, void *user)
{
    passes p = {.work = work};
    const vj_status status = fit_all(&p, fitted, user);
    release(&p);
    return status;
}
