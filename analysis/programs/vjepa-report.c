/* vjepa-report: shows runs, and all other kinds of inputs in report/inputs.h, on one page. */
#include "base/file.h"
#include "base/markup.h"
#include "base/number.h"
#include "base/output.h"
#include "base/program.h"
#include "clips/clips.h"
#include "report/document.h"
#include "report/inputs.h"
#include "report/watch.h"

static const char *html_to, *markdown_to, *csv_to, *title, *paper, *watch, *once, *every;

static const vj_option options[] = {
    {"--out", "FILE.html", "the page: one file that needs nothing else, also without a network", &html_to},
    {"--markdown", "FOLDER", "the same as report.md with an SVG file for each plot, for a repository", &markdown_to},
    {"--csv", "FOLDER", "the numbers: a CSV file for each table and plot; needs no gnuplot", &csv_to},
    {"--title", "TEXT", "title of the page, default: vjepa report", &title},
    {"--paper", "FILE.csv", "published results: a table of paper, ours and difference beside those of probes", &paper},
    {"--watch", NULL, "show runs in this terminal, anew every few seconds, until q or Ctrl-C", &watch},
    {"--every", "S", "--watch: seconds between two looks, default 2", &every},
    {"--once", NULL, "--watch: print one screen and end, for scripts and logs", &once},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-report",
    .purpose =
        "Show runs, data and results as one page: curves, tables, pictures, what is wrong; or runs in a terminal.",
    .usage = "INPUT... --out report.html [--markdown FOLDER] [--csv FOLDER] | --watch RUN...",
    .description =
        "INPUT is any of these, in any number and order. What an input is, its content says.\n"
        "  the folder of a run (run.dir of vjepa-pretrain), also while it trains\n"
        "  a clip store NAME.clips: what became of the listed files, classes, sizes, a contact sheet; with the masks\n"
        "      of a run that is given beside\n"
        "  results of probes, a folder or its results.json or results.csv: a table with intervals, differences of\n"
        "      encoders, accuracy against labels; of a folder also classes, confusions, and what attentive probes of\n"
        "      vjepa-evaluate attend to, over the frames; --paper puts published numbers beside\n"
        "  a file of vjepa-spectrum: spectra, how alike representations are, paths of ridge probes; where there are\n"
        "      projections, tokens as colours, beside their frames if the clip store is given too\n"
        "  JSON of vjepa-bench, with the roofline of a step's profile\n"
        "  a CSV file of a scaling study (docs/formats.md)\n"
        "\n"
        "Runs: a table of where they are (complete, running, stopped, killed, hung), curves of all columns of\n"
        "metrics.csv over one another, starts and stops, settings that differ, code, machine and data. A long curve\n"
        "is shown by medians and, faintly behind them, by the smallest and the largest number of each column of\n"
        "pixels, so that peaks stay.\n"
        "\n"
        "--watch shows runs in the terminal instead, one as a screen with curves, several as a line each: progress,\n"
        "rate, time left, loss, effective rank, checkpoints, and alarms: collapse, no progress, a loss that is not\n"
        "finite, a full disk. It reads only what was appended since the last look, and needs no gnuplot.\n"
        "\n"
        "Input that is damaged, missing or of another version becomes a note on the page, with file and line.\n"
        "Plots are drawn by gnuplot (Debian: gnuplot-nox).\n"
        "\n"
        "Exit codes: 0 the report is written, 1 nothing could be shown, gnuplot is missing, or a file could not be\n"
        "written, 2 wrong command line.\n"
        "\n"
        "Examples:\n"
        "  vjepa-report my-run --out report.html\n"
        "      report.html: 1 of 1 inputs, 0 notes\n"
        "  vjepa-report runs/* --out report.html --csv numbers       several runs over one another, and their numbers\n"
        "  vjepa-report train.clips my-run spectra.h5 results --paper paper.csv --out report.html\n"
        "  vjepa-report --watch my-run\n"
        "      my-run  running: process 4711 on node17, batch job 123, since 2026-11-29T10:00:00Z\n"
        "      step 61,000 of 90,000   67.8 %  ####################..........\n"
        "      0.431 s a step, 7130 clips/s; done in 3 h 28 min, on Sun 29 Nov 16:48\n"
        "      ...",
    .options = options,
    .without_mpi = true,
    .min_files = 1,
    .max_files = 100000,
};

static vj_status check_outputs(void)
{
    if (!html_to && !markdown_to && !csv_to)
        return vj_raise(VJ_ERR_USAGE, "nothing to write: give --out FILE.html, --markdown FOLDER or --csv FOLDER");
    if (html_to) VJ_TRY(vj_output_check_file("--out", html_to));
    if (html_to) VJ_TRY(vj_clips_check_output("--out", html_to));
    if (html_to) VJ_TRY(vj_output_check_text(html_to, VJ_DOCUMENT_HTML_BEGIN));
    if (markdown_to) VJ_TRY(vj_output_check_folder("--markdown", markdown_to));
    if (markdown_to) VJ_TRY(vj_clips_check_output("--markdown", markdown_to));
    if (csv_to) VJ_TRY(vj_output_check_folder("--csv", csv_to));
    if (csv_to) VJ_TRY(vj_clips_check_output("--csv", csv_to));
    return VJ_OK;
}

static vj_status write_all(vj_document *document, int shown, int inputs)
{
    const char *const to[] = {html_to, markdown_to, csv_to};
    if (csv_to) VJ_TRY(vj_document_check_csv(document, csv_to));
    if (markdown_to) VJ_TRY(vj_document_check_markdown(document, markdown_to));
    if (csv_to) VJ_TRY(vj_document_csv(document, csv_to));
    if (html_to || markdown_to) VJ_TRY(vj_document_draw(document));
    if (html_to) VJ_TRY(vj_document_html(document, html_to));
    if (markdown_to) VJ_TRY(vj_document_markdown(document, markdown_to));
    for (int i = 0; i < 3; i++)
        if (to[i])
            vj_log("%s: %d of %d inputs, %d note%s", to[i], shown, inputs, vj_document_notes(document),
                   vj_document_notes(document) == 1 ? "" : "s");
    return VJ_OK;
}

/* Print the first notes, for users who look at the page later, or not at all. */
static void log_notes(const vj_document *document)
{
    enum { SAID = 5 };
    const int notes = vj_document_notes(document);
    for (int i = 0; i < notes && i < SAID; i++) {
        fputs("  note: ", stdout);
        vj_put_terminal(stdout, vj_document_note_text(document, i));
        putchar('\n');
    }
    if (notes > SAID) vj_log("  and %d more", notes - SAID);
}

static vj_status watch_runs(const vj_run *run)
{
    double every_s = 2.0;
    if (html_to || markdown_to || csv_to || title || paper)
        return vj_raise(VJ_ERR_USAGE, "--watch shows runs in the terminal and writes nothing: leave out the others");
    if (every && !(vj_parse_real(every, &every_s) && every_s >= 0.1 && every_s <= 86400.0))
        return vj_raise(VJ_ERR_USAGE, "--every %s: expected seconds, from 0.1 to 86400", every);
    return vj_watch(run->files, run->file_count, every_s, once != NULL);
}

static vj_status report(const vj_run *run)
{
    if (watch) return watch_runs(run);
    if (once || every) return vj_raise(VJ_ERR_USAGE, "--once and --every belong to --watch");
    VJ_TRY(check_outputs());
    vj_document *document = vj_document_create(title ? title : "vjepa report");
    const vj_inputs inputs = {.paths = run->files, .count = run->file_count, .paper = paper};
    const int shown = vj_inputs_add(document, &inputs);
    vj_status status = write_all(document, shown, run->file_count);
    if (status == VJ_OK) log_notes(document);
    vj_document_destroy(document);
    if (status == VJ_OK && shown == 0) status = vj_raise(VJ_ERR_FORMAT, "nothing could be shown of what was given");
    return status;
}

int main(int argc, char **argv)
{
    vj_run run;
    vj_program_begin(&run, &program, argc, argv);
    return vj_program_end(&run, report(&run), VJ_EXIT_DONE);
}
