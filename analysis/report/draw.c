/* Draws the plots of a document with gnuplot in a temporary folder. Several processes each draw a share of them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/config.h"
#include "report/svg.h"

/* POINTS_OF_ALL limits the points of all curves: at about 8 bytes each, a page is smaller than 5 MB. A curve has two
 * for each column of pixels. */
enum { POINTS_OF_ALL = 440000, COLUMNS_MAX = 420, COLUMNS_MIN = 40, NAME = 32, PROCESSES_MAX = 8, PLOTS_EACH = 4 };

typedef struct {
    char folder[VJ_PATH];
    vj_plot **plots; /* those that have numbers; borrowed */
    vj_labels *labels;
    int count;
    int processes;
} drawing;

static void path_in(const drawing *d, const char *name, char path[VJ_PATH + NAME])
{
    snprintf(path, VJ_PATH + NAME, "%s/%s", d->folder, name);
}

/* Return the number of columns of pixels that each curve may have. */
static int choose_columns(const drawing *d)
{
    int64_t curves = 0;
    for (int i = 0; i < d->count; i++) curves += d->plots[i]->series_count;
    const int64_t columns = POINTS_OF_ALL / 2 / (curves > 0 ? curves : 1);
    return columns > COLUMNS_MAX ? COLUMNS_MAX : columns < COLUMNS_MIN ? COLUMNS_MIN : (int)columns;
}

/* Write the script of process `process`. It draws every n-th plot, because neighbouring plots are alike.
 */
static vj_status write_script(const drawing *d, int process)
{
    char path[VJ_PATH + NAME], name[NAME];
    snprintf(name, sizeof name, "%d.gp", process);
    path_in(d, name, path);
    FILE *out = fopen(path, "w");
    if (!out) return vj_raise(VJ_ERR_IO, "write %s", path);
    const int columns = choose_columns(d);
    for (int i = process; i < d->count; i += d->processes) {
        snprintf(name, sizeof name, "%d.svg", i);
        vj_script_plot(out, d->plots[i], name, columns, &d->labels[i]);
    }
    const bool failed = ferror(out);
    if (fclose(out) != 0 || failed) return vj_raise(VJ_ERR_IO, "write %s (is TMPDIR full?)", path);
    return VJ_OK;
}

/* Return the contents of a small file, followed by a 0, to be freed with free(); NULL with errno if it cannot be read.
 */
static char *read_file(const char *path)
{
    struct stat info;
    FILE *in = fopen(path, "r");
    if (!in) return NULL;
    char *text = fstat(fileno(in), &info) == 0 ? calloc(1, (size_t)info.st_size + 1) : NULL;
    if (text && fread(text, 1, (size_t)info.st_size, in) != (size_t)info.st_size) {
        free(text);
        text = NULL;
    }
    fclose(in); /* only read */
    return text;
}

/* Run gnuplot in the child process, with its output in the file "<process>.txt", without the user's settings (-d). */
static void become_gnuplot(const drawing *d, const char *script, const char *messages)
{
    const int in = open("/dev/null", O_RDONLY);
    if (chdir(d->folder) != 0) _exit(126);
    const int out = open(messages, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(126);
    execlp("gnuplot", "gnuplot", "-d", script, (char *)NULL);
    _exit(errno == ENOENT ? 127 : 126);
}

static pid_t start_gnuplot(const drawing *d, int process)
{
    char script[NAME], messages[NAME];
    snprintf(script, sizeof script, "%d.gp", process);
    snprintf(messages, sizeof messages, "%d.txt", process);
    const pid_t child = fork();
    if (child == 0) become_gnuplot(d, script, messages);
    return child;
}

/* Check how process `process` ended. `code` is its status from waitpid(). */
static vj_status judge(const drawing *d, int process, int code)
{
    char path[VJ_PATH + NAME], messages[NAME];
    if (WIFEXITED(code) && WEXITSTATUS(code) == 0) return VJ_OK;
    if (WIFEXITED(code) && WEXITSTATUS(code) == 127)
        return vj_raise(
            VJ_ERR_LIBRARY,
            "gnuplot draws the plots and is not in PATH: install it (Debian: apt-get install gnuplot-nox; on a "
            "cluster: module load gnuplot), or write only the numbers with --csv");
    snprintf(messages, sizeof messages, "%d.txt", process);
    path_in(d, messages, path);
    char *said = read_file(path);
    vj_status status =
        vj_raise(VJ_ERR_LIBRARY, "gnuplot failed (%s %d): %.600s", WIFEXITED(code) ? "exit code" : "signal",
                 WIFEXITED(code) ? WEXITSTATUS(code) : WTERMSIG(code), said ? said : "");
    free(said);
    return status;
}

/* Run the processes; each draws while the script of the next one is written. Waits for all that were started. */
static vj_status run_gnuplot(drawing *d)
{
    pid_t child[PROCESSES_MAX];
    int started = 0;
    vj_status status = VJ_OK;
    while (status == VJ_OK && started < d->processes) {
        status = write_script(d, started);
        if (status != VJ_OK) break;
        child[started] = start_gnuplot(d, started);
        if (child[started] < 0) status = vj_raise(VJ_ERR_IO, "start gnuplot");
        started += status == VJ_OK;
    }
    for (int p = 0; p < started; p++) {
        int code = 0;
        while (waitpid(child[p], &code, 0) < 0 && errno == EINTR) continue;
        if (status == VJ_OK) status = judge(d, p, code); /* the first failure is reported */
    }
    return status;
}

static vj_status read_plots(const drawing *d)
{
    for (int i = 0; i < d->count; i++) {
        char name[NAME], path[VJ_PATH + NAME];
        snprintf(name, sizeof name, "%d.svg", i);
        path_in(d, name, path);
        char *text = read_file(path);
        free(d->plots[i]->svg);
        d->plots[i]->svg = text ? vj_svg_themed(text, i, d->plots[i]->title, &d->labels[i]) : NULL;
        free(text);
        if (!d->plots[i]->svg)
            return vj_raise(VJ_ERR_LIBRARY, "gnuplot did not draw \"%s\" as expected (5.2 or newer is needed)",
                            d->plots[i]->title);
    }
    return VJ_OK;
}

static void remove_folder(const char *folder)
{
    char path[VJ_PATH + 300];
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
    }
    if (dir) closedir(dir);
    if (rmdir(folder) != 0) vj_warn("remove the temporary folder %s: %s", folder, strerror(errno));
}

vj_status vj_document_draw(vj_document *document)
{
    drawing d = {0};
    const char *base = getenv("TMPDIR");
    d.plots = vj_report_memory(document->block_count, sizeof *d.plots);
    for (int i = 0; i < document->block_count; i++) {
        const vj_document_block *block = &document->blocks[i];
        if (block->kind == VJ_BLOCK_PLOT && vj_plot_has_numbers(block->plot)) d.plots[d.count++] = block->plot;
    }
    d.labels = vj_report_memory(d.count, sizeof *d.labels);
    vj_status status = VJ_OK;
    d.processes = (d.count + PLOTS_EACH - 1) / PLOTS_EACH;
    if (d.processes > omp_get_max_threads()) d.processes = omp_get_max_threads();
    if (d.processes > PROCESSES_MAX) d.processes = PROCESSES_MAX;
    if (d.count > 0) {
        snprintf(d.folder, sizeof d.folder, "%s/vjepa-report.XXXXXX", base && *base ? base : "/tmp");
        status = mkdtemp(d.folder) ? VJ_OK : vj_raise(VJ_ERR_IO, "make a temporary folder like %s (TMPDIR)", d.folder);
        if (status == VJ_OK) {
            status = run_gnuplot(&d);
            if (status == VJ_OK) status = read_plots(&d);
            remove_folder(d.folder);
        }
    }
    for (int i = 0; i < d.count; i++) vj_labels_release(&d.labels[i]);
    free(d.labels);
    free(d.plots);
    return status;
}
