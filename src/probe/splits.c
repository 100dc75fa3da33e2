/* Draws splits, and reads and writes them as text. */
#include "probe/splits.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/rng.h"
#include "base/sort.h"

/* Keys of the permutations of a class and of all samples, different from each other and from those of the epochs. */
#define CLASS_KEY   UINT64_C(0x100000000)
#define UNIFORM_KEY UINT64_C(0x200000000)

/* Take the first round(part x n) of the permuted members, at least one if there is any. */
static int64_t take(int64_t *chosen, const int64_t *members, int64_t n, double part, uint64_t seed, uint64_t key)
{
    const int64_t keep = n ? (int64_t)fmax(1.0, rint(part * (double)n)) : 0;
    for (int64_t i = 0; i < keep; i++) chosen[i] = members[vj_permute(seed, key, n, i)];
    return keep;
}

/* List the labelled samples by class, or all together if groups = 1: those of group g become members[first[g], first[g
 * + 1]), ascending. first [groups + 2] must be zero. */
static void gather(int64_t *members, int64_t *first, int groups, const int32_t *labels, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (labels[i] >= 0) {
            VJ_ASSERT(groups == 1 || labels[i] < groups);
            first[(groups > 1 ? labels[i] : 0) + 2]++;
        }
    for (int g = 2; g < groups + 2; g++) first[g] += first[g - 1];
    for (int64_t i = 0; i < count; i++)
        if (labels[i] >= 0) members[first[(groups > 1 ? labels[i] : 0) + 1]++] = i;
}

vj_status vj_split_choose(int64_t *chosen, int64_t *chosen_count, vj_split_rule rule, const int32_t *labels,
                          int64_t count, int classes, int64_t clips, double share, uint64_t seed)
{
    const int groups = rule == VJ_SPLIT_CLASS ? classes : 1;
    int64_t *members = vj_calloc(count + 1, sizeof *members), used = 0;
    int64_t *first = vj_calloc((int64_t)groups + 2, sizeof *first); /* of each group in `members`; see gather() */
    if (!members || !first) {
        free(members);
        free(first);
        return vj_raise(VJ_ERR_MEMORY, "no memory to choose among %lld clips", (long long)count);
    }
    gather(members, first, groups, labels, count);
    const int64_t labelled = first[groups];
    const double part = share / 100.0 * (clips > 0 && clips < labelled ? (double)clips / (double)labelled : 1.0);
    for (int g = 0; g < groups; g++) {
        const uint64_t key = rule == VJ_SPLIT_CLASS ? CLASS_KEY + (uint64_t)g : UNIFORM_KEY;
        used += take(chosen + used, members + first[g], first[g + 1] - first[g], part, seed, key);
    }
    vj_sort_integers(chosen, used);
    *chosen_count = used;
    free(members);
    free(first);
    return VJ_OK;
}

vj_status vj_probe_subset(int64_t *chosen, int64_t *chosen_count, const int32_t *labels, int64_t count, int classes,
                          int64_t clips, double share, uint64_t seed)
{
    return vj_split_choose(chosen, chosen_count, VJ_SPLIT_CLASS, labels, count, classes, clips, share, seed);
}

/* ------------------------------------------------------------------------------------------------ files */

static int64_t id_of(const vj_split_samples *s, int64_t at)
{
    return s->id ? s->id[at] : at;
}

/* XXH3-64 of the fingerprint and the numbers, 8 bytes each, lowest first. */
uint64_t vj_split_digest(const vj_split_samples *samples, const int64_t *chosen, int64_t n)
{
    uint64_t digest = samples->fingerprint;
    for (int64_t i = 0; i < n; i++) {
        uint8_t bytes[8];
        const uint64_t id = (uint64_t)id_of(samples, chosen[i]);
        for (int b = 0; b < 8; b++) bytes[b] = (uint8_t)(id >> (8 * b));
        digest = XXH3_64bits_withSeed(bytes, sizeof bytes, digest);
    }
    return digest;
}

void vj_split_path(char path[VJ_SPLIT_PATH], const char *dir, const char *task, vj_split_rule rule, double share,
                   uint64_t seed)
{
    char name[192]; /* up to three characters for each character of a label's name */
    size_t used = 0;
    for (const char *c = task; *c && used < sizeof name - 4; c++)
        used += (size_t)snprintf(name + used, sizeof name - used,
                                 isalnum((unsigned char)*c) || strchr("-.", *c) || *c == '_' ? "%c" : "%%%02X",
                                 (unsigned char)*c);
    name[used] = '\0';
    snprintf(path, VJ_SPLIT_PATH, "%.*s/%s_%s_%g_%" PRIu64 ".split", VJ_PATH - 1, dir, name,
             rule == VJ_SPLIT_CLASS ? "class" : "uniform", share, seed);
}

vj_status vj_split_write(const char *path, const vj_split_samples *samples, const int64_t *chosen, int64_t n,
                         double share, uint64_t seed)
{
    vj_file file;
    /* not anew: the parts of a campaign write the same splits, maybe at the same time */
    VJ_TRY(vj_file_begin_text(&file, path));
    fprintf(file.stream, "# %.17g %" PRIu64 " %016" PRIx64 "\n", share, seed, vj_split_digest(samples, chosen, n));
    for (int64_t i = 0; i < n; i++) fprintf(file.stream, "%lld\n", (long long)id_of(samples, chosen[i]));
    return vj_file_commit(&file);
}

/* A file being read. */
typedef struct {
    const char *path;
    FILE *stream;
    char line[128];
    int64_t number; /* of the line, from 1 */
} source;

static bool next_line(source *s)
{
    if (!fgets(s->line, sizeof s->line, s->stream)) return false;
    s->number++;
    return true;
}

static vj_status refuse(const source *s, const char *what)
{
    errno = 0;
    return vj_raise(VJ_ERR_FORMAT, "%s, line %lld: %s", s->path, (long long)s->number, what);
}

/* Return the position of the sample with number `id`; -1 if there is none. */
static int64_t find(const vj_split_samples *s, int64_t id)
{
    if (!s->id) return id >= 0 && id < s->count ? id : -1;
    return vj_sorted_find(s->id, s->count, id);
}

static vj_status read_numbers(source *s, int64_t *chosen, int64_t *n, const vj_split_samples *samples)
{
    char message[VJ_PATH + 128];
    int64_t before = -1;
    for (*n = 0; next_line(s);) {
        char *end;
        errno = 0;
        const int64_t id = strtoll(s->line, &end, 10);
        if (end == s->line || errno != 0 || end[strspn(end, " \r\n")] != '\0' || !strchr(s->line, '\n'))
            return refuse(s, "is not the number of a sample, alone on its line");
        const int64_t at = find(samples, id);
        snprintf(message, sizeof message, "sample %lld is not in %s", (long long)id, samples->name);
        if (at < 0) return refuse(s, message);
        snprintf(message, sizeof message, "sample %lld of %s has no label of this task", (long long)id, samples->name);
        if (samples->labels[at] < 0) return refuse(s, message);
        if (at <= before) return refuse(s, "numbers must ascend, each once");
        chosen[(*n)++] = before = at;
    }
    if (ferror(s->stream)) return vj_raise(VJ_ERR_IO, "read %s", s->path);
    return *n > 0 ? VJ_OK : refuse(s, "no sample follows");
}

static vj_status read_split(source *s, int64_t *chosen, int64_t *n, const vj_split_samples *samples, double share,
                            uint64_t seed)
{
    double its_share;
    uint64_t its_seed;
    char digest[17], ours[17], message[256];
    int end = 0;
    if (!next_line(s) || sscanf(s->line, "# %lf %" SCNu64 " %16s%n", &its_share, &its_seed, digest, &end) != 3 ||
        s->line[end + (int)strspn(s->line + end, " \r")] != '\n')
        return refuse(s, "a split file begins with \"# SHARE SEED DIGEST\" (docs/formats.md)");
    snprintf(message, sizeof message,
             "this is the split of %g %% with seed %" PRIu64 ", not of %g %% with seed %" PRIu64, its_share, its_seed,
             share, seed);
    if (!(fabs(its_share - share) <= 1e-9 * share) || its_seed != seed) return refuse(s, message);
    VJ_TRY(read_numbers(s, chosen, n, samples));
    snprintf(ours, sizeof ours, "%016" PRIx64, vj_split_digest(samples, chosen, *n));
    if (strcmp(digest, "-") == 0 || strcmp(digest, ours) == 0) return VJ_OK;
    errno = 0;
    return vj_raise(VJ_ERR_FORMAT,
                    "%s: its digest is %s, that of its numbers in %s is %s: it was made for another store, or changed. "
                    "If that is meant, write - for the digest in its first line",
                    s->path, digest, samples->name, ours);
}

vj_status vj_split_read(int64_t *chosen, int64_t *n, const char *path, const vj_split_samples *samples, double share,
                        uint64_t seed)
{
    for (int64_t i = 1; samples->id && i < samples->count; i++)
        if (samples->id[i] <= samples->id[i - 1])
            return vj_raise(VJ_ERR_FORMAT, "the samples of %s are not in ascending order: no split of them can be read",
                            samples->name);
    source s = {.path = path, .stream = fopen(path, "r")};
    if (!s.stream) return vj_raise(VJ_ERR_IO, "open %s", path);
    const vj_status status = read_split(&s, chosen, n, samples, share, seed);
    (void)fclose(s.stream); /* it was only read */
    return status;
}
