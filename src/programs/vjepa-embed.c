/* vjepa-embed: runs a frozen encoder over a clip store and writes the features, for probes and analysis. */
#include "base/program.h"
#include "probe/embed.h"

static const char *const sections[] = {"run", "data", "model", "train", "embed", "evaluate", NULL};

static const char *encoder, *store, *out, *pool;

static const vj_option options[] = {
    {"--encoder", "WHAT", "a checkpoint, a run's folder, random:published[:SEED] or random:fan_in[:SEED]", &encoder},
    {"--store", "NAME.clips[,...]", "clip stores to encode, one after the other", &store},
    {"--out", "FEATURES.h5", "feature store to write (default: embed.store)", &out},
    {"--pool", "average", "keep only the mean of a clip's tokens", &pool},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-embed",
    .purpose = "Encode clips with a frozen encoder.",
    .usage = "[options] CONFIG.yaml",
    .description =
        "Encodes the centre crop of every clip with the target encoder of a checkpoint, or with a random one, and "
        "writes all tokens after the final norm, with the labels, as one HDF5 file. embed.limit takes only so many "
        "clips, drawn by a permutation. A run's folder stands for its newest checkpoint, and SEED is run.seed if it is "
        "not given. Clips are divided over the ranks. The effective rank of the normalised tokens is printed and "
        "stored: near 1 the encoder has collapsed. Images (stores with one frame a clip) are resized as "
        "evaluate.short_side says and shown as evaluate.image_frames equal frames.\n"
        "\n"
        "Example:\n"
        "  mpirun -n 2 vjepa-embed quickstart.yaml --encoder run/step_00005600.h5 --store val.clips --out val.h5\n"
        "  embed: val.h5: effective rank 17.52 of 96, deviation of the features 0.712",
    .sections = sections,
    .dry_run = true,
    .options = options,
    .min_files = 1,
    .max_files = 1,
};

static vj_status work(const vj_run *run)
{
    vj_embed_request request = {.encoder = encoder,
                                .stores = store,
                                .out = out ? out : run->config.embed.store,
                                .keep = VJ_POOL_ATTENTIVE,
                                .dry_run = run->dry_run};
    if (!encoder)
        return vj_raise(VJ_ERR_USAGE,
                        "no encoder is named: give --encoder CHECKPOINT, RUN, random:published or random:fan_in");
    if (!store) return vj_raise(VJ_ERR_USAGE, "no clips are named: give --store NAME.clips");
    if (!request.out[0])
        return vj_raise(VJ_ERR_USAGE, "no file for the features is named: give --out FEATURES.h5, or embed.store");
    if (pool) VJ_TRY(vj_pooling_parse(&request.keep, pool));
    return vj_embed(&run->config, &request, run->comm);
}

int main(int argc, char **argv)
{
    vj_run run;
    vj_program_begin(&run, &program, argc, argv);
    return vj_program_end(&run, work(&run), VJ_EXIT_DONE);
}
