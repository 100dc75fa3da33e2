/* vjepa-pack: media files to a clip store. The work is vj_pack() in io/pack/pack.c. */
#include "base/program.h"
#include "pack/pack.h"

static const char *const sections[] = {"pack", NULL};

static const vj_program program = {
    .name = "vjepa-pack",
    .purpose = "Decode videos and images in parallel into a clip store.",
    .usage = "[options] CONFIG.yaml",
    .description =
        "Reads the lists pack.lists and writes the store pack.store: clips of pack.frames frames, pack.windows a "
        "video,\n"
        "scaled to pack.short_side pixels. A list is CSV with the header path,LABEL,... (quoted as in RFC 4180, "
        "labels\n"
        "are whole numbers, -1 for none), or lines \"path label\" without a header; paths are relative to the list.\n"
        "\n"
        "Every file ends in STORE/ledger.csv with a verdict: ok, damaged and short files were packed, all others not.\n"
        "Files that cannot be used never stop the job; only when no clip at all could be made it fails.\n"
        "The same command again says that the store is done. A pack that was interrupted starts anew.\n"
        "\n"
        "Example:\n"
        "  printf 'path,label\\nholiday.mp4,0\\nbirthday.mov,1\\n' > my.csv\n"
        "  mpirun -n 2 vjepa-pack jobs/configs/quickstart.yaml --set pack.lists='[my.csv]' --set pack.store=my.clips\n"
        "ends with\n"
        "  my.clips: 2 clips from 2 files, 12.7 MB, in 1.4 s (1.4 files/s)\n"
        "    ok            2 files",
    .sections = sections,
    .min_files = 1,
    .max_files = 1,
};

int main(int argc, char **argv)
{
    vj_run run;
    vj_program_begin(&run, &program, argc, argv);
    return vj_program_end(&run, vj_pack(&run.config, run.comm, run.dry_run), VJ_EXIT_DONE);
}
