/*
 * Writes a checkpoint through h5/h5.h: rank 0 creates the datasets in memory and tells the ranks their offsets in the
 * file, each rank writes its blocks there with pwrite(2), then rank 0 adds the checksums (finish). load() copies blocks
 * into the writer's memory; store() computes their checksums and writes them. In the foreground the memory is a staging
 * buffer, and load() and store() alternate. In the background the memory holds all that this rank writes, and a thread
 * runs store() and later finish(). If the memory is lent, copies into it may still be in progress when load() returns;
 * the thread starts when they are complete. The thread never calls MPI. It calls HDF5 only on rank 0, in finish(),
 * while no other thread does (ckpt.h).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/thread.h"
#include "ckpt/inner.h"
#include "parallel/parallel.h"

struct vj_ckpt_writer {
    vj_ckpt_tensor *tensors; /* [count] */
    int count;
    bool background;
    MPI_Comm comm;   /* borrowed */
    int64_t *number; /* [count + 1] number of each tensor's first block among all blocks */
    int64_t *place;  /* [count] file offset of each tensor */
    uint64_t *sums;  /* [all blocks] */
    char *memory;    /* owned, unless it is lent */
    int64_t memory_bytes;
    vj_ckpt_copied copied; /* NULL: no memory was lent */
    void *copied_user;
    bool copying;             /* a checkpoint was begun, and copies into lent memory may be incomplete */
    vj_lease_seal lease;      /* checked before a checkpoint is published */
    int64_t keep, keep_every; /* as in vj_ckpt_keep(); keep 0: remove nothing */
    /* The checkpoint in progress. */
    enum { IDLE, WRITING, VERIFYING, FINISHING, FAILED } phase;
    vj_h5_writer out;
    char dir[VJ_PATH]; /* of a run's checkpoint; "": a separate file */
    bool in_thread;
    pthread_t thread;
    atomic_bool done;      /* this rank's work of the phase is done */
    vj_status status;      /* result of that work; belongs to the thread while it runs */
    int64_t blocks;        /* in memory */
    int64_t bytes, stored; /* that this rank writes; of these, so far. These and `line` belong to the thread too */
    vj_progress_line line;
};

/* A block that this rank writes; tensor -1: the place before the first block. */
typedef struct {
    int tensor;
    int64_t first, last; /* elements */
} block;

static const block before_all = {.tensor = -1};

/* Step to the next block that this rank writes. Returns false if there is none. */
static bool next_block(const vj_ckpt_writer *w, block *b)
{
    while (b->tensor < 0 || b->last == w->tensors[b->tensor].last) {
        if (++b->tensor == w->count) return false;
        b->last = w->tensors[b->tensor].first;
    }
    const vj_ckpt_tensor *t = &w->tensors[b->tensor];
    b->first = b->last;
    b->last += vj_ckpt_block_elements(t);
    if (b->last > t->last) b->last = t->last;
    return true;
}

/* ------------------------------------------------------------------------------------------------ open */

/* Check that this rank writes whole blocks, and count it as an owner of each. The counts are in `sums`, which has no
 * checksums yet. */
static vj_status claim(vj_ckpt_writer *w)
{
    for (int i = 0; i < w->count; i++) {
        const vj_ckpt_tensor *t = &w->tensors[i];
        int64_t elements = vj_ckpt_elements(t), size = vj_ckpt_block_elements(t);
        if (t->first == t->last) continue;
        if (t->first < 0 || t->first > t->last || t->last > elements || t->first % size != 0 ||
            (t->last % size != 0 && t->last != elements))
            return vj_raise(VJ_ERR_STATE, "%s: elements %lld..%lld are not whole blocks of %lld", t->name,
                            (long long)t->first, (long long)t->last, (long long)size);
        for (int64_t b = t->first / size; b * size < t->last; b++) w->sums[w->number[i] + b]++;
    }
    return VJ_OK;
}

/* Check that every block has exactly one owner. */
static vj_status check_owners(vj_ckpt_writer *w)
{
    VJ_TRY(vj_agree(w->comm, claim(w)));
    if (w->comm != VJ_ALONE)
        MPI_Allreduce(MPI_IN_PLACE, w->sums, (int)w->number[w->count], MPI_UINT64_T, MPI_SUM, w->comm);
    for (int i = 0; i < w->count; i++)
        for (int64_t b = w->number[i]; b < w->number[i + 1]; b++)
            if (w->sums[b] != 1)
                return vj_raise(VJ_ERR_STATE, "%s: block %lld is written by %llu ranks", w->tensors[i].name,
                                (long long)(b - w->number[i]), (unsigned long long)w->sums[b]);
    return VJ_OK;
}

static vj_status allocate(vj_ckpt_writer *w, const vj_ckpt_tensor *tensors)
{
    w->tensors = vj_calloc(w->count, sizeof *w->tensors);
    w->number = vj_calloc(w->count + 1, sizeof *w->number);
    w->place = vj_calloc(w->count, sizeof *w->place);
    if (!w->tensors || !w->number || !w->place)
        return vj_raise(VJ_ERR_MEMORY, "no memory to write %d tensors", w->count);
    memcpy(w->tensors, tensors, (size_t)w->count * sizeof *tensors);
    for (int i = 0; i < w->count; i++) {
        w->number[i + 1] = w->number[i] + vj_ckpt_block_count(&tensors[i]);
        w->bytes += (tensors[i].last - tensors[i].first) * vj_ckpt_element_bytes(tensors[i].type);
    }
    w->sums = vj_calloc(w->number[w->count], sizeof *w->sums);
    w->memory_bytes = vj_ckpt_staging_bytes(tensors, w->count);
    if (w->background) {
        w->memory_bytes = 0;
        for (int i = 0; i < w->count; i++)
            w->memory_bytes += (tensors[i].last - tensors[i].first) * (int64_t)sizeof(float);
    }
    w->memory = vj_calloc(w->memory_bytes, 1);
    if (!w->sums || !w->memory)
        return vj_raise(VJ_ERR_MEMORY, "no %lld MiB to write checkpoints from%s", (long long)w->memory_bytes >> 20,
                        w->background ? "; checkpoint.async=false needs less" : "");
    return VJ_OK;
}

int64_t vj_ckpt_memory_bytes(const vj_ckpt_writer *writer)
{
    return writer->memory_bytes;
}

void vj_ckpt_lend(vj_ckpt_writer *w, void *memory, vj_ckpt_copied copied, void *user)
{
    VJ_ASSERT(w->background && w->phase == IDLE && !w->copied);
    for (int i = 0; i < w->count; i++) VJ_ASSERT(w->tensors[i].type == VJ_CKPT_F32);
    free(w->memory);
    w->memory = memory;
    w->copied = copied;
    w->copied_user = user;
}

void vj_ckpt_keep(vj_ckpt_writer *writer, int64_t keep, int64_t keep_every)
{
    writer->keep = keep;
    writer->keep_every = keep_every;
}

void vj_ckpt_set_lease(vj_ckpt_writer *writer, const vj_lease_seal *lease)
{
    writer->lease = *lease;
}

/* Wait for the thread, if there is one; its result is then in w->status. */
static void wait_for_thread(vj_ckpt_writer *w)
{
    if (w->in_thread) pthread_join(w->thread, NULL);
    w->in_thread = false;
}

/* Do this rank's work of a phase: in the background in a thread; otherwise, or if the system refuses a thread, in the
 * caller. */
static void start(vj_ckpt_writer *w, void *(*work)(void *writer))
{
    wait_for_thread(w);
    atomic_store(&w->done, false);
    w->in_thread = w->background && vj_thread_start(&w->thread, work, w);
    if (!w->in_thread) work(w);
}

void vj_ckpt_close(vj_ckpt_writer *w)
{
    if (!w) return;
    wait_for_thread(w);
    if (w->phase != IDLE) vj_h5_abandon(&w->out);
    free(w->tensors);
    free(w->number);
    free(w->place);
    free(w->sums);
    if (!w->copied) free(w->memory);
    free(w);
}

/* ------------------------------------------------------------------------------------------------ rank 0: the file */

/* Return an upper limit of the size of HDF5's structures: objects, checksums, text. */
static int64_t structure_bytes(const vj_ckpt_writer *w, const vj_ckpt_state *state, const char *origin)
{
    return w->count * (VJ_H5_OBJECT_BYTES + (int64_t)sizeof w->tensors->name) +
           w->number[w->count] * (int64_t)sizeof *w->sums + (int64_t)strlen(state->config) + (int64_t)strlen(origin);
}

/* Create the dataset of tensor i and note the file offset of its data. */
static vj_status create_dataset(vj_ckpt_writer *w, int i)
{
    const vj_ckpt_tensor *t = &w->tensors[i];
    hsize_t dim[5];
    for (int j = 0; j < t->ndim; j++) dim[j] = (hsize_t)t->dim[j];
    hid_t type = vj_ckpt_file_type(t->type);
    if (type < 0) return vj_raise_h5("make the type of %s", t->name);
    vj_status status = vj_h5_dataset(&w->out, t->name, type, t->ndim, dim, &w->place[i]);
    H5Tclose(type); /* the file has its copy */
    return status;
}

static vj_status put_checksums(const vj_ckpt_writer *w, int i)
{
    hid_t dataset = H5Dopen2(w->out.file, w->tensors[i].name, H5P_DEFAULT);
    if (dataset < 0) return vj_raise_h5("open %s in %s", w->tensors[i].name, w->out.path);
    vj_status status = vj_h5_put_u64s(dataset, "xxh3", w->sums + w->number[i], w->number[i + 1] - w->number[i]);
    if (H5Dclose(dataset) < 0 && status == VJ_OK)
        status = vj_raise_h5("close %s in %s", w->tensors[i].name, w->out.path);
    return status;
}

static vj_status make_whole(vj_ckpt_writer *w)
{
    for (int i = 0; i < w->count; i++) VJ_TRY(put_checksums(w, i));
    VJ_TRY(vj_lease_check(&w->lease));
    return vj_h5_publish(&w->out);
}

static vj_status put_state(const vj_ckpt_writer *w, const vj_ckpt_state *state, const char *origin)
{
    if (*origin) VJ_TRY(vj_h5_put_text(w->out.file, "origin", origin));
    hid_t group = H5Gcreate2(w->out.file, "state", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0) return vj_raise_h5("create group state in %s", w->out.path);
    vj_status status = vj_h5_put_i64(group, "step", state->step);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "samples", state->samples);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "seed", state->seed);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "bad_steps", state->bad_steps);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "rollbacks", state->rollbacks);
    if (status == VJ_OK) status = vj_h5_put_i64(group, "skipped_samples", state->skipped_samples);
    if (status == VJ_OK) status = vj_h5_put_f64(group, "usual_loss", state->usual_loss);
    if (status == VJ_OK) status = vj_h5_put_u64(group, "store_fingerprint", state->store_fingerprint);
    if (H5Gclose(group) < 0 && status == VJ_OK) status = vj_raise_h5("close group state in %s", w->out.path);
    VJ_TRY(status);
    VJ_TRY(vj_ckpt_put_architecture(w->out.file, w->out.path, &state->architecture));
    return vj_h5_put_text(w->out.file, "config", state->config);
}

/* On rank 0: write everything but the tensors' elements and their checksums. */
static vj_status lay_out(vj_ckpt_writer *w, const vj_ckpt_state *state, const char *origin)
{
    VJ_TRY(put_state(w, state, origin));
    for (int i = 0; i < w->count; i++) VJ_TRY(create_dataset(w, i));
    return VJ_OK;
}

/* On rank 0: let HDF5 do all that it does for a checkpoint of these tensors, in memory. */
static vj_status rehearse(vj_ckpt_writer *w)
{
    char config[] = "", name[] = "the first checkpoint";
    const vj_ckpt_state state = {.config = config};
    VJ_TRY(vj_h5_create(&w->out, name, VJ_CKPT_FORMAT, VJ_CKPT_VERSION, structure_bytes(w, &state, ""), VJ_ALONE));
    vj_status status = lay_out(w, &state, "");
    for (int i = 0; i < w->count && status == VJ_OK; i++) status = put_checksums(w, i);
    if (status == VJ_OK) return vj_h5_rehearse(&w->out);
    vj_h5_abandon(&w->out);
    return status;
}

/* Slow: the system takes as long to free the space of an older checkpoint as to copy it. */
static void remove_older(const vj_ckpt_writer *w)
{
    if (w->keep > 0 && vj_ckpt_remove(w->dir, w->keep, w->keep_every) != VJ_OK)
        vj_warn("older checkpoints in %s could not be removed, for the reason above; training goes on", w->dir);
}

/* Finish the file: all blocks are on disk, and rank 0 has all checksums. */
static void *finish(void *user)
{
    vj_ckpt_writer *w = user;
    H5E_BEGIN_TRY
    {
        w->status = make_whole(w);
        if (w->status == VJ_OK) remove_older(w);
    }
    H5E_END_TRY
    atomic_store(&w->done, true);
    return NULL;
}

static vj_status open_writer(vj_ckpt_writer *w, const vj_ckpt_tensor *tensors)
{
    VJ_TRY(vj_agree(w->comm, allocate(w, tensors)));
    VJ_TRY(check_owners(w));
    vj_status status = VJ_OK;
    H5E_BEGIN_TRY
    {
        if (vj_comm_rank(w->comm) == 0) status = rehearse(w);
    }
    H5E_END_TRY
    return vj_agree(w->comm, status);
}

vj_status vj_ckpt_open(vj_ckpt_writer **writer, const vj_ckpt_tensor *tensors, int count, bool background,
                       MPI_Comm comm)
{
    vj_ckpt_writer *w = *writer = vj_calloc(1, sizeof *w);
    VJ_TRY(vj_agree(comm, w ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to write checkpoints")));
    w->count = count;
    w->background = background;
    w->comm = comm;
    vj_status status = open_writer(w, tensors);
    if (status == VJ_OK) return VJ_OK;
    vj_ckpt_close(w);
    *writer = NULL;
    return status;
}

/* ------------------------------------------------------------------------------------------------ blocks */

/*
 * Copy the blocks after *at into memory, as many as fit, in the type of the file; *at becomes the last of them. Blocks
 * of a tensor are copied together, because a large copy bypasses the caches.
 */
static vj_status load(vj_ckpt_writer *w, block *at, vj_ckpt_copy get, void *user)
{
    char *to = w->memory, *end = to + w->memory_bytes;
    block b = *at;
    for (w->blocks = 0; next_block(w, &b); *at = b) {
        const vj_ckpt_tensor *t = &w->tensors[b.tensor];
        const int64_t first = b.first, room = (end - to) / (int64_t)sizeof(float);
        if (b.last - first > room) break;
        w->blocks++;
        for (block next = b; next_block(w, &next) && next.tensor == b.tensor && next.last - first <= room; b = next)
            w->blocks++;
        VJ_TRY(vj_ckpt_copy_pieces(get, user, t, first, b.last, (float *)to));
        if (t->type == VJ_CKPT_BF16) vj_ckpt_narrow((float *)to, b.last - first);
        to += (b.last - first) * vj_ckpt_element_bytes(t->type);
    }
    return VJ_OK;
}

/* Compute the checksums of the blocks in memory, which come after `b`, and write them. Blocks that are adjacent in the
 * file are written together. */
static vj_status store(vj_ckpt_writer *w, block b)
{
    char what[sizeof w->out.path + 16];
    snprintf(what, sizeof what, "writing %s", w->out.path);
    const char *run = w->memory;
    int64_t run_bytes = 0, run_place = 0;
    for (int64_t i = 0; i < w->blocks && next_block(w, &b); i++) {
        const vj_ckpt_tensor *t = &w->tensors[b.tensor];
        const int64_t each = vj_ckpt_element_bytes(t->type), bytes = (b.last - b.first) * each;
        const int64_t place = w->place[b.tensor] + b.first * each;
        if (run_bytes >= VJ_CKPT_COPY_BYTES || place != run_place + run_bytes) {
            VJ_TRY(vj_h5_write(&w->out, run_place, run, run_bytes));
            run += run_bytes;
            run_bytes = 0;
            run_place = place;
        }
        w->sums[w->number[b.tensor] + b.first / vj_ckpt_block_elements(t)] = vj_ckpt_checksum(run + run_bytes, bytes);
        run_bytes += bytes;
        w->stored += bytes;
        vj_progress_line_log(&w->line, what, (double)w->stored / (double)w->bytes, vj_now());
    }
    return vj_h5_write(&w->out, run_place, run, run_bytes);
}

static vj_status copy_and_write(vj_ckpt_writer *w, vj_ckpt_copy get, void *user)
{
    for (block at = before_all, begin = at;; begin = at) {
        VJ_TRY(load(w, &at, get, user));
        if (w->blocks == 0) break;
        VJ_TRY(store(w, begin));
    }
    return vj_h5_flush(&w->out);
}

static void *write_copy(void *user)
{
    vj_ckpt_writer *w = user;
    w->status = store(w, before_all);
    if (w->status == VJ_OK) w->status = vj_h5_flush(&w->out);
    atomic_store(&w->done, true);
    return NULL;
}

/* Copy all blocks and write them in the background; if the copies are not complete yet, go_on() starts the write. */
static void copy_and_start(vj_ckpt_writer *w, vj_ckpt_copy get, void *user)
{
    block at = before_all;
    w->status = load(w, &at, get, user);
    w->copying = w->status == VJ_OK && w->copied;
    if (w->status == VJ_OK && !w->copying) start(w, write_copy);
}

/* If the copies into lent memory are complete, start the write; with `wait`, wait until they are. */
static void go_on(vj_ckpt_writer *w, bool wait)
{
    if (!w->copying || !w->copied(w->copied_user, wait)) return;
    w->copying = false;
    start(w, write_copy);
}

/* ------------------------------------------------------------------------------------------------ the whole */

static vj_status begin(vj_ckpt_writer *w, const char *path, const vj_ckpt_state *state, const char *origin)
{
    memset(w->sums, 0, (size_t)w->number[w->count] * sizeof *w->sums);
    VJ_TRY(vj_h5_create(&w->out, path, VJ_CKPT_FORMAT, VJ_CKPT_VERSION, structure_bytes(w, state, origin), w->comm));
    const vj_status status = w->out.rank == 0 ? lay_out(w, state, origin) : VJ_OK;
    VJ_TRY(vj_h5_share(&w->out, status));
    vj_broadcast(w->place, w->count * (int64_t)sizeof *w->place, w->comm);
    return VJ_OK;
}

vj_status vj_ckpt_begin_file(vj_ckpt_writer *w, const char *path, const vj_ckpt_state *state, const char *origin,
                             vj_ckpt_copy get, void *user)
{
    vj_status status;
    VJ_ASSERT(w->phase == IDLE);
    H5E_BEGIN_TRY
    {
        status = begin(w, path, state, origin);
    }
    H5E_END_TRY
    VJ_TRY(status);
    w->phase = WRITING;
    w->stored = 0;
    w->line = vj_progress_line_begin();
    atomic_store(&w->done, true);
    if (w->background)
        copy_and_start(w, get, user);
    else
        w->status = copy_and_write(w, get, user);
    return VJ_OK;
}

vj_status vj_ckpt_begin(vj_ckpt_writer *writer, const char *dir, const vj_ckpt_state *state, vj_ckpt_copy get,
                        void *user)
{
    char path[2 * VJ_PATH];
    snprintf(path, sizeof path, "%.*s/step_%08lld.h5", VJ_PATH, dir, (long long)state->step);
    snprintf(writer->dir, sizeof writer->dir, "%s", dir);
    return vj_ckpt_begin_file(writer, path, state, "", get, user);
}

static void *verify(void *user)
{
    vj_ckpt_writer *w = user;
    w->status = vj_h5_verify(&w->out);
    atomic_store(&w->done, true);
    return NULL;
}

/* After all ranks have written and flushed: each reads the first and last bytes of its writes again. */
static void begin_verify(vj_ckpt_writer *w)
{
    wait_for_thread(w);
    H5E_BEGIN_TRY
    {
        w->status = vj_h5_gather(&w->out, w->status);
    }
    H5E_END_TRY
    w->phase = w->status == VJ_OK ? VERIFYING : FAILED;
    if (w->phase == VERIFYING) start(w, verify);
}

/* After all ranks found the bytes that they wrote: rank 0 finishes the file. */
static void begin_finish(vj_ckpt_writer *w)
{
    const bool root = w->out.rank == 0;
    wait_for_thread(w);
    H5E_BEGIN_TRY
    {
        w->status = vj_h5_gather(&w->out, w->status);
    }
    H5E_END_TRY
    w->phase = w->status == VJ_OK ? FINISHING : FAILED;
    if (w->phase == FAILED) return;
    if (w->comm != VJ_ALONE)
        MPI_Reduce(root ? MPI_IN_PLACE : w->sums, w->sums, (int)w->number[w->count], MPI_UINT64_T, MPI_BOR, 0, w->comm);
    if (root) start(w, finish);
}

bool vj_ckpt_poll(vj_ckpt_writer *w)
{
    go_on(w, false);
    int done = !w->copying && atomic_load(&w->done);
    VJ_ASSERT(w->phase != IDLE);
    if (w->comm != VJ_ALONE) MPI_Allreduce(MPI_IN_PLACE, &done, 1, MPI_INT, MPI_MIN, w->comm);
    if (done && (w->phase == WRITING || w->phase == VERIFYING)) {
        if (w->phase == WRITING)
            begin_verify(w);
        else
            begin_finish(w);
        return w->phase == FAILED;
    }
    return done;
}

vj_status vj_ckpt_commit(vj_ckpt_writer *w)
{
    VJ_ASSERT(w->phase != IDLE);
    go_on(w, true);
    if (w->phase == WRITING) begin_verify(w);
    if (w->phase == VERIFYING) begin_finish(w);
    wait_for_thread(w);
    const bool failed = w->phase == FAILED;
    w->phase = IDLE;
    if (failed) return w->status;
    H5E_BEGIN_TRY
    {
        w->status = vj_h5_commit(&w->out, w->status);
    }
    H5E_END_TRY
    return w->status;
}
