/* The in-run watch: chooses clips, gathers their features on rank 0, and runs two probes. Read measure_features()
 * first. */
#include "probe/watch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "parallel/parallel.h"
#include "probe/frozen.h"
#include "probe/probe.h"

typedef struct {
    vj_frozen frozen;    /* clips and encoder; the device is the training step's */
    vj_config *config;   /* owned; the run's, with the settings of the watch's probe */
    const vj_step *step; /* borrowed */
    MPI_Comm comm;       /* own copy */
    int64_t train;       /* the first `train` of the frozen.n chosen clips are for training */
    int classes, D;
    int64_t tokens;
    int64_t first, last;      /* chosen clips that this rank encodes */
    int64_t encoded, present; /* of these: before the present batch, in it */
    vj_progress_line line;
    int32_t *labels; /* [n] of the chosen clips */
    float *features; /* [rank 0: n; else last - first, tokens, D]; NULL without the attentive probe */
    float *pooled;   /* the same clips, [.., D] */
} watch;

/* ------------------------------------------------------------------------------------------------ opening */

/* Open the stores of both sides as one, so that labels are matched by names of classes; *train_clips gets the clips of
 * the training side. */
static vj_status open_stores(watch *w, int64_t *train_clips)
{
    const vj_config *c = w->config;
    vj_strings all = c->watch.train;
    vj_clips *clips;
    for (int i = 0; i < c->watch.validation.count; i++) {
        if (all.count == VJ_MAX_LIST)
            return vj_raise(VJ_ERR_USAGE, "watch.train and watch.validation name more than %d stores", VJ_MAX_LIST);
        strcpy(all.item[all.count++], c->watch.validation.item[i]);
    }
    VJ_TRY(vj_clips_open(&clips, &c->watch.train, w->comm));
    *train_clips = vj_clips_count(clips);
    vj_clips_close(clips);
    VJ_TRY(vj_clips_open(&w->frozen.clips, &all, w->comm));
    return vj_frozen_show(&w->frozen, "watch.train", all.item[0]);
}

static vj_status find_task(const watch *w, int *label)
{
    const vj_clips *clips = w->frozen.clips;
    const char *task = w->config->watch.task;
    for (*label = 0; *label < vj_clips_label_count(clips); ++*label)
        if (*task == '\0' || strcmp(vj_clips_label_name(clips, *label), task) == 0) return VJ_OK;
    return vj_raise(VJ_ERR_USAGE,
                    *task ? "watch.task: the clips of %s have no label called '%s'"
                          : "watch.train: the clips of %s have no label%s",
                    w->config->watch.train.item[0], task);
}

/* Choose labelled clips of [begin, end), each class reduced by the same factor, and append them to frozen.chosen.
 * labels: those of all clips. */
static vj_status choose_side(watch *w, int64_t begin, int64_t end, const int32_t *labels, const char *setting)
{
    vj_frozen *f = &w->frozen;
    int64_t *chosen = vj_calloc(end - begin + 1, sizeof *chosen), count = 0;
    if (!chosen) return vj_raise(VJ_ERR_MEMORY, "no memory to choose clips of %s", setting);
    vj_status status = vj_probe_subset(chosen, &count, labels + begin, end - begin, w->classes, w->config->watch.clips,
                                       100.0, (uint64_t)w->config->run.seed);
    for (int64_t i = 0; i < count && status == VJ_OK; i++) {
        w->labels[f->n] = labels[begin + chosen[i]];
        f->chosen[f->n++] = begin + chosen[i];
    }
    free(chosen);
    if (status == VJ_OK && count == 0)
        status = vj_raise(VJ_ERR_USAGE, "%s: no clip has a label of task '%s'", setting, w->config->watch.task);
    return status;
}

static vj_status choose_clips(watch *w, int64_t train_clips, int label)
{
    vj_frozen *f = &w->frozen;
    const int64_t all = vj_clips_count(f->clips);
    int32_t *labels = vj_calloc(all + 1, sizeof *labels);
    f->chosen = vj_calloc(all + 1, sizeof *f->chosen);
    w->labels = vj_calloc(all + 1, sizeof *w->labels);
    vj_status status = labels && f->chosen && w->labels
                           ? VJ_OK
                           : vj_raise(VJ_ERR_MEMORY, "no memory to choose among %lld clips", (long long)all);
    for (int64_t i = 0; i < all && status == VJ_OK; i++) {
        labels[i] = vj_clips_labels(f->clips, i)[label];
        if (labels[i] >= VJ_MAX_CLASSES)
            status =
                vj_raise(VJ_ERR_FORMAT, "watch.task: a clip is of class %d, which is no number of a class", labels[i]);
        else if (labels[i] >= w->classes)
            w->classes = labels[i] + 1;
    }
    if (status == VJ_OK) status = choose_side(w, 0, train_clips, labels, "watch.train");
    w->train = f->n;
    if (status == VJ_OK) status = choose_side(w, train_clips, all, labels, "watch.validation");
    free(labels);
    return status;
}

/* Open an encoder on the weights of the model, in which the encoder must have the same layout as one alone. */
static vj_status open_encoder(watch *w)
{
    vj_frozen *f = &w->frozen;
    const vj_model *model = w->step->model;
    const vj_trainable *t = &model->trained;
    VJ_TRY(vj_encoder_open_over(&f->encoder[0], &model->net.shape, f->batch, f->be, t->target ? t->target : t->weights,
                                t->target ? t->rounded_target : t->rounded_weights));
    f->count = 1;
    const vj_params *own = &f->encoder[0]->net.params;
    for (int i = 0; i < own->count; i++)
        VJ_ASSERT(own->item[i].offset == model->net.params.item[i].offset &&
                  own->item[i].count == model->net.params.item[i].count);
    return vj_encoder_accept_frames(f->encoder[0], vj_clips_largest_bytes(f->clips));
}

static vj_status allocate(watch *w)
{
    const vj_frozen *f = &w->frozen;
    const int64_t groups = (f->n + f->batch - 1) / f->batch;
    vj_split(groups, f->size, f->rank, &w->first, &w->last);
    w->first *= f->batch;
    w->last = w->last * f->batch < f->n ? w->last * f->batch : f->n;
    if (w->first > w->last) w->first = w->last;
    const int64_t rows = f->rank == 0 ? f->n : w->last - w->first;
    w->pooled = vj_calloc(rows * w->D + 1, sizeof *w->pooled);
    if (w->config->watch.epochs > 0) w->features = vj_calloc(rows * w->tokens * w->D + 1, sizeof *w->features);
    if (w->pooled && (w->features || w->config->watch.epochs == 0)) return VJ_OK;
    return vj_raise(VJ_ERR_MEMORY,
                    "no memory for the features of the in-run watch, %lld clips of %lld tokens of width %d: lower "
                    "watch.clips, or watch.epochs=0",
                    (long long)rows, (long long)w->tokens, w->D);
}

static vj_status prepare(watch *w)
{
    int64_t train_clips;
    int label;
    VJ_TRY(open_stores(w, &train_clips));
    w->config->probe.weight_decay = vj_config_probe_decay(w->config, w->frozen.images);
    VJ_TRY(find_task(w, &label));
    snprintf(w->config->watch.task, sizeof w->config->watch.task, "%s", vj_clips_label_name(w->frozen.clips, label));
    VJ_TRY(choose_clips(w, train_clips, label));
    VJ_TRY(open_encoder(w));
    w->tokens = w->frozen.encoder[0]->net.tokens;
    w->D = w->frozen.encoder[0]->net.shape.width;
    VJ_TRY(allocate(w));
    char probe[64] = "";
    if (w->config->watch.epochs > 0)
        snprintf(probe, sizeof probe, ", a probe of weight decay %g", w->config->probe.weight_decay);
    vj_log("watch: every %lld steps, task %s, %lld training and %lld validation clips of %d classes%s",
           (long long)w->config->watch.every, w->config->watch.task, (long long)w->train,
           (long long)(w->frozen.n - w->train), w->classes, probe);
    return VJ_OK;
}

static vj_status open_watch(void **opened, const vj_config *config, const vj_step *step, MPI_Comm comm)
{
    watch *w = *opened = vj_calloc(1, sizeof *w);
    if (!w || !(w->config = vj_calloc(1, sizeof *w->config))) return vj_raise(VJ_ERR_MEMORY, "no memory for the watch");
    *w->config = *config;
    w->config->probe.epochs = config->watch.epochs;
    w->config->probe.clips = 0;
    w->config->probe.equal_updates = 0;
    w->config->evaluate.image_frames = config->data.frames; /* as many as in training */
    w->step = step;
    MPI_Comm_dup(comm, &w->comm);
    w->frozen = (vj_frozen){.config = w->config,
                            .comm = w->comm,
                            .rank = vj_comm_rank(comm),
                            .size = vj_comm_size(comm),
                            .batch = config->train.microbatch,
                            .be = step->be};
    return vj_agree(comm, prepare(w));
}

static void close_watch(void *opened)
{
    watch *w = opened;
    if (!w) return;
    vj_encoder_close(w->frozen.encoder[0]);
    w->frozen.count = 0;
    w->frozen.be = NULL; /* owned by the training step */
    vj_frozen_release(&w->frozen);
    MPI_Comm_free(&w->comm);
    free(w->labels);
    free(w->features);
    free(w->pooled);
    free(w->config);
    free(w);
}

/* ------------------------------------------------------------------------------------------------ features */

/* Compute xhat of the folded probe (probe.h), in place: each token minus its mean, over its standard deviation. */
static void normalise(float *x, int64_t rows, int D, int threads)
{
#pragma omp parallel for num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        float *token = x + r * D;
        double mean = 0.0, variance = 0.0;
        for (int i = 0; i < D; i++) mean += token[i];
        mean /= D;
        for (int i = 0; i < D; i++) variance += (token[i] - mean) * (token[i] - mean);
        const double rstd = 1.0 / sqrt(variance / D + (double)VJ_PROBE_EPS);
        for (int i = 0; i < D; i++) token[i] = (float)((token[i] - mean) * rstd);
    }
}

/* For vj_work_begin(): `share` of the present batch is encoded. */
static void log_progress(void *user, double share, double now_s)
{
    watch *w = user;
    const double done = (double)w->encoded + share * (double)w->present;
    vj_progress_line_log(&w->line, "watch: clips encoded", done / (double)(w->last - w->first), now_s);
}

static vj_status encode_batch(watch *w, int64_t row, float *tokens)
{
    vj_frozen *f = &w->frozen;
    vj_batch batch;
    double wait_s;
    const int64_t clip = w->tokens * w->D;
    VJ_TRY(vj_frozen_next(f, &batch, &wait_s));
    vj_phase_enter(f->be, VJ_PHASE_TARGET); /* tells the watchdog that there is progress */
    w->encoded = row;
    w->present = batch.count;
    vj_work_begin(f->be, vj_frozen_flops(f, batch.count), log_progress, w);
    (void)vj_frozen_encode(f, 0, &batch);
    vj_work_end(f->be);
    vj_phase_enter(f->be, VJ_PHASE_OTHER);
    VJ_TRY(vj_encoder_download(f->encoder[0], tokens, batch.count));
    vj_host_mean_tokens(w->pooled + row * w->D, tokens, batch.count, w->tokens, w->D);
    if (!w->features) return VJ_OK;
    memcpy(w->features + row * clip, tokens, (size_t)(batch.count * clip) * sizeof *tokens);
    normalise(w->features + row * clip, batch.count * w->tokens, w->D, w->step->layout.place.threads);
    return VJ_OK;
}

/* Encode this rank's clips; rank 0's rows are the first of all. */
static vj_status encode(watch *w)
{
    vj_frozen *f = &w->frozen;
    if (w->first == w->last) return VJ_OK;
    float *tokens = vj_calloc(f->batch * w->tokens * w->D, sizeof *tokens);
    if (!tokens) return vj_raise(VJ_ERR_MEMORY, "no memory for the tokens of %lld clips", (long long)f->batch);
    w->line = vj_progress_line_begin();
    vj_status status = vj_frozen_start(f, w->first, w->last);
    for (int64_t row = 0; row < w->last - w->first && status == VJ_OK; row += f->batch)
        status = encode_batch(w, row, tokens);
    vj_loader_stop(f->loader);
    f->loader = NULL;
    free(tokens);
    return status;
}

/* Gather rows of `values` floats of all ranks' clips on rank 0, whose own rows are in place. Collective. */
static vj_status gather(const watch *w, float *rows, int64_t values)
{
    const vj_frozen *f = &w->frozen;
    int *count = vj_calloc(2 * (int64_t)f->size, sizeof *count), mine = (int)(w->last - w->first);
    VJ_TRY(vj_agree(w->comm, count ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for %d ranks", f->size)));
    MPI_Datatype row;
    MPI_Type_contiguous((int)values, MPI_FLOAT, &row); /* counts of floats may not fit in an int */
    MPI_Type_commit(&row);
    MPI_Gather(&mine, 1, MPI_INT, count, 1, MPI_INT, 0, w->comm);
    for (int r = 1; r < f->size; r++) count[f->size + r] = count[f->size + r - 1] + count[r - 1];
    MPI_Gatherv(f->rank == 0 ? MPI_IN_PLACE : (void *)rows, mine, row, rows, count, count + f->size, row, 0, w->comm);
    MPI_Type_free(&row);
    free(count);
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ probes */

static void scale_to_one(double *to, const float *from, int64_t rows, int D)
{
    for (int64_t r = 0; r < rows; r++) {
        double squares = 0.0;
        for (int i = 0; i < D; i++) squares += (double)from[r * D + i] * from[r * D + i];
        const double scale = squares > 0.0 ? 1.0 / sqrt(squares) : 0.0;
        for (int i = 0; i < D; i++) to[r * D + i] = scale * from[r * D + i];
    }
}

typedef struct {
    double similarity;
    int64_t sample;
} neighbour;

/* Find the k nearest samples of one query, nearest first; returns how many there are. */
static int find_nearest(neighbour nearest[VJ_WATCH_NEIGHBOURS], const double *query, const double *samples, int64_t n,
                        int D)
{
    int found = 0;
    for (int64_t s = 0; s < n; s++) {
        double similarity = 0.0;
        for (int i = 0; i < D; i++) similarity += query[i] * samples[s * D + i];
        if (found == VJ_WATCH_NEIGHBOURS && !(similarity > nearest[found - 1].similarity)) continue;
        int at = found < VJ_WATCH_NEIGHBOURS ? found++ : found - 1;
        for (; at > 0 && similarity > nearest[at - 1].similarity; at--) nearest[at] = nearest[at - 1];
        nearest[at] = (neighbour){similarity, s};
    }
    return found;
}

/* Return the class with the most votes; of equal ones that of the nearest sample. */
static int32_t majority(const neighbour *nearest, int found, const int32_t *labels)
{
    int best = 0;
    int32_t answer = -1;
    for (int i = 0; i < found; i++) {
        int votes = 0;
        for (int j = 0; j < found; j++) votes += labels[nearest[j].sample] == labels[nearest[i].sample];
        if (votes > best) {
            best = votes;
            answer = labels[nearest[i].sample];
        }
    }
    return answer;
}

vj_status vj_watch_knn(double *top1, const float *samples, const int32_t *sample_labels, int64_t n,
                       const float *queries, const int32_t *query_labels, int64_t m, int D, int threads)
{
    double *unit = vj_calloc((n + m) * D, sizeof *unit);
    int64_t right = 0;
    if (!unit) return vj_raise(VJ_ERR_MEMORY, "no memory for the mean tokens of %lld clips", (long long)(n + m));
    scale_to_one(unit, samples, n, D);
    scale_to_one(unit + n * D, queries, m, D);
#pragma omp parallel for num_threads(threads) reduction(+ : right)
    for (int64_t q = 0; q < m; q++) {
        neighbour nearest[VJ_WATCH_NEIGHBOURS];
        const int found = find_nearest(nearest, unit + (n + q) * D, unit, n, D);
        right += majority(nearest, found, sample_labels) == query_labels[q];
    }
    free(unit);
    *top1 = 100.0 * (double)right / (double)m;
    return VJ_OK;
}

/* For vj_probe_choice.progress. */
static void log_fit(void *line, double share)
{
    vj_progress_line_log(line, "watch: attentive probe trained", share, vj_now());
}

static vj_status fit_probe(const watch *w, double *top1)
{
    const vj_config *c = w->config;
    const int64_t n = w->train, m = w->frozen.n - n;
    int64_t *chosen = vj_calloc(n, sizeof *chosen), chosen_count = 0;
    vj_progress_line line = vj_progress_line_begin();
    if (!chosen) return vj_raise(VJ_ERR_MEMORY, "no memory for the watch's probe");
    for (int64_t i = 0; i < n; i++)
        if (w->labels[i] >= 0) chosen[chosen_count++] = i;
    const vj_probe_choice choice = {.shape = {.pooling = VJ_POOL_ATTENTIVE,
                                              .D = w->D,
                                              .heads = (int)c->model.heads,
                                              .classes = w->classes,
                                              .tokens = w->tokens,
                                              .batch = c->probe.batch,
                                              .folded = 1},
                                    .share = 100.0,
                                    .seed = (uint64_t)c->run.seed,
                                    .chosen = chosen,
                                    .chosen_count = chosen_count,
                                    .progress = log_fit,
                                    .listener = &line};
    const vj_probe_data train = {.count = n,
                                 .tokens = w->tokens,
                                 .D = w->D,
                                 .features = w->features,
                                 .labels = w->labels},
                        validation = {.count = m,
                                      .tokens = w->tokens,
                                      .D = w->D,
                                      .features = w->features + n * w->tokens * w->D,
                                      .labels = w->labels + n};
    vj_probe_result result = {0};
    vj_status status = vj_probe_fit(&result, NULL, w->frozen.be, c, &choice, &train, &validation);
    free(chosen);
    *top1 = result.accuracies.top1;
    return status;
}

/* Run the probes, on rank 0. */
static vj_status measure(const watch *w, vj_step_report *r)
{
    const int64_t n = w->train, m = w->frozen.n - n;
    double knn, probe = NAN;
    VJ_TRY(vj_watch_knn(&knn, w->pooled, w->labels, n, w->pooled + n * w->D, w->labels + n, m, w->D,
                        w->step->layout.place.threads));
    if (w->features) VJ_TRY(fit_probe(w, &probe));
    r->watch_knn = knn;
    r->watch_probe = probe;
    return VJ_OK;
}

static vj_status measure_features(void *opened, int64_t steps_done, vj_step_report *r)
{
    watch *w = opened;
    const double begin = vj_now();
    char probe[64] = "";
    vj_trainable_round(&w->step->model->trained);
    VJ_TRY(vj_agree(w->comm, encode(w)));
    VJ_TRY(gather(w, w->pooled, w->D));
    if (w->config->watch.epochs > 0) VJ_TRY(gather(w, w->features, w->tokens * w->D));
    VJ_TRY(vj_agree(w->comm, w->frozen.rank == 0 ? measure(w, r) : VJ_OK));
    if (w->config->watch.epochs > 0) snprintf(probe, sizeof probe, ", attentive probe %.1f %%", r->watch_probe);
    vj_log("watch: after step %lld: nearest neighbours %.1f %%%s of %lld clips right, in %.1f s", (long long)steps_done,
           r->watch_knn, probe, (long long)(w->frozen.n - w->train), vj_now() - begin);
    return VJ_OK;
}

const vj_pretrain_watch vj_watch = {open_watch, measure_features, close_watch};
