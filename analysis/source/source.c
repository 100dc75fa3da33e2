/* The common part of all sources: names, slabs, passes, and the check that numbers are finite. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parallel/parallel.h"
#include "source/inner.h"

/*
 * Size of a slab of feature stores: 8 MiB of the widest representation, which are 1489 rows of width 1408. With fewer
 * rows, sums of products would mostly read and write their sums; with 124 rows they were a third slower.
 */
enum { SLAB_BYTES = 8 << 20, ALL_SLABS_BYTES = 256 << 20, NAMED_CLIPS = 5 };

void vj_source_close(vj_source *s)
{
    if (!s) return;
    if (s->from) s->kind->close(s->from);
    for (int i = 0; i < s->count; i++) free(s->x[i]);
    for (int l = 0; l < VJ_MAX_LABELS; l++) vj_clips_classes_release(&s->joined[l]);
    free(s->numbers);
    free(s->sums);
    free(s->labels);
    free(s);
}

int vj_source_representations(const vj_source *s)
{
    return s->count;
}

const vj_representation *vj_source_representation(const vj_source *s, int i)
{
    return &s->representation[i];
}

int64_t vj_source_clips(const vj_source *s)
{
    return s->clips;
}

const int64_t *vj_source_clip_numbers(const vj_source *s)
{
    return s->numbers;
}

const int32_t *vj_source_labels(const vj_source *s)
{
    return s->labels;
}

vj_status vj_source_check_classes(const vj_source *s, int label)
{
    const int labels = vj_source_label_count(s);
    for (int64_t i = 0; i < vj_source_clips(s); i++)
        if (s->labels[i * labels + label] >= VJ_MAX_CLASSES)
            return vj_raise(VJ_ERR_FORMAT, "task '%s': clip %lld is of class %d, which is no number of a class",
                            vj_source_label_name(s, label), (long long)s->numbers[i], s->labels[i * labels + label]);
    return VJ_OK;
}

uint64_t vj_source_fingerprint(const vj_source *source)
{
    return source->fingerprint;
}

const uint64_t *vj_source_clip_sums(const vj_source *s)
{
    return s->sums;
}

int vj_source_label_count(const vj_source *s)
{
    return s->label_count;
}

const char *vj_source_label_name(const vj_source *s, int label)
{
    return s->label_names[label];
}

const vj_clips_classes *vj_source_classes(const vj_source *s, int label)
{
    return s->classes[label];
}

void vj_source_part(const vj_source *s, int64_t *first, int64_t *last)
{
    *first = s->first;
    *last = s->last;
}

int64_t vj_source_slab_clips(const vj_source *s)
{
    return s->slab;
}

/* ------------------------------------------------------------------------------------------------ opening */

vj_status vj_source_create(vj_source **source, const vj_source_kind *kind, void *from, MPI_Comm comm)
{
    vj_source *s = *source = from ? vj_calloc(1, sizeof *s) : NULL;
    if (s)
        *s = (vj_source){
            .comm = comm, .rank = vj_comm_rank(comm), .size = vj_comm_size(comm), .kind = kind, .from = from};
    else if (from)
        kind->close(from);
    return vj_agree(comm, s ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory for a source of features"));
}

vj_status vj_source_take_columns(vj_source *s, bool sums)
{
    s->numbers = vj_calloc(s->clips, sizeof *s->numbers);
    s->labels = vj_calloc(s->clips * s->label_count + 1, sizeof *s->labels);
    if (sums) s->sums = vj_calloc(s->clips, sizeof *s->sums);
    if (!s->numbers || !s->labels || (sums && !s->sums))
        return vj_raise(VJ_ERR_MEMORY, "no memory for numbers and labels of %lld clips", (long long)s->clips);
    return VJ_OK;
}

/* Divide the clips over ranks, and into slabs of at most `slab` clips. Afterwards no pass is active. */
static void share_clips(vj_source *s, int64_t slab)
{
    int64_t begin, end;
    vj_split(s->clips, s->size, s->rank, &s->first, &s->last);
    vj_split(s->clips, s->size, 0, &begin, &end);
    const int64_t largest = end - begin; /* rank 0 has the largest share */
    s->slab = slab < largest ? slab : largest;
    s->slabs = (largest + s->slab - 1) / s->slab;
    s->next = s->last;
    s->done = s->slabs;
}

vj_status vj_source_take_slabs(vj_source *s, int64_t clips)
{
    int64_t widest = 0, all = 0; /* bytes of a clip */
    for (int i = 0; i < s->count; i++) {
        const int64_t bytes = s->representation[i].tokens * s->representation[i].width * (int64_t)sizeof(float);
        if (bytes > widest) widest = bytes;
        all += bytes;
    }
    const int64_t of_one = SLAB_BYTES / widest, of_all = ALL_SLABS_BYTES / all, fit = of_one < of_all ? of_one : of_all;
    share_clips(s, clips > 0 ? clips : fit < 1 ? 1 : fit);
    for (int i = 0; i < s->count; i++) {
        const vj_representation *r = &s->representation[i];
        s->x[i] = vj_calloc(s->slab * r->tokens * r->width, sizeof *s->x[i]);
        if (!s->x[i])
            return vj_raise(VJ_ERR_MEMORY, "no memory for %lld clips of %s, %lld tokens of width %d each",
                            (long long)s->slab, r->name, (long long)r->tokens, r->width);
    }
    return VJ_OK;
}

static bool is_repeated(const vj_source *s, int i)
{
    for (int j = 0; j < s->count; j++)
        if (j != i && strcmp(s->representation[i].name, s->representation[j].name) == 0) return true;
    return false;
}

static void without_slashes(char *name)
{
    for (; *name; name++)
        if (*name == '/') *name = ':';
}

void vj_source_make_names_unique(vj_source *s, const char *const *other)
{
    bool repeated[VJ_MAX_REPRESENTATIONS];
    for (int i = 0; i < s->count; i++) without_slashes(s->representation[i].name);
    for (int i = 0; i < s->count; i++) repeated[i] = is_repeated(s, i);
    for (int i = 0; i < s->count; i++) {
        if (!repeated[i]) continue;
        const size_t length = strlen(other[i]), room = VJ_REPRESENTATION_NAME - 16; /* for a number */
        snprintf(s->representation[i].name, VJ_REPRESENTATION_NAME, "%s",
                 other[i] + (length > room ? length - room : 0));
        without_slashes(s->representation[i].name);
    }
    for (int i = 1; i < s->count; i++) {
        char *name = s->representation[i].name, plain[VJ_REPRESENTATION_NAME - 16];
        snprintf(plain, sizeof plain, "%s", name);
        for (int number = 2; is_repeated(s, i); number++)
            snprintf(name, VJ_REPRESENTATION_NAME, "%s (%d)", plain, number);
    }
}

/* ------------------------------------------------------------------------------------------------ damaged clips */

/* Keep only the clips `left` [count] in numbers, sums and labels. `left` must be a subset of numbers in the same order.
 */
static void keep_clips(vj_source *s, const int64_t *left, int64_t count)
{
    const int64_t before = s->clips;
    int64_t kept = 0;
    for (int64_t i = 0; i < before && kept < count; i++) {
        if (s->numbers[i] != left[kept]) continue;
        s->numbers[kept] = s->numbers[i];
        if (s->sums) s->sums[kept] = s->sums[i];
        for (int l = 0; l < s->label_count; l++)
            s->labels[kept * s->label_count + l] = s->labels[i * s->label_count + l];
        kept++;
    }
    VJ_ASSERT(kept == count);
    s->clips = count;
    s->damaged += before - count;
}

/* After some rank has found damaged clips, look for more among this rank's remaining clips, then leave out those of all
 * ranks. Collective. */
static vj_status leave_damaged_out(vj_source *s)
{
    vj_status status = VJ_OK;
    const int64_t *left, before = s->clips;
    int64_t count;
    while (status == VJ_OK && s->next < s->last) {
        const int64_t n = s->last - s->next < s->slab ? s->last - s->next : s->slab;
        status = s->kind->read(s->from, s->next, n, NULL);
        s->next += n;
    }
    VJ_TRY(vj_agree(s->comm, status));
    VJ_TRY(s->kind->leave_out(s->from, &left, &count, s->failed));
    keep_clips(s, left, count);
    share_clips(s, s->slab);
    s->shrunk = true;
    if (s->rank == 0)
        vj_warn("%lld damaged clips are left out; beginning anew with the other %lld", (long long)(before - count),
                (long long)count);
    return VJ_ERR_STATE;
}

bool vj_source_has_shrunk(vj_source *s)
{
    const bool shrunk = s && s->shrunk;
    if (s) s->shrunk = false;
    return shrunk;
}

int64_t vj_source_damaged(const vj_source *s)
{
    return s->damaged;
}

int64_t vj_source_failed(const vj_source *s, int label)
{
    return (int64_t)s->failed[label];
}

/* ------------------------------------------------------------------------------------------------ passes */

/* Rows of one representation on one rank that are not finite: their number, that of their clips, and the first clips.
 */
typedef struct {
    int64_t rows, clips, named[NAMED_CLIPS];
} bad_rows;

/* All bits of the exponent are set in infinity and NaN. */
static bool is_finite_row(const float *x, int64_t width)
{
    const uint32_t exponent = 0x7f800000;
    uint32_t bad = 0;
    for (int64_t i = 0; i < width; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (bits & exponent) == exponent;
    }
    return bad == 0;
}

static void find_bad_rows(const vj_source *s, int64_t first, int64_t count, bad_rows *bad)
{
    for (int i = 0; i < s->count; i++) {
        const vj_representation *r = &s->representation[i];
        for (int64_t clip = 0; clip < count; clip++) {
            int64_t rows = 0;
            for (int64_t t = 0; t < r->tokens; t++)
                rows += !is_finite_row(s->x[i] + (clip * r->tokens + t) * r->width, r->width);
            bad[i].rows += rows;
            if (rows > 0 && bad[i].clips++ < NAMED_CLIPS) bad[i].named[bad[i].clips - 1] = s->numbers[first + clip];
        }
    }
}

/* Report bad rows, on rank 0. all[rank * count + i] is what a rank found in representation i. */
static void report_bad_rows(const vj_source *s, const bad_rows *all, int64_t looked_at)
{
    for (int i = 0; i < s->count; i++) {
        bad_rows sum = {0};
        char list[NAMED_CLIPS * 24] = "";
        size_t used = 0;
        for (int r = 0; r < s->size; r++) {
            const bad_rows *bad = &all[r * s->count + i];
            for (int64_t k = 0; k < bad->clips && k < NAMED_CLIPS && sum.clips + k < NAMED_CLIPS; k++)
                used += (size_t)snprintf(list + used, sizeof list - used, "%s%lld", used ? ", " : "",
                                         (long long)bad->named[k]);
            sum.rows += bad->rows;
            sum.clips += bad->clips;
        }
        if (sum.rows > 0)
            vj_raise(
                VJ_ERR_FORMAT,
                "%s: %lld rows of %lld clips are not finite (NaN or infinite), of %lld clips looked at: clip %s%s; "
                "features like that cannot be analysed: encode these clips again, or look at the encoder's weights",
                s->representation[i].name, (long long)sum.rows, (long long)sum.clips, (long long)looked_at, list,
                sum.clips > NAMED_CLIPS ? ", ..." : "");
    }
}

/* Look at this rank's remaining clips too if reading is cheap, and let rank 0 report the bad rows of all ranks.
 * Collective. */
static vj_status refuse_bad_rows(vj_source *s, bad_rows *bad)
{
    vj_status status = VJ_OK;
    while (s->kind->cheap && status == VJ_OK && s->next < s->last) {
        const int64_t count = s->last - s->next < s->slab ? s->last - s->next : s->slab;
        status = s->kind->read(s->from, s->next, count, s->x);
        if (status == VJ_OK) find_bad_rows(s, s->next, count, bad);
        s->next += count;
    }
    VJ_TRY(vj_agree(s->comm, status));
    bad_rows *all = vj_calloc((int64_t)s->size * s->count, sizeof *all);
    VJ_TRY(vj_agree(s->comm, all ? VJ_OK : vj_raise(VJ_ERR_MEMORY, "no memory to count rows")));
    int64_t looked_at = s->next - s->first;
    MPI_Allreduce(MPI_IN_PLACE, &looked_at, 1, MPI_INT64_T, MPI_SUM, s->comm);
    const int bytes = s->count * (int)sizeof *bad;
    MPI_Gather(bad, bytes, MPI_BYTE, all, bytes, MPI_BYTE, 0, s->comm);
    if (s->rank == 0) report_bad_rows(s, all, looked_at);
    free(all);
    return VJ_ERR_FORMAT;
}

void vj_source_set_listener(vj_source *s, void (*tell)(void *listener, double clips, double now_s), void *listener)
{
    s->tell = tell;
    s->listener = listener;
}

vj_status vj_source_begin(vj_source *s)
{
    s->next = s->first;
    s->done = 0;
    return vj_agree(s->comm, s->kind->begin(s->from, s->first, s->last));
}

vj_status vj_source_next(vj_source *s, vj_slab *slab, bool *more)
{
    bad_rows bad[VJ_MAX_REPRESENTATIONS] = {0};
    *slab = (vj_slab){.first = s->next, .x = (const float *const *)s->x};
    *more = s->done < s->slabs;
    if (!*more) return VJ_OK;
    slab->count = s->last - s->next < s->slab ? s->last - s->next : s->slab;
    VJ_TRY(vj_agree(s->comm, slab->count > 0 ? s->kind->read(s->from, s->next, slab->count, s->x) : VJ_OK));
    int any[2] = {s->kind->damaged && s->kind->damaged(s->from) > 0, 0};
    if (!any[0]) find_bad_rows(s, s->next, slab->count, bad);
    s->next += slab->count;
    s->done++;
    for (int i = 0; i < s->count; i++) any[1] |= bad[i].rows > 0;
    MPI_Allreduce(MPI_IN_PLACE, any, 2, MPI_INT, MPI_MAX, s->comm);
    if (any[0]) return leave_damaged_out(s);
    return any[1] ? refuse_bad_rows(s, bad) : VJ_OK;
}
