/*
 * Pages of files of vjepa-spectrum: the spectra of all representations in one plot, heat maps of their similarity,
 * paths of regularisation. The tables of OUT.json are shown too, also for commands that are not known here.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "h5/h5.h"
#include "report/inside.h"
#include "report/spectra.h"

enum { WHY = 1024, PICTURES = 6, JSON_BYTES = 8 << 20 };
#define FORMAT "vjepa-analysis"

static bool is_analysis(const char *path)
{
    char format[64];
    if (!vj_h5_is_file(path)) return false;
    vj_h5_format(path, format, sizeof format);
    return strcmp(format, FORMAT) == 0;
}

/* ------------------------------------------------------------------------------------------------ spectra */

/* Read an attribute that may be missing: a missing number is NaN, a missing text a copy of `otherwise`. */
static double number_in(hid_t group, const char *path, const char *name)
{
    double value = NAN;
    if (H5Aexists(group, name) <= 0 || vj_h5_get_f64(group, path, name, &value) != VJ_OK) return NAN;
    return value;
}

static double count_in(hid_t group, const char *path, const char *name)
{
    int64_t value;
    if (H5Aexists(group, name) <= 0 || vj_h5_get_i64(group, path, name, &value) != VJ_OK) return NAN;
    return (double)value;
}

static char *text_in(hid_t group, const char *path, const char *name, const char *otherwise)
{
    char *text;
    if (H5Aexists(group, name) <= 0 || vj_h5_get_text(group, path, name, &text) != VJ_OK)
        return vj_report_copy(otherwise);
    return text;
}

static vj_spectrum_of read_spectrum(hid_t group, const char *path, const char *name)
{
    vj_h5_numbers values;
    char in_file[VJ_PATH];
    snprintf(in_file, sizeof in_file, "/representations/%s", name);
    vj_spectrum_of s = {
        .path = vj_report_copy(path),
        .group = vj_report_copy(in_file),
        .name = text_in(group, path, "name", name),
        .origin = text_in(group, path, "origin", ""),
        .width = count_in(group, path, "width"),
        .tokens = count_in(group, path, "tokens"),
        .rows = count_in(group, path, "rows"),
        .effective_rank = number_in(group, path, "effective_rank"),
        .rankme = number_in(group, path, "rankme"),
        .participation_ratio = number_in(group, path, "participation_ratio"),
        .stable_rank = number_in(group, path, "stable_rank"),
        .exponent = number_in(group, path, "power_law_exponent"),
    };
    if (H5Aexists(group, "grid") > 0 && vj_h5_get_u64s(group, path, "grid", s.grid, 3) != VJ_OK)
        memset(s.grid, 0, sizeof s.grid);
    if (vj_h5_numbers_read(&values, group, path, "eigenvalues", 1) == VJ_OK) {
        s.eigenvalues = values.value;
        s.count = values.dim[0];
    } else {
        free(values.value);
    }
    return s;
}

static void release_spectrum(vj_spectrum_of *s)
{
    free(s->path);
    free(s->group);
    free(s->name);
    free(s->origin);
    free(s->eigenvalues);
}

/* List the names of the members of a group. */
static vj_status list_group(hid_t file, const char *path, const char *group, char ***names, int *count)
{
    H5G_info_t info;
    *names = NULL;
    *count = 0;
    const hid_t at = H5Gopen2(file, group, H5P_DEFAULT);
    if (at < 0) return vj_raise(VJ_ERR_FORMAT, "%s: there is no group %s", path, group);
    if (H5Gget_info(at, &info) >= 0)
        for (hsize_t i = 0; i < info.nlinks; i++) {
            char name[VJ_PATH] = "";
            if (H5Lget_name_by_idx(at, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT) < 0) break;
            *names = vj_report_room(*names, *count, sizeof **names);
            (*names)[(*count)++] = vj_report_copy(name);
        }
    H5Gclose(at); /* only read */
    return VJ_OK;
}

static vj_status read_spectra(hid_t file, const char *path, vj_spectrum_of **spectra, int *count)
{
    char **names;
    int members;
    vj_status status = list_group(file, path, "/representations", &names, &members);
    for (int i = 0; i < members; i++) {
        char in_file[VJ_PATH + 32];
        snprintf(in_file, sizeof in_file, "/representations/%s", names[i]);
        const hid_t group = H5Gopen2(file, in_file, H5P_DEFAULT);
        if (group < 0) continue;
        *spectra = vj_report_room(*spectra, *count, sizeof **spectra);
        (*spectra)[(*count)++] = read_spectrum(group, path, names[i]);
        H5Gclose(group);
    }
    vj_report_free_names(names, members);
    return status;
}

static void add_measures(vj_document *document, const vj_spectrum_of *s, int count)
{
    vj_table *t = vj_document_table(document, "spectra",
                                    "Measures of the spectra of the features' covariance; all but the exponent are "
                                    "numbers of directions that are in use, at most the width. Exponent: how steeply "
                                    "eigenvalues fall with their number.");
    for (int i = 0; i < count; i++) {
        vj_row_text(t, "representation", "%s", s[i].name);
        vj_row_number(t, "width", "", s[i].width, 0);
        vj_row_number(t, "rows", "", s[i].rows, 0);
        vj_row_number(t, "effective rank", "", s[i].effective_rank, 2);
        vj_row_number(t, "RankMe", "", s[i].rankme, 2);
        vj_row_number(t, "participation ratio", "", s[i].participation_ratio, 2);
        vj_row_number(t, "stable rank", "", s[i].stable_rank, 2);
        vj_row_number(t, "power law exponent", "", s[i].exponent, 3);
    }
}

/* Note numbers of a dataset that are not finite, which leave gaps in what is drawn of it. */
static void note_gaps(vj_document *document, const char *path, const char *what, const double *value, int64_t count)
{
    int64_t gaps = 0;
    for (int64_t i = 0; i < count; i++) gaps += !isfinite(value[i]);
    if (gaps > 0)
        vj_document_note(document, "%s: %lld of %lld numbers of %s not finite: gaps in its picture.", path,
                         (long long)gaps, (long long)count, what);
}

/* Add a plot of eigenvalues as shares of the variance, so that features of different scales can be compared. */
static void add_eigenvalues(vj_document *document, const vj_spectrum_of *s, int count)
{
    const double smallest = 1e-12;
    vj_plot *plot = vj_document_plot(document, "eigenvalues", "Eigenvalues of the covariance");
    vj_plot_x(plot, "number of the eigenvalue", "", VJ_LOG);
    vj_plot_y(plot, "share of the variance", "", VJ_LOG);
    vj_plot_caption(plot,
                    "Each spectrum is divided by its sum; below %g it is rounding, and left out. A steep fall: few "
                    "directions hold what there is.",
                    smallest);
    for (int i = 0; i < count; i++) {
        double *x = vj_report_memory(s[i].count + 1, sizeof *x), *y = vj_report_memory(s[i].count + 1, sizeof *y);
        double sum = 0.0;
        for (int64_t k = 0; k < s[i].count; k++) sum += s[i].eigenvalues[k] > 0.0 ? s[i].eigenvalues[k] : 0.0;
        for (int64_t k = 0; k < s[i].count; k++) {
            x[k] = (double)(k + 1);
            y[k] = s[i].eigenvalues[k] / sum < smallest ? NAN : s[i].eigenvalues[k] / sum;
        }
        if (s[i].eigenvalues)
            vj_plot_series(plot, VJ_LINES, i, s[i].name, x, y, s[i].count);
        else
            vj_document_note(document, "%s: %s has no eigenvalues.", s[i].path, s[i].name);
        note_gaps(document, s[i].path, s[i].name, s[i].eigenvalues, s[i].count);
        if (s[i].eigenvalues && !(sum > 0.0))
            vj_document_note(document, "%s: no eigenvalue of %s is above 0: it has no curve.", s[i].path, s[i].name);
        free(x);
        free(y);
    }
}

/* Add the spectra. Returns the number of representations. */
static int add_spectra(vj_document *document, vj_spectrum_of *spectra, int count, const vj_inputs *all)
{
    int pictures = 0;
    if (count == 0) return 0;
    vj_document_section(document, "Spectra");
    add_measures(document, spectra, count);
    add_eigenvalues(document, spectra, count);
    for (int i = 0; i < count; i++)
        if (spectra[i].tokens > 1.0 && pictures++ < PICTURES) vj_page_tokens(document, &spectra[i], all);
    if (pictures > PICTURES)
        vj_document_paragraph(document, "Pictures of tokens are shown of the first %d representations, of %d.",
                              PICTURES, pictures);
    return count;
}

/* ------------------------------------------------------------------------------------------------ alike */

static vj_status add_heat_map(vj_document *document, hid_t file, const char *path, const char *name, const char *title,
                              const char *caption, double high, char **names, int count)
{
    vj_h5_numbers values;
    char in_file[64];
    snprintf(in_file, sizeof in_file, "/compare/%s", name);
    vj_status status = vj_h5_numbers_read(&values, file, path, in_file, 2);
    if (status == VJ_OK && (values.dim[0] != count || values.dim[1] != count))
        status = vj_raise(VJ_ERR_FORMAT, "%s: %s is %lld x %lld, with %d names", path, in_file,
                          (long long)values.dim[0], (long long)values.dim[1], count);
    if (status == VJ_OK) {
        vj_plot *plot = vj_document_plot(document, name, title);
        vj_plot_heat_map(plot, count, count, values.value, (const char *const *)names, (const char *const *)names, 0.0,
                         high);
        vj_plot_caption(plot, "%s", caption);
        note_gaps(document, path, in_file, values.value, (int64_t)count * count);
    }
    free(values.value);
    return status;
}

static vj_status add_compare(vj_document *document, hid_t file, const char *path)
{
    char **names;
    int count;
    VJ_TRY(vj_h5_texts_read(file, path, "/compare/names", &names, &count));
    vj_status status = add_heat_map(document, file, path, "cka", "CKA",
                                    "1: alike up to rotation and scale; 0: nothing "
                                    "in common.",
                                    1.0, names, count);
    if (status == VJ_OK)
        status = add_heat_map(document, file, path, "cka_unbiased", "CKA, unbiased",
                              "CKA corrected for few clips: 0 on average for independent features.", 1.0, names, count);
    if (status == VJ_OK)
        status = add_heat_map(document, file, path, "procrustes", "Procrustes distance",
                              "0: equal after the best rotation and scale; 2: nothing in common.", NAN, names, count);
    vj_report_free_names(names, count);
    return status;
}

/* ------------------------------------------------------------------------------------------------ ridge */

/* Add the means over seeds of values [shares, seeds, ratios], as a curve for each share of the labels. */
static void add_path(vj_plot *plot, const vj_h5_numbers *values, const vj_h5_numbers *ratio,
                     const vj_h5_numbers *labels)
{
    const int64_t seeds = values->dim[1], ratios = values->dim[2];
    double *mean = vj_report_memory(3 * ratios, sizeof *mean), *low = mean + ratios, *high = mean + 2 * ratios;
    for (int64_t s = 0; s < values->dim[0]; s++) {
        char name[64];
        for (int64_t l = 0; l < ratios; l++) {
            double sum = 0.0;
            low[l] = INFINITY;
            high[l] = -INFINITY;
            for (int64_t k = 0; k < seeds; k++) {
                const double value = values->value[(s * seeds + k) * ratios + l];
                sum += value;
                low[l] = fmin(low[l], value);
                high[l] = fmax(high[l], value);
            }
            mean[l] = sum / (double)seeds;
        }
        snprintf(name, sizeof name, "%g %% of the labels", labels->value[s]);
        vj_series *series = vj_plot_series(plot, VJ_LINES_POINTS, (int)s, name, ratio->value, mean, ratios);
        if (seeds > 1) vj_series_band(series, low, high);
    }
    free(mean);
}

static vj_status add_ridge_of(vj_document *document, hid_t file, const char *path, const char *encoder,
                              const char *task, const vj_h5_numbers *ratio, const vj_h5_numbers *labels)
{
    static const struct {
        const char *name, *title;
    } shown[] = {{"top1", "top-1 on the validation clips"}, {"loo_error", "leave-one-out error"}};
    for (int i = 0; i < 2; i++) {
        vj_h5_numbers values;
        char in_file[VJ_PATH], title[VJ_PATH];
        snprintf(in_file, sizeof in_file, "/ridge/%.150s/%.150s/%s", encoder, task, shown[i].name);
        vj_status status = vj_h5_numbers_read(&values, file, path, in_file, 3);
        if (status == VJ_OK && (values.dim[0] != labels->dim[0] || values.dim[2] != ratio->dim[0]))
            status = vj_raise(VJ_ERR_FORMAT, "%s: %s does not fit /labels and /ratio", path, in_file);
        if (status == VJ_OK) {
            snprintf(title, sizeof title, "%.100s, %.100s: %s", encoder, task, shown[i].title);
            vj_plot *plot = vj_document_plot(document, shown[i].name, title);
            vj_plot_x(plot, "penalty over the mean eigenvalue", "", VJ_LOG);
            vj_plot_y(plot, i == 0 ? "top-1" : "error", "%", VJ_LINEAR);
            vj_plot_caption(plot, "Means over splits of the labels%s.",
                            values.dim[1] > 1 ? "; bands: from the lowest to the highest split" : "");
            add_path(plot, &values, ratio, labels);
            note_gaps(document, path, in_file, values.value, values.dim[0] * values.dim[1] * values.dim[2]);
        }
        free(values.value);
        VJ_TRY(status);
    }
    return VJ_OK;
}

static vj_status add_ridge_paths(vj_document *document, hid_t file, const char *path, const vj_h5_numbers *ratio,
                                 const vj_h5_numbers *labels)
{
    char **encoders, **tasks;
    int encoder_count, task_count;
    vj_status status = list_group(file, path, "/ridge", &encoders, &encoder_count);
    for (int e = 0; e < encoder_count && status == VJ_OK; e++) {
        char group[VJ_PATH];
        snprintf(group, sizeof group, "/ridge/%.300s", encoders[e]);
        status = list_group(file, path, group, &tasks, &task_count);
        for (int t = 0; t < task_count && status == VJ_OK; t++)
            status = add_ridge_of(document, file, path, encoders[e], tasks[t], ratio, labels);
        vj_report_free_names(tasks, task_count);
    }
    vj_report_free_names(encoders, encoder_count);
    return status;
}

static vj_status add_ridge(vj_document *document, hid_t file, const char *path)
{
    vj_h5_numbers ratio, labels = {.ndim = 0};
    vj_status status = vj_h5_numbers_read(&ratio, file, path, "/ratio", 1);
    if (status == VJ_OK) status = vj_h5_numbers_read(&labels, file, path, "/labels", 1);
    if (status == VJ_OK) status = add_ridge_paths(document, file, path, &ratio, &labels);
    free(ratio.value);
    free(labels.value);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the page */

/* Show OUT.json, next to OUT.h5. If it is missing, a note says so only if nothing else is shown (`needed`). */
static void add_json(vj_document *document, const char *path, const char *command, bool needed)
{
    char file[VJ_PATH + 8], why[WHY];
    const size_t length = strlen(path);
    if (length < 4 || length >= VJ_PATH || strcmp(path + length - 3, ".h5") != 0) return;
    snprintf(file, sizeof file, "%.*s.json", (int)length - 3, path);
    if (!needed && access(file, F_OK) != 0) return;
    json_t *report = vj_page_json_object(file, JSON_BYTES, why, sizeof why);
    if (report)
        vj_page_report(document, report, command);
    else
        vj_document_note(document, "The tables of this file are not shown: %s.", why);
    json_decref(report);
}

/* Say what a command measures, for readers who have not run it (docs/method.md, section 15). */
static void add_meaning(vj_document *document, const char *command)
{
    static const struct {
        const char *command, *meaning;
    } known[] = {
        {"compare", "How alike representations of the same clips are: all pairs of encoders, layers or checkpoints."},
        {"classes", "How features separate the classes of a task. Within and between: variance inside the classes and "
                    "of their means; ratio: between over within. Signal to noise: the same without what few clips "
                    "leave to chance; 0 says nothing of the task. nc1 to nc4, neural collapse: nc1 is 0 where clips "
                    "lie at their class's mean, the norms of nc2 where the means are equally far from their middle; "
                    "nc4 is the share of clips whose nearest mean is that of their class."},
        {"knn", "Accuracy, without any training, of a vote of the k nearest training clips of each clip. Majority: "
                "each neighbour has one vote; weighted: nearer ones count more."},
        {"ridge", "Linear probes on frozen features by least squares: the more penalty, the simpler the probe."},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(command, known[i].command) == 0) vj_document_paragraph(document, "%s", known[i].meaning);
}

typedef struct {
    vj_spectrum_of *spectra;
    int count;
} collected;

static vj_status add_open_file(vj_document *document, hid_t file, const char *path, const char *command, collected *c,
                               const vj_inputs *all)
{
    if (strcmp(command, "spectrum") == 0) return read_spectra(file, path, &c->spectra, &c->count);
    char *name = vj_page_name(path, all);
    vj_document_section(document, "Analysis: %s, %s", command, name);
    free(name);
    vj_status status = VJ_OK;
    const bool compare = strcmp(command, "compare") == 0, ridge = strcmp(command, "ridge") == 0;
    add_meaning(document, command);
    if (compare) status = add_compare(document, file, path);
    if (ridge) status = add_ridge(document, file, path);
    add_json(document, path, command, !compare && !ridge);
    return status;
}

static bool add_file(vj_document *document, const char *path, collected *c, const vj_inputs *all)
{
    char why[WHY], *command = NULL;
    hid_t file = -1;
    vj_status_divert(why, sizeof why);
    vj_status status = vj_h5_open(&file, path, FORMAT, 1);
    if (status == VJ_OK) {
        H5E_BEGIN_TRY
        {
            status = vj_h5_get_text(file, path, "command", &command);
            if (status == VJ_OK) status = add_open_file(document, file, path, command, c, all);
        }
        H5E_END_TRY
        H5Fclose(file); /* only read */
    }
    vj_status_divert(NULL, 0);
    if (status != VJ_OK) {
        if (!command || strcmp(command, "spectrum") == 0) vj_document_section(document, "Analysis: %s", path);
        vj_document_note(document, "%s is not shown, or not all of it: %s.", path, why);
    }
    free(command);
    return status == VJ_OK;
}

/* Add the name of the file to representations that are called the same in several files. */
static void tell_apart(vj_spectrum_of *s, int count, const vj_inputs *all)
{
    bool *alike = vj_report_memory(count, sizeof *alike);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < count; k++) alike[i] |= k != i && strcmp(s[i].name, s[k].name) == 0;
    for (int i = 0; i < count; i++) {
        if (!alike[i]) continue;
        char *name = s[i].name, *file = vj_page_name(s[i].path, all);
        VJ_ASSERT(asprintf(&s[i].name, "%s, %s", name, file) >= 0);
        free(name);
        free(file);
    }
    free(alike);
}

static int add_analyses(vj_document *document, const char *const *paths, int count, const vj_inputs *all)
{
    collected c = {.count = 0};
    int shown = 0;
    for (int i = 0; i < count; i++) shown += add_file(document, paths[i], &c, all);
    tell_apart(c.spectra, c.count, all);
    add_spectra(document, c.spectra, c.count, all);
    for (int i = 0; i < c.count; i++) release_spectrum(&c.spectra[i]);
    free(c.spectra);
    return shown;
}

const vj_input_kind vj_page_analyses = {"file of vjepa-spectrum", is_analysis, add_analyses};
