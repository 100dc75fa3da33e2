/* Pages of clip stores: passport, verdicts, classes, sizes, and a contact sheet. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/sort.h"
#include "clips/clips.h"
#include "clips/passport.h"
#include "parallel/parallel.h"
#include "report/inside.h"
#include "report/pages.h"
#include "sheet/sheet.h"

enum { SHEET_CLIPS = 8, SHEET_BYTES = 5 << 18, NAMED_BARS = 40, SIZES = 12, WHY = 1024 };

static bool is_store(const char *path)
{
    return vj_page_has(path, "index.h5") || (vj_page_has(path, "pack.yaml") && vj_page_has(path, "lease"));
}

/* ------------------------------------------------------------------------------------------------ passport */

static int64_t files_of(const vj_clips_passport *p, int verdict)
{
    int64_t sum = 0;
    for (int d = 0; d < p->datasets; d++) sum += p->files[d * p->verdicts + verdict];
    return sum;
}

static void add_verdict_table(vj_document *document, const vj_clips_passport *p)
{
    vj_table *t = vj_document_table(document, "verdicts", "What became of the files that were listed.");
    for (int d = 0; d < p->datasets; d++) {
        int64_t all = 0;
        for (int v = 0; v < p->verdicts; v++) all += p->files[d * p->verdicts + v];
        for (int v = 0; v < p->verdicts; v++) {
            const int64_t files = p->files[d * p->verdicts + v];
            if (files == 0) continue;
            vj_row_text(t, "data set", "%s", p->dataset[d]);
            vj_row_text(t, "verdict", "%s", p->verdict[v]);
            vj_row_number(t, "files", "", (double)files, 0);
            vj_row_number(t, "share", "%", 100.0 * (double)files / (double)all, 2);
            vj_row_number(t, "clips", "", (double)p->clips[d * p->verdicts + v], 0);
        }
    }
}

/* Add a plot of files by verdict, with a colour for each data set. */
static void add_verdict_plot(vj_document *document, const vj_clips_passport *p)
{
    const char *names[VJ_MAX_VERDICTS];
    double x[VJ_MAX_VERDICTS], y[VJ_MAX_VERDICTS];
    int shown[VJ_MAX_VERDICTS], count = 0;
    for (int v = 0; v < p->verdicts; v++)
        if (files_of(p, v) > 0) {
            x[count] = count;
            names[count] = p->verdict[v];
            shown[count++] = v;
        }
    if (count * p->datasets < 2) return; /* a plot of one number would show nothing that the table does not */
    vj_plot *plot = vj_document_plot(document, "verdicts", "Files by verdict");
    vj_plot_x(plot, "verdict", "", VJ_LINEAR);
    vj_plot_y(plot, "files", "", VJ_LINEAR);
    vj_plot_x_names(plot, names, count);
    for (int d = 0; d < p->datasets; d++) {
        for (int i = 0; i < count; i++) y[i] = (double)p->files[d * p->verdicts + shown[i]];
        vj_plot_series(plot, VJ_BARS, d, p->dataset[d], x, y, count);
    }
}

static void add_passport(vj_document *document, const vj_clips_passport *p)
{
    vj_list *list = vj_document_list(document);
    vj_list_put(list, "packed by", "%s", p->code);
    if (!p->there) {
        vj_document_note(document, "The index has no passport: what was left out, and why, is not known.");
        return;
    }
    vj_list_put(list, "left out as copies", "%" PRId64 " files", p->duplicates);
    vj_list_put(list, "left out as held out", "%" PRId64 " files, by content", p->held_out);
    vj_list_put(list, "digest of the lists", "%016" PRIx64, p->manifests);
    vj_list_put(list, "digest of the held-out lists", "%016" PRIx64, p->exclusions);
    add_verdict_table(document, p);
    add_verdict_plot(document, p);
}

/* ------------------------------------------------------------------------------------------------ clips */

static void add_facts(vj_document *document, const vj_clips *clips)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < vj_clips_count(clips); i++) bytes += vj_clips_record_bytes(clips, i);
    vj_list *list = vj_document_list(document);
    vj_list_put(list, "clips", "%" PRId64 " of %d frames", vj_clips_count(clips), vj_clips_frames(clips));
    vj_list_put(list, "size", "%.3f GB in %" PRId64 " shard%s, %.1f kB a clip", 1e-9 * (double)bytes,
                vj_clips_shard_count(clips), vj_clips_shard_count(clips) == 1 ? "" : "s",
                1e-3 * (double)bytes / (double)vj_clips_count(clips));
    vj_list_put(list, "codec", "%s", vj_clips_largest_coded(clips) > 0 ? "jpeg" : "raw");
    vj_list_put(list, "fingerprint", "%016" PRIx64, vj_clips_fingerprint(clips));
}

/* The number of clips with one frame size. */
typedef struct {
    int64_t size; /* height << 32 | width */
    int64_t clips;
} size_count;

static int by_clips(const void *a, const void *b)
{
    const size_count *x = a, *y = b;
    return x->clips == y->clips ? (x->size > y->size) - (x->size < y->size) : x->clips < y->clips ? 1 : -1;
}

/* Count the clips of each frame size, the most frequent first. */
static size_count *count_sizes(const vj_clips *clips, int64_t *sizes)
{
    const int64_t n = vj_clips_count(clips);
    int64_t *size = vj_report_memory(n + 1, sizeof *size);
    size_count *counts = vj_report_memory(n + 1, sizeof *counts);
    for (int64_t i = 0; i < n; i++) {
        int height, width;
        vj_clips_geometry(clips, i, &height, &width);
        size[i] = (int64_t)height << 32 | width;
    }
    vj_sort_integers(size, n);
    *sizes = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || size[i] != size[i - 1]) counts[(*sizes)++].size = size[i];
        counts[*sizes - 1].clips++;
    }
    free(size);
    qsort(counts, (size_t)*sizes, sizeof *counts, by_clips);
    return counts;
}

static void add_sizes(vj_document *document, const vj_clips *clips)
{
    int64_t sizes;
    size_count *counts = count_sizes(clips, &sizes);
    vj_table *t = vj_document_table(document, "sizes", sizes > SIZES ? "The most frequent sizes of frames." : "");
    for (int64_t i = 0; i < sizes && i < SIZES; i++) {
        vj_row_number(t, "height", "pixels", (double)(counts[i].size >> 32), 0);
        vj_row_number(t, "width", "pixels", (double)(counts[i].size & 0xffffffff), 0);
        vj_row_number(t, "clips", "", (double)counts[i].clips, 0);
    }
    free(counts);
}

static int descending(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x < *y) - (*x > *y);
}

/* Plot the clips of each class: as named bars if there are few classes, otherwise as a curve from the most to the least
 * frequent. */
static void plot_classes(vj_document *document, const vj_clips *clips, int label, double *count, int64_t classes)
{
    const char *label_name = vj_clips_label_name(clips, label);
    double *x = vj_report_memory(classes, sizeof *x);
    char title[VJ_LABEL_NAME + 32];
    for (int64_t k = 0; k < classes; k++) x[k] = (double)k;
    snprintf(title, sizeof title, "Clips by %s", label_name);
    vj_plot *plot = vj_document_plot(document, label_name, title);
    vj_plot_y(plot, "clips", "", VJ_LINEAR);
    if (classes <= NAMED_BARS) {
        char **names = vj_report_memory(classes, sizeof *names);
        for (int64_t k = 0; k < classes; k++) {
            const char *name = vj_clips_class_name(clips, label, k);
            char number[24];
            snprintf(number, sizeof number, "%" PRId64, k);
            names[k] = vj_report_copy(*name ? name : number);
        }
        vj_plot_x(plot, label_name, "", VJ_LINEAR);
        vj_plot_x_names(plot, (const char *const *)names, (int)classes);
        vj_report_free_names(names, (int)classes);
        vj_plot_series(plot, VJ_BARS, 0, "clips", x, count, classes);
    } else {
        qsort(count, (size_t)classes, sizeof *count, descending);
        vj_plot_x(plot, "classes, from the most frequent", "", VJ_LINEAR);
        vj_plot_series(plot, VJ_LINES, 0, "clips", x, count, classes);
    }
    free(x);
}

static void add_label(vj_document *document, const vj_clips *clips, int label)
{
    int64_t classes = vj_clips_class_count(clips, label), without = 0;
    for (int64_t i = 0; i < vj_clips_count(clips); i++)
        if (vj_clips_labels(clips, i)[label] >= classes) classes = vj_clips_labels(clips, i)[label] + 1;
    if (classes > VJ_MAX_CLASSES) {
        vj_document_note(document, "Label %s has numbers up to %" PRId64 ": too many classes to show.",
                         vj_clips_label_name(clips, label), classes - 1);
        return;
    }
    double *count = vj_report_memory(classes + 1, sizeof *count);
    for (int64_t i = 0; i < vj_clips_count(clips); i++) {
        const int32_t k = vj_clips_labels(clips, i)[label];
        if (k < 0)
            without++;
        else
            count[k]++;
    }
    if (without > 0)
        vj_document_paragraph(document, "%" PRId64 " of %" PRId64 " clips have no label %s.", without,
                              vj_clips_count(clips), vj_clips_label_name(clips, label));
    if (classes > 0) plot_classes(document, clips, label, count, classes);
    free(count);
}

/* ------------------------------------------------------------------------------------------------ contact sheet */

/* Return the configuration of the first run among the inputs whose masks fit this store; NULL if there is none. */
static vj_config *masks_of(const vj_inputs *all, const vj_clips *clips)
{
    vj_config *c = vj_report_memory(1, sizeof *c);
    for (int i = 0; i < all->count; i++) {
        char path[VJ_PATH + 64];
        if (!vj_page_has(all->paths[i], "config.yaml")) continue;
        snprintf(path, sizeof path, "%s/config.yaml", all->paths[i]);
        vj_config_defaults(c);
        const bool read = vj_config_read(c, path) == VJ_OK && vj_config_check(c) == VJ_OK;
        if (read && (vj_clips_frames(clips) == 1 || vj_clips_frames(clips) == c->data.frames)) return c;
    }
    free(c);
    return NULL;
}

/* Add a contact sheet with as many of the first clips as make a picture small enough for a page. */
static vj_status add_first_clips(vj_document *document, const char *path, const vj_config *masks)
{
    char caption[256];
    bool too_large = true;
    snprintf(caption, sizeof caption, "The first clips%s.",
             masks ? ", each followed by what its masks leave: bright is what the encoder sees, hatched is to be "
                     "predicted, black is left out of both"
                   : "; give the folder of a run beside to see its masks");
    for (int64_t count = SHEET_CLIPS; count > 0 && too_large; count /= 2) {
        int64_t shown = count;
        vj_canvas canvas;
        vj_status status = vj_sheet_draw(&canvas, path, 0, &shown, masks, NULL);
        if (status == VJ_OK)
            status = vj_page_picture(document, "contact-sheet", &canvas, count > 1 ? SHEET_BYTES : 0, &too_large,
                                     "Frames of clips from left to right, a clip in each row.", caption);
        vj_canvas_release(&canvas);
        VJ_TRY(status);
    }
    return VJ_OK;
}

/* Add the contact sheet. A run may have weights of data sets that this store does not have; then without its masks. */
static void add_sheet(vj_document *document, const char *path, const vj_clips *clips, const vj_inputs *all)
{
    char why[WHY];
    vj_status_divert(why, sizeof why);
    vj_config *masks = masks_of(all, clips);
    vj_status status = masks ? add_first_clips(document, path, masks) : VJ_ERR_STATE;
    vj_status_divert(why, sizeof why);
    if (status != VJ_OK) status = add_first_clips(document, path, NULL);
    vj_status_divert(NULL, 0);
    free(masks);
    if (status != VJ_OK) vj_document_note(document, "The contact sheet could not be drawn: %s.", why);
}

/* ------------------------------------------------------------------------------------------------ the page */

static bool add_clips(vj_document *document, const char *path, const vj_inputs *all)
{
    vj_strings one;
    vj_clips *clips = NULL;
    char why[WHY];
    vj_status_divert(why, sizeof why);
    vj_status status = vj_strings_one(&one, path);
    if (status == VJ_OK) status = vj_clips_open(&clips, &one, VJ_ALONE);
    vj_status_divert(NULL, 0);
    if (status != VJ_OK) {
        vj_document_note(document, "The clips cannot be read: %s. Sizes, classes and pictures are not shown.", why);
        vj_clips_close(clips);
        return false;
    }
    add_facts(document, clips);
    add_sizes(document, clips);
    for (int l = 0; l < vj_clips_label_count(clips); l++) add_label(document, clips, l);
    add_sheet(document, path, clips, all);
    vj_clips_close(clips);
    return true;
}

static bool add_store(vj_document *document, const char *path, const vj_inputs *all)
{
    vj_clips_passport *passport;
    char why[WHY], *name = vj_page_name(path, all);
    vj_document_section(document, "Data: %s", name);
    free(name);
    if (!vj_page_has(path, "index.h5")) {
        vj_document_note(document, "%s is not finished: vjepa-pack is at work, or was interrupted.", path);
        return false;
    }
    vj_status_divert(why, sizeof why);
    const vj_status status = vj_clips_passport_read(&passport, path);
    vj_status_divert(NULL, 0);
    if (status == VJ_OK)
        add_passport(document, passport);
    else
        vj_document_note(document, "The passport cannot be read: %s.", why);
    vj_clips_passport_free(passport);
    return add_clips(document, path, all) || status == VJ_OK;
}

static int add_stores(vj_document *document, const char *const *paths, int count, const vj_inputs *all)
{
    int shown = 0;
    for (int i = 0; i < count; i++) shown += add_store(document, paths[i], all);
    return shown;
}

const vj_input_kind vj_page_clips = {"clip store", is_store, add_stores};
