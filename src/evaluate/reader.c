/*
 * Reads the stored features of a rank's samples ahead of their use. A thread fills two buffers in turn, each with the
 * features that one encoder made of one batch. Rows are verified as they are read (features.h).
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/sort.h"
#include "base/thread.h"
#include "evaluate/parts.h"
#include "evaluate/store.h"
#include "features/features.h"
#include "parallel/parallel.h"

struct vj_eval_reader {
    /* The copy whose files are open. */
    int64_t copy;
    vj_eval_copy list;
    int encoders, segments;
    int64_t sample_floats;                         /* floats of a sample as stored */
    vj_features *file[VJ_MAX_LIST][VJ_EVAL_FILES]; /* [encoders, list.files] */
    /* The samples to read in this epoch, as indices in list.sample. */
    int64_t *place, n, at_once;
    float *buffer[2]; /* [at_once, sample_floats] */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t room, ready;
    int64_t made, taken, wanted; /* number of buffers filled so far, emptied so far, and to fill in total */
    bool quit;
    vj_status status; /* error of the first row that cannot be read */
};

/* ------------------------------------------------------------------------------------------------ the thread */

/* Fill the buffer with the number `number`. It holds batch number / encoders of encoder number % encoders. */
static vj_status fill(vj_eval_reader *r, int64_t number)
{
    const int encoder = (int)(number % r->encoders);
    const int64_t first = number / r->encoders * r->at_once;
    const int64_t last = first + r->at_once < r->n ? first + r->at_once : r->n;
    for (int64_t i = first; i < last; i++) {
        const int64_t place = r->place[i];
        vj_features *file = r->file[encoder][place / r->list.each];
        VJ_TRY(vj_features_read_rows(file, place % r->list.each * r->segments, r->segments,
                                     r->buffer[number % 2] + (i - first) * r->sample_floats));
    }
    return VJ_OK;
}

static void *work(void *argument)
{
    vj_eval_reader *r = argument;
    pthread_mutex_lock(&r->lock);
    while (r->made < r->wanted && r->status == VJ_OK) {
        while (r->made - r->taken == 2 && !r->quit) pthread_cond_wait(&r->room, &r->lock);
        if (r->quit) break;
        pthread_mutex_unlock(&r->lock);
        const vj_status status = fill(r, r->made);
        pthread_mutex_lock(&r->lock);
        if (status == VJ_OK) r->made++;
        r->status = status;
        pthread_cond_signal(&r->ready);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static vj_status start_thread(vj_eval_reader *r)
{
    r->running = vj_thread_start(&r->thread, work, r);
    return r->running ? VJ_OK : vj_raise(VJ_ERR_IO, "start a thread that reads features");
}

static void stop_thread(vj_eval_reader *r)
{
    if (!r->running) return;
    pthread_mutex_lock(&r->lock);
    r->quit = true;
    pthread_cond_signal(&r->room);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    r->running = r->quit = false;
}

/* ------------------------------------------------------------------------------------------------ life */

static void close_files(vj_eval_reader *r)
{
    for (int i = 0; i < r->encoders; i++)
        for (int k = 0; k < r->list.files; k++) {
            if (r->file[i][k]) vj_features_close(r->file[i][k]);
            r->file[i][k] = NULL;
        }
    free(r->list.sample);
    r->list = (vj_eval_copy){0};
    r->copy = -1;
}

/* Mark the clips that were damaged when the file was written; their checksums in it are 0. */
static void mark_damaged(vj_evaluation *e, const vj_features *file)
{
    const uint64_t *sum = vj_features_clip_sums(file);
    const int64_t *clip = vj_features_clips(file), n = vj_features_describe(file)->clips;
    for (int64_t i = 0; sum && i < n; i++)
        if (sum[i] == 0 && clip[i] >= 0 && clip[i] < vj_clips_count(e->train.clips)) e->train.damaged[clip[i]] = 1;
}

static vj_status open_files(vj_eval_reader *r, vj_evaluation *e, int64_t copy)
{
    char path[VJ_EVAL_STORE_PATH];
    close_files(r);
    VJ_TRY(vj_agree(e->comm, vj_eval_copy_of(&r->list, e, copy)));
    for (int i = 0; i < r->encoders; i++)
        for (int k = 0; k < r->list.files; k++) {
            vj_eval_copy_path(path, e, i, copy, k);
            VJ_TRY(vj_features_open(&r->file[i][k], path, e->comm));
            mark_damaged(e, r->file[i][k]);
        }
    r->copy = copy;
    return VJ_OK;
}

static vj_status create(vj_evaluation *e)
{
    vj_eval_reader *r = e->reader = vj_calloc(1, sizeof *r);
    if (!r) return vj_raise(VJ_ERR_MEMORY, "no memory to read features");
    r->copy = -1;
    r->encoders = e->frozen.count;
    r->segments = e->train.set.segments;
    r->sample_floats = r->segments * vj_eval_store_tokens(e) * e->config->model.width;
    r->at_once = e->config->evaluate.batch;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->room, NULL);
    pthread_cond_init(&r->ready, NULL);
    for (int i = 0; i < 2; i++) r->buffer[i] = vj_calloc(r->at_once * r->sample_floats, sizeof(float));
    r->place = vj_calloc(e->train.set.count + 1, sizeof *r->place);
    return r->buffer[0] && r->buffer[1] && r->place
               ? VJ_OK
               : vj_raise(VJ_ERR_MEMORY, "no memory to read features ahead; a smaller evaluate.batch?");
}

void vj_eval_reader_close(vj_eval_reader *r)
{
    if (!r) return;
    stop_thread(r);
    close_files(r);
    for (int i = 0; i < 2; i++) free(r->buffer[i]);
    free(r->place);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->room);
    pthread_cond_destroy(&r->ready);
    free(r);
}

/* ------------------------------------------------------------------------------------------------ reading */

static vj_status begin(vj_eval_reader *r, const int64_t *samples, int64_t n)
{
    const vj_eval_copy *list = &r->list;
    for (int64_t i = 0; i < n; i++) {
        r->place[i] = vj_sorted_find(list->sample, list->count, samples[i]);
        VJ_ASSERT(r->place[i] >= 0);
    }
    r->n = n;
    r->made = r->taken = 0;
    r->wanted = (n + r->at_once - 1) / r->at_once * r->encoders;
    r->status = VJ_OK;
    return start_thread(r);
}

vj_status vj_eval_reader_start(vj_evaluation *e, const int64_t *samples, int64_t n)
{
    const int64_t copy = e->stream.epoch % e->stored.copies;
    if (!e->reader) VJ_TRY(vj_agree(e->comm, create(e)));
    stop_thread(e->reader);
    if (e->reader->copy != copy) VJ_TRY(open_files(e->reader, e, copy));
    return vj_agree(e->comm, begin(e->reader, samples, n));
}

vj_status vj_eval_reader_next(vj_evaluation *e, int64_t samples, double *wait_s)
{
    vj_eval_reader *r = e->reader;
    const double start = vj_now();
    pthread_mutex_lock(&r->lock);
    while (r->made == r->taken && r->status == VJ_OK) pthread_cond_wait(&r->ready, &r->lock);
    const vj_status status = r->made == r->taken ? r->status : VJ_OK;
    pthread_mutex_unlock(&r->lock);
    *wait_s = vj_now() - start;
    VJ_TRY(status);
    vj_upload(e->frozen.be, e->encoded.raw, r->buffer[r->taken % 2],
              samples * r->sample_floats * (int64_t)sizeof(float));
    VJ_TRY(vj_sync(e->frozen.be));
    e->encoded.raw_means = e->stored.means;
    pthread_mutex_lock(&r->lock);
    r->taken++;
    pthread_cond_signal(&r->room);
    pthread_mutex_unlock(&r->lock);
    return VJ_OK;
}
