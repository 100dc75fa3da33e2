/* Compares digests, classes and clips of feature files. */
#include "probe/belong.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { NOTE_BYTES = 1536, NAMED_CLASSES = 6 };

vj_status vj_notes_add(vj_notes *notes, const char *format, ...)
{
    char text[NOTE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (int i = 0; i < notes->count; i++)
        if (strcmp(notes->text[i], text) == 0) return VJ_OK;
    char **grown = realloc(notes->text, sizeof *grown * (size_t)(notes->count + 1));
    if (grown) notes->text = grown;
    if (!grown || !(grown[notes->count] = strdup(text))) return vj_raise(VJ_ERR_MEMORY, "no memory for a note");
    notes->count++;
    return VJ_OK;
}

void vj_notes_release(vj_notes *notes)
{
    for (int i = 0; i < notes->count; i++) free(notes->text[i]);
    free(notes->text);
    *notes = (vj_notes){0};
}

/* ------------------------------------------------------------------------------------------------ one encoder */

static int compare_sums(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

vj_status vj_belong_note_overlap(vj_notes *notes, uint64_t *train, int64_t n, const char *train_path,
                                 const uint64_t *validation, int64_t m, const char *validation_path)
{
    int64_t both = 0;
    qsort(train, (size_t)n, sizeof *train, compare_sums);
    for (int64_t i = 0; i < m; i++)
        both += bsearch(&validation[i], train, (size_t)n, sizeof *train, compare_sums) != NULL;
    if (both == 0) return VJ_OK;
    return vj_notes_add(notes,
                        "%lld of the %lld validation clips of %s are training clips of %s too: accuracy on them says "
                        "what was learned by heart",
                        (long long)both, (long long)m, validation_path, train_path);
}

static vj_status note_overlap(vj_notes *notes, const vj_feature_side *train, const vj_feature_side *validation)
{
    const int64_t n = train->samples->count;
    const uint64_t *learned = vj_features_clip_sums(train->samples->store),
                   *asked = vj_features_clip_sums(validation->samples->store);
    if (!learned || !asked) return VJ_OK;
    uint64_t *sums = vj_calloc(n, sizeof *sums);
    if (!sums) return vj_raise(VJ_ERR_MEMORY, "no memory to compare %lld clips", (long long)n);
    memcpy(sums, learned, (size_t)n * sizeof *sums);
    const vj_status status =
        vj_belong_note_overlap(notes, sums, n, train->path, asked, validation->samples->count, validation->path);
    free(sums);
    return status;
}

vj_status vj_belong_check_pair(vj_notes *notes, const vj_feature_side *train, const vj_feature_side *validation)
{
    const vj_features_header *a = vj_features_describe(train->samples->store),
                             *b = vj_features_describe(validation->samples->store);
    if (a->tokens != b->tokens || a->width != b->width)
        return vj_raise(VJ_ERR_FORMAT, "%s holds %lld tokens of width %lld a clip, %s %lld of width %lld", train->path,
                        (long long)a->tokens, (long long)a->width, validation->path, (long long)b->tokens,
                        (long long)b->width);
    if (a->encoder_digest == 0 || b->encoder_digest == 0)
        return vj_notes_add(notes,
                            "%s does not say which weights made it (it is older than this release): that %s is of the "
                            "same encoder was not checked",
                            a->encoder_digest ? validation->path : train->path,
                            a->encoder_digest ? train->path : validation->path);
    if (a->encoder_digest != b->encoder_digest)
        return vj_raise(VJ_ERR_USAGE,
                        "%s and %s are features of different encoders: %s (weights %016llx) and %s (weights %016llx); "
                        "repeat vjepa-embed for one of them",
                        train->path, validation->path, a->encoder, (unsigned long long)a->encoder_digest, b->encoder,
                        (unsigned long long)b->encoder_digest);
    if (strcmp(a->preprocessing, b->preprocessing) != 0)
        return vj_raise(VJ_ERR_USAGE, "clips were prepared otherwise for %s (%s) than for %s (%s)", train->path,
                        a->preprocessing, validation->path, b->preprocessing);
    return note_overlap(notes, train, validation);
}

/* ------------------------------------------------------------------------------------------------ one task */

/* If both sides have names of classes, match classes by name, not by number. */
static vj_status match_names(vj_notes *notes, const char *task, const vj_feature_side *train,
                             const vj_feature_side *validation, int train_label, int label)
{
    const vj_clips_classes *names = &vj_features_describe(train->samples->store)->classes[train_label],
                           *more = &vj_features_describe(validation->samples->store)->classes[label];
    vj_samples *samples = validation->samples;
    int64_t known = 0, moved = 0;
    if (names->count == 0 && more->count == 0) return VJ_OK;
    if (names->count == 0 || more->count == 0)
        return vj_notes_add(notes,
                            "task %s: %s has names of its classes, %s has numbers alone: that they mean the same was "
                            "not checked",
                            task, names->count ? train->path : validation->path,
                            names->count ? validation->path : train->path);
    for (int64_t k = 0; k < more->count; k++) {
        const char *name = vj_clips_classes_name(more, k);
        int64_t i = k < names->count && strcmp(vj_clips_classes_name(names, k), name) == 0 ? k : 0;
        while (i < names->count && strcmp(vj_clips_classes_name(names, i), name) != 0) i++;
        known += i < names->count;
        moved += i < names->count && i != k;
    }
    if (known == 0)
        return vj_raise(VJ_ERR_USAGE,
                        "task %s: no class of %s (%s, ...) is a class of %s (%s, ...): these are different tasks", task,
                        validation->path, vj_clips_classes_name(more, 0), train->path, vj_clips_classes_name(names, 0));
    vj_clips_classes all = {0};
    vj_status status = vj_clips_copy_classes(&all, names);
    if (status == VJ_OK)
        status = vj_clips_join_classes(&all, more, validation->path, task, samples->labels + label * samples->count, 1,
                                       samples->count);
    vj_clips_classes_release(&all);
    if (status == VJ_OK && moved > 0)
        status =
            vj_notes_add(notes, "task %s: %lld classes have other numbers in %s than in %s; they were matched by name",
                         task, (long long)moved, validation->path, train->path);
    return status;
}

/* Count the clips of each class, [classes]. */
static void count_classes(const vj_label_side *side, int64_t *clips)
{
    for (int64_t i = 0; i < side->count; i++)
        if (side->labels[i] >= 0) clips[side->labels[i]]++;
}

/* Return 1 + the largest label; 0 if there is none. */
static int64_t classes_of(const vj_label_side *side)
{
    int64_t classes = 0;
    for (int64_t i = 0; i < side->count; i++)
        if (side->labels[i] >= classes) classes = (int64_t)side->labels[i] + 1;
    return classes;
}

/* Return whether `b` has more than one class and its classes are those of `a`, all shifted by `by`. */
static bool is_shifted(const int64_t *a, const int64_t *b, int classes, int by)
{
    int n = 0;
    for (int c = 0; c < classes; c++) {
        const int from = c - by;
        const bool was = from >= 0 && from < classes && a[from] > 0;
        if (was != (b[c] > 0)) return false;
        n += b[c] > 0;
    }
    for (int c = 0; c < classes; c++) /* no class of `a` may leave the range */
        if (a[c] > 0 && (c + by < 0 || c + by >= classes)) return false;
    return n > 1;
}

/* List the classes of `b` that `a` does not have: "3, 7 (bee), ..." */
static void list_unknown(char *text, size_t bytes, const vj_clips_classes *names, const int64_t *a, const int64_t *b,
                         int classes)
{
    size_t used = 0;
    int n = 0;
    *text = '\0';
    for (int c = 0; c < classes && used < bytes; c++) {
        if (a[c] > 0 || b[c] == 0) continue;
        const char *name = vj_clips_classes_name(names, c);
        if (n++ == NAMED_CLASSES) {
            snprintf(text + used, bytes - used, ", ...");
            return;
        }
        used += (size_t)snprintf(text + used, bytes - used, "%s%d%s%s%s", n > 1 ? ", " : "", c, *name ? " (" : "", name,
                                 *name ? ")" : "");
    }
}

static vj_status compare_classes(vj_notes *notes, const char *task, const vj_label_side *train,
                                 const vj_label_side *validation, const vj_clips_classes *names, const int64_t *a,
                                 const int64_t *b, int classes)
{
    int64_t clips = 0, lost_clips = 0;
    int trained = 0, lost = 0;
    char list[512];
    for (int c = 0; c < classes; c++) {
        trained += a[c] > 0;
        clips += b[c];
        lost += b[c] > 0 && a[c] == 0;
        lost_clips += a[c] == 0 ? b[c] : 0;
    }
    if (lost_clips == clips)
        return vj_raise(VJ_ERR_USAGE, "task %s: no validation clip of %s has a class that a training clip of %s has",
                        task, validation->path, train->path);
    if (trained == 1)
        VJ_TRY(vj_notes_add(notes, "task %s: all training clips of %s are of a single class, which every probe answers",
                            task, train->path));
    for (int by = -1; by <= 1; by += 2)
        if (is_shifted(a, b, classes, by))
            VJ_TRY(vj_notes_add(notes,
                                "task %s: the classes of %s are those of %s, each %s by one: does one of the lists "
                                "count from 0 and the other from 1?",
                                task, validation->path, train->path, by > 0 ? "larger" : "smaller"));
    if (lost == 0) return VJ_OK;
    list_unknown(list, sizeof list, names, a, b, classes);
    return vj_notes_add(notes,
                        "task %s: %lld of %lld validation clips of %s have a class that no training clip has, so they "
                        "can never be right: class %s",
                        task, (long long)lost_clips, (long long)clips, validation->path, list);
}

vj_status vj_belong_check_labels(vj_notes *notes, const char *task, const vj_clips_classes *names,
                                 const vj_label_side *train, const vj_label_side *validation)
{
    const int64_t a = classes_of(train), b = classes_of(validation), classes = a > b ? a : b;
    if (a == 0 || b == 0)
        return vj_raise(VJ_ERR_USAGE, "no clip of %s has a label of task '%s'", a == 0 ? train->path : validation->path,
                        task);
    int64_t *clips = classes <= VJ_MAX_CLASSES ? vj_calloc(2 * classes, sizeof *clips) : NULL;
    if (!clips)
        return vj_raise(VJ_ERR_FORMAT, "task '%s': a clip of %s is of class %lld, which is no number of a class", task,
                        a >= b ? train->path : validation->path, (long long)classes - 1);
    count_classes(train, clips);
    count_classes(validation, clips + classes);
    vj_status status = compare_classes(notes, task, train, validation, names, clips, clips + classes, (int)classes);
    free(clips);
    return status;
}

static vj_status refuse_task(const char *task, const vj_feature_side *side)
{
    const vj_features_header *h = vj_features_describe(side->samples->store);
    char names[VJ_MAX_LABELS * (VJ_LABEL_NAME + 2)] = "none";
    size_t used = 0;
    for (int l = 0; l < h->label_count; l++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", l ? ", " : "", h->label_names[l]);
    return vj_raise(VJ_ERR_USAGE, "%s has no label '%s' (probe.tasks); it has: %s", side->path, task, names);
}

vj_status vj_belong_check_task(vj_notes *notes, const char *task, const vj_feature_side *train,
                               const vj_feature_side *validation)
{
    const vj_samples *a = train->samples, *b = validation->samples;
    const int train_label = vj_samples_label(a, task), label = vj_samples_label(b, task);
    if (train_label < 0) return refuse_task(task, train);
    if (label < 0) return refuse_task(task, validation);
    VJ_TRY(match_names(notes, task, train, validation, train_label, label));
    return vj_belong_check_labels(notes, task, &vj_features_describe(a->store)->classes[train_label],
                                  &(vj_label_side){a->labels + train_label * a->count, a->count, train->path},
                                  &(vj_label_side){b->labels + label * b->count, b->count, validation->path});
}
