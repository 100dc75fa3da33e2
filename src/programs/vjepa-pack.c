/* vjepa-pack: makes a clip store from media files. The work is in vj_pack(), io/make/pack/pack.c. */
#include "base/program.h"
#include "pack/pack.h"

static const char *const sections[] = {"pack", NULL};

static const vj_program program = {
    .name = "vjepa-pack",
    .purpose = "Decode videos and images in parallel into a clip store.",
    .usage = "[options] CONFIG.yaml",
    .description =
        "Decodes the files of pack.lists, or of pack.datasets, into the store pack.store: clips of pack.frames frames, "
        "pack.windows a video, scaled to pack.short_side pixels. A list is CSV with the header path,LABEL,... "
        "(separated by commas, semicolons, tabs or blanks; labels are whole numbers, -1 for none, or words in columns "
        "called label, class or category; further columns: dataset, start, end, id), JSON (objects with path or "
        "path_bytes, label or labels, dataset, start, end, id), lines \"path label\" or \"path\", or a published list "
        "of Kinetics, Something-Something v2 or HowTo100M; a dataset may also be a folder. Paths are relative to the "
        "list.\n"
        "\n"
        "Decoding is done by processes that can do nothing else. Every file ends in STORE/ledger.csv with a verdict: "
        "ok, damaged and short files were packed, all others not. Files that cannot be used never stop the job; only "
        "when no clip at all could be made it fails.\n"
        "\n"
        "The same command again, on any number of ranks, goes on where it was stopped or says that the store is done. "
        "The store does not depend on the number of ranks. --dry-run says what would be packed and into how much.\n"
        "\n"
        "Example:\n"
        "  printf 'path,label\\nholiday.mp4,0\\nbirthday.mov,1\\n' > my.csv\n"
        "  mpirun -n 2 vjepa-pack jobs/configs/quickstart.yaml --set pack.lists='[my.csv]' --set pack.store=my.clips\n"
        "ends with\n"
        "  my.clips: 2 clips from 2 files, 12.7 MB in 1 shards, in 1.4 s (1.4 files/s)\n"
        "    lists: 2 clips from 2 files, 2 of them found\n"
        "      ok               2 files",
    .sections = sections,
    .dry_run = true,
    .min_files = 1,
    .max_files = 1,
};

int main(int argc, char **argv)
{
    vj_run run;
    vj_program_begin(&run, &program, argc, argv);
    return vj_program_end(&run, vj_pack(&run.config, run.comm, run.dry_run), VJ_EXIT_DONE);
}
