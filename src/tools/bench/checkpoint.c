/*
 * Measures writing and reading a checkpoint of CONFIG like in training, compared with plain files of as many bytes, one
 * for each rank, also written in pieces and flushed to disk. Both take turns, because a disk's speed changes from
 * minute to minute. With checkpoint.async it also measures how long training waits, compared with a copy in memory, by
 * all threads of a rank, of the bytes that the rank writes. Both reads come from the system's cache unless it is
 * smaller than the checkpoint.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/inner.h"
#include "parallel/parallel.h"
#include "train/checkpoint.h"
#include "train/step.h"

enum { PIECE = 16 << 20 };

typedef struct {
    const vj_bench_work *work;
    vj_step *step;
    vj_checkpoint *now, *background; /* the second with checkpoint.async */
    vj_ckpt_state state;
    char folder[VJ_BENCH_FOLDER]; /* created inside --dir; "" until it exists */
    char checkpoint[VJ_BENCH_FOLDER + 32], plain[VJ_BENCH_FOLDER + 32];
    int64_t bytes; /* of this rank's plain file */
    char *piece;   /* [PIECE] */
    char *copy;    /* [2 * copy_bytes], with checkpoint.async */
    int64_t copy_bytes;
} files;

static vj_status write_checkpoint(void *user)
{
    files *f = user;
    VJ_TRY(vj_checkpoint_begin(f->now, f->folder, &f->state));
    return vj_checkpoint_commit(f->now);
}

static vj_status read_checkpoint(void *user)
{
    files *f = user;
    return vj_checkpoint_load(f->checkpoint, f->step->optimizer, f->step->layout.world);
}

static vj_status transfer(const files *f, int fd, bool writing)
{
    for (int64_t at = 0; at < f->bytes;) {
        const size_t n = (size_t)(f->bytes - at < PIECE ? f->bytes - at : PIECE);
        const ssize_t done = writing ? pwrite(fd, f->piece, n, at) : pread(fd, f->piece, n, at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return vj_raise(VJ_ERR_IO, "%s %s", writing ? "write" : "read", f->plain);
        at += done;
    }
    if (writing && fsync(fd) != 0) return vj_raise(VJ_ERR_IO, "flush %s", f->plain);
    return VJ_OK;
}

static vj_status open_and_transfer(const files *f, bool writing)
{
    const int fd = open(f->plain, writing ? O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0666);
    if (fd < 0) return vj_raise(VJ_ERR_IO, "open %s", f->plain);
    const vj_status status = transfer(f, fd, writing);
    if (close(fd) != 0 && status == VJ_OK) return vj_raise(VJ_ERR_IO, "close %s", f->plain);
    return status;
}

static vj_status write_plain(void *user)
{
    return open_and_transfer(user, true);
}

static vj_status read_plain(void *user)
{
    return open_and_transfer(user, false);
}

static vj_status begin_background(void *user)
{
    files *f = user;
    return vj_checkpoint_begin(f->background, f->folder, &f->state);
}

/* Wait for the part that runs in the background of training, which polls once a step. */
static vj_status wait_for_background(void *user)
{
    files *f = user;
    while (!vj_checkpoint_poll(f->background)) vj_sleep(0.001);
    return VJ_OK;
}

static vj_status commit_background(void *user)
{
    files *f = user;
    return vj_checkpoint_commit(f->background);
}

/* Copy with memcpy(), an equal share on each thread. */
static vj_status copy_plain(void *user)
{
    files *f = user;
    const int threads = f->work->threads;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        int64_t first, last;
        vj_split(f->copy_bytes, threads, t, &first, &last);
        memcpy(f->copy + first, f->copy + f->copy_bytes + first, (size_t)(last - first));
    }
    return VJ_OK;
}

enum { WRITE, WRITE_PLAIN, READ, READ_PLAIN, ALWAYS, BEGIN = ALWAYS, REST, COMMIT, COPY, PASSES };

static const struct {
    const char *what;
    vj_status (*body)(void *user);
} passes[PASSES] = {[WRITE] = {"write checkpoint", write_checkpoint},
                    [WRITE_PLAIN] = {"write plain files", write_plain},
                    [READ] = {"read checkpoint", read_checkpoint},
                    [READ_PLAIN] = {"read plain files", read_plain},
                    [BEGIN] = {"training waits to begin", begin_background},
                    [REST] = {"beside training", wait_for_background},
                    [COMMIT] = {"training waits to commit", commit_background},
                    [COPY] = {"one memory copy", copy_plain}};

static vj_status make_folder(files *f)
{
    VJ_TRY(vj_bench_folder(f->work, f->folder));
    snprintf(f->checkpoint, sizeof f->checkpoint, "%s/step_%08lld.h5", f->folder, (long long)f->state.step);
    snprintf(f->plain, sizeof f->plain, "%s/plain-%d", f->folder, f->work->rank);
    return VJ_OK;
}

static vj_status checkpoint_bytes(const files *f, double *bytes)
{
    struct stat info = {0};
    vj_status status = VJ_OK;
    if (f->work->rank == 0 && stat(f->checkpoint, &info) != 0)
        status = vj_raise(VJ_ERR_IO, "look at %s", f->checkpoint);
    *bytes = (double)info.st_size;
    MPI_Bcast(bytes, 1, MPI_DOUBLE, 0, f->work->comm);
    return vj_agree(f->work->comm, status);
}

/* Return the bytes that all ranks together read: each rank reads the weights, and the moments that it updates. */
static double bytes_read(const files *f)
{
    const vj_params *ps = &f->step->model->net.params;
    const double target = f->step->model->trained.target ? (double)ps->encoder_total : 0.0;
    double floats = (double)ps->total + target + 2.0 * (double)(f->step->optimizer->last - f->step->optimizer->first);
    vj_sum_doubles(f->work->comm, &floats, 1);
    return floats * (double)sizeof(float);
}

/* Set the size of this rank's plain file to its share of the checkpoint, once the first one is written. */
static vj_status take_size(files *f, double *bytes)
{
    int64_t first, last;
    VJ_TRY(checkpoint_bytes(f, bytes));
    vj_split((int64_t)*bytes, f->work->size, f->work->rank, &first, &last);
    f->bytes = last - first;
    if (!f->background) return VJ_OK;
    f->copy_bytes = vj_checkpoint_memory_bytes(f->background);
    f->copy = vj_calloc(f->copy_bytes, 2);
    return vj_agree(f->work->comm, f->copy ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a copy"));
}

/* Run every pass once untimed, then time them in turns. */
static vj_status sample(vj_bench_work *work, files *f, vj_measurements *samples, double *bytes)
{
    const int count = f->background ? PASSES : ALWAYS;
    for (int i = 0; i < count; i++) {
        VJ_TRY(vj_agree(work->comm, passes[i].body(f)));
        if (i == WRITE) VJ_TRY(take_size(f, bytes));
    }
    while (vj_plan_goes_on(&work->plan, &samples[WRITE]))
        for (int i = 0; i < count; i++) {
            MPI_Barrier(work->comm);
            const double begin = vj_now();
            const vj_status status = passes[i].body(f);
            const double seconds = vj_now() - begin;
            VJ_TRY(vj_agree(work->comm, status));
            vj_bench_sample(work, &samples[i], seconds);
        }
    return VJ_OK;
}

/* Add the waits relative to the memory copy of the same turn, so that other load on the machine affects both. */
static void put_waits(vj_bench_work *work, const vj_measurements *samples)
{
    static vj_measurements ratio;
    for (int i = 0; i < samples[COPY].count; i++)
        vj_measurements_add(&ratio, (samples[BEGIN].value[i] + samples[COMMIT].value[i]) / samples[COPY].value[i]);
    const vj_timing t = vj_measurements_timing(&ratio);
    json_t *row = vj_put_row(work->report, "training_waits_over_one_copy");
    vj_put_number(row, "min", t.min);
    vj_put_number(row, "median", t.median);
    vj_put_number(row, "max", t.max);
}

static vj_status measure(vj_bench_work *work, files *f)
{
    static vj_measurements samples[PASSES];
    double bytes = 0, rate[PASSES] = {0};
    VJ_TRY(sample(work, f, samples, &bytes));
    for (int i = 0; i < PASSES && samples[i].count > 0; i++) {
        const vj_timing time = vj_measurements_timing(&samples[i]);
        const double moved = i == READ ? bytes_read(f) : i == COMMIT ? 0 : bytes;
        rate[i] = 1e-6 * moved / time.median;
        json_t *row = vj_put_row(work->report, "checkpoint");
        vj_put_text(row, "what", passes[i].what);
        vj_put_number(row, "mb", 1e-6 * moved);
        vj_put_count(row, "repeats", samples[i].count);
        vj_put_timing(row, "time_s", time);
        vj_put_number(row, "mb_s", rate[i]);
    }
    vj_put_number(work->report, "write_fraction_of_plain", rate[WRITE] / rate[WRITE_PLAIN]);
    vj_put_number(work->report, "read_fraction_of_plain", rate[READ] / rate[READ_PLAIN]);
    if (f->background) put_waits(work, samples);
    return VJ_OK;
}

static vj_status run(vj_bench_work *work, files *f, vj_config *c)
{
    c->train.batch = work->size; /* for the least memory: no activations are needed */
    c->train.microbatch = 1;
    c->train.recompute = VJ_RECOMPUTE_BLOCK;
    VJ_TRY(vj_step_open(&f->step, c, work->comm));
    vj_model_init_weights(f->step->model, (vj_init)c->model.init, c->predictor.zero_init_mask_tokens, c->run.seed);
    f->state = (vj_ckpt_state){.step = 1, .samples = c->train.batch, .seed = c->run.seed};
    f->state.architecture = vj_checkpoint_architecture(&f->step->model->net.shape);
    f->state.config = vj_config_text(c);
    f->piece = vj_calloc(PIECE, 1);
    const vj_status status =
        f->state.config && f->piece ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a checkpoint");
    VJ_TRY(vj_agree(work->comm, status));
    vj_put_text(work->report, "dir", work->bench->dir);
    VJ_TRY(make_folder(f));
    VJ_TRY(vj_checkpoint_open(&f->now, f->step->optimizer, false, f->work->comm));
    if (c->checkpoint.async) VJ_TRY(vj_checkpoint_open(&f->background, f->step->optimizer, true, f->work->comm));
    return measure(work, f);
}

vj_status vj_bench_checkpoint(vj_bench_work *work)
{
    files *f = vj_calloc(1, sizeof *f);
    vj_config *c = vj_calloc(1, sizeof *c);
    vj_status status = f && c ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a measurement");
    status = vj_agree(work->comm, status);
    if (status == VJ_OK) {
        f->work = work;
        *c = *work->config;
        status = run(work, f, c);
        vj_checkpoint_close(f->now);
        vj_checkpoint_close(f->background);
        vj_bench_remove(work, f->folder);
        if (status == VJ_OK) vj_step_close(f->step); /* collective: a rank that failed alone would wait for ever */
        free(f->state.config);
        free(f->piece);
        free(f->copy);
    }
    free(f);
    free(c);
    return status;
}
