/*
 * A checkpoint of CONFIG as training writes and reads it, against as many bytes in plain files, one a rank, written in
 * pieces and flushed to disk likewise. Both reads come from the system's cache unless it is smaller than the
 * checkpoint.
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

enum { PIECE = 16 << 20, NAME = VJ_PATH + 64 };

typedef struct {
    const vj_bench_work *work;
    vj_step *step;
    vj_ckpt_state state;
    char folder[NAME]; /* ours, inside --dir; "" until it is there */
    char checkpoint[NAME + 32], plain[NAME + 32];
    int64_t bytes; /* of this rank's plain file */
    char *piece;   /* [PIECE] */
} files;

static vj_status write_checkpoint(void *user)
{
    files *f = user;
    return vj_checkpoint_save(f->folder, f->step->optimizer, &f->state, f->work->comm);
}

static vj_status read_checkpoint(void *user)
{
    files *f = user;
    return vj_checkpoint_load(f->checkpoint, f->step->optimizer);
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

/* Writing before reading, the checkpoint before the plain files, which take their size from it. */
static const struct {
    const char *what;
    vj_status (*body)(void *user);
} passes[] = {{"write checkpoint", write_checkpoint},
              {"write plain files", write_plain},
              {"read checkpoint", read_checkpoint},
              {"read plain files", read_plain}};

static vj_status make_folder(files *f)
{
    vj_status status = VJ_OK;
    char folder[NAME];
    int length = snprintf(folder, sizeof folder, "%s/vjepa-bench-XXXXXX", f->work->bench->dir);
    if (length >= NAME)
        status = vj_raise(VJ_ERR_USAGE, "path too long: %s", f->work->bench->dir);
    else if (f->work->rank == 0 && !mkdtemp(folder))
        status = vj_raise(VJ_ERR_IO, "make a folder in %s (--dir)", f->work->bench->dir);
    VJ_TRY(vj_agree(f->work->comm, status));
    MPI_Bcast(folder, NAME, MPI_CHAR, 0, f->work->comm);
    memcpy(f->folder, folder, NAME);
    snprintf(f->checkpoint, sizeof f->checkpoint, "%s/step_%08lld.h5", folder, (long long)f->state.step);
    snprintf(f->plain, sizeof f->plain, "%s/plain-%d", folder, f->work->rank);
    return VJ_OK;
}

/* Rank 0 removes all when no rank uses it any more. The folder is there on all ranks or on none. */
static void remove_folder(const files *f)
{
    if (!*f->folder) return;
    (void)unlink(f->plain); /* may not have been written */
    MPI_Barrier(f->work->comm);
    if (f->work->rank != 0) return;
    (void)unlink(f->checkpoint);
    if (rmdir(f->folder) != 0) vj_warn("cannot remove %s: %s", f->folder, strerror(errno));
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

/* What all ranks together read: each the weights, and the moments that it updates. */
static double bytes_read(const files *f)
{
    const vj_params *ps = &f->step->model->net.params;
    const double target = f->step->model->target_weights ? (double)ps->encoder_total : 0.0;
    double floats = (double)ps->total + target + 2.0 * (double)(f->step->optimizer->last - f->step->optimizer->first);
    vj_sum_doubles(f->work->comm, &floats, 1);
    return floats * (double)sizeof(float);
}

static vj_status measure(vj_bench_work *work, files *f)
{
    static vj_samples samples;
    double bytes = 0, rate[4];
    for (int i = 0; i < 4; i++) {
        VJ_TRY(vj_bench_time(work, passes[i].body, f, &samples));
        if (i == 0) {
            int64_t first, last;
            VJ_TRY(checkpoint_bytes(f, &bytes));
            vj_split((int64_t)bytes, work->size, work->rank, &first, &last);
            f->bytes = last - first;
        }
        const vj_timing time = vj_samples_timing(&samples);
        const double moved = passes[i].body == read_checkpoint ? bytes_read(f) : bytes;
        rate[i] = 1e-6 * moved / time.median;
        json_t *row = vj_put_row(work->report, "checkpoint");
        vj_put_text(row, "what", passes[i].what);
        vj_put_number(row, "mb", 1e-6 * moved);
        vj_put_count(row, "repeats", samples.count);
        vj_put_timing(row, "time_s", time);
        vj_put_number(row, "mb_s", rate[i]);
    }
    vj_put_number(work->report, "write_fraction_of_plain", rate[0] / rate[1]);
    vj_put_number(work->report, "read_fraction_of_plain", rate[2] / rate[3]);
    return VJ_OK;
}

static vj_status run(vj_bench_work *work, files *f, vj_config *c)
{
    c->train.batch = work->size; /* the least memory for activations: none is needed */
    c->train.microbatch = 1;
    c->train.recompute = VJ_RECOMPUTE_BLOCK;
    VJ_TRY(vj_step_open(&f->step, c, work->comm));
    vj_model_start(f->step->model, (vj_init)c->model.init, c->predictor.zero_init_mask_tokens, c->run.seed);
    f->state = (vj_ckpt_state){.step = 1, .samples = c->train.batch, .seed = c->run.seed};
    f->state.config = vj_config_text(c);
    f->piece = vj_calloc(PIECE, 1);
    const vj_status status =
        f->state.config && f->piece ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a checkpoint");
    VJ_TRY(vj_agree(work->comm, status));
    vj_put_text(work->report, "dir", work->bench->dir);
    VJ_TRY(make_folder(f));
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
        remove_folder(f);
        if (status == VJ_OK) vj_step_close(f->step); /* collective: a rank that failed alone would wait for ever */
        free(f->state.config);
        free(f->piece);
    }
    free(f);
    free(c);
    return status;
}
