/* vjepa-compare: tests whether two evaluations of the same clips differ. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "base/number.h"
#include "base/program.h"
#include "probe/columns.h"
#include "probe/compare.h"

static const char *as_json, *resamples_text, *seed_text;

static const vj_option options[] = {
    {"--json", NULL, "print a JSON object instead of tables", &as_json},
    {"--resamples", "N", "of the bootstrap, default 2000", &resamples_text},
    {"--seed", "S", "of the bootstrap, default 0", &seed_text},
    {NULL, NULL, NULL, NULL},
};

static const vj_program program = {
    .name = "vjepa-compare",
    .purpose = "Compare two evaluations of the same clips and say whether they differ.",
    .usage = "[options] A[:HEAD or ENCODER] B[:HEAD or ENCODER]",
    .description =
        "A and B are files of predictions that vjepa-probe or vjepa-evaluate wrote (DIR/predictions.h5, for which DIR\n"
        "stands too), or one file and two encoders of it. HEAD is the name of one probe, as "
        "TASK.POOLING.LABELS.ENCODER.SEED; ENCODER stands for all its "
        "probes,\n"
        "and probes of equal task, pooling, share of labels and seed are compared with one another.\n"
        "\n"
        "For each pair: top-1 of both with Wilson's 95 % interval, their difference in points with the 95 % interval\n"
        "of a paired bootstrap of the clips, the clips that only one has right, and McNemar's exact p: how often "
        "equal\n"
        "probes would differ as much. For several seeds: mean and t-interval of the differences, and the bootstrap of "
        "the\n"
        "clips for the mean.\n"
        "Other clips, labels or classes are refused, with what differs.\n"
        "\n"
        "Exit codes: 0 compared, 1 a file cannot be read, 2 wrong command line, or not the same clips.\n"
        "\n"
        "Example:\n"
        "  vjepa-compare results/predictions.h5:motion.average.100.pretrained.234 \\\n"
        "      results/predictions.h5:motion.average.100.random_fan_in.234\n"
        "  A: results/predictions.h5 pretrained, B: results/predictions.h5 random_fan_in, A - B in points\n"
        "  motion average 100 %, seed 234, 2048 clips: A 41.8 [39.7, 44.0], B 30.1 [28.1, 32.1]\n"
        "    A - B = +11.7 [+9.2, +14.2]; right alone: A 466, B 226; McNemar p = 1.8e-20\n"
        "    A is better: of the 692 clips that only one has right, it has 466.",
    .options = options,
    .without_mpi = true,
    .min_files = 2,
    .max_files = 2,
};

/* ------------------------------------------------------------------------------------------------ text */

static void print_pair(const vj_comparison *c)
{
    char verdict[512];
    vj_comparison_verdict(verdict, sizeof verdict, c);
    printf("%s %s %g %%, seed %llu, %lld clips: A %.1f [%.1f, %.1f], B %.1f [%.1f, %.1f]\n", c->a->task, c->a->kind,
           c->a->labels, (unsigned long long)c->a->seed, (long long)c->samples, c->top1_a, c->low_a, c->high_a,
           c->top1_b, c->low_b, c->high_b);
    printf("  A - B = %+.1f [%+.1f, %+.1f]; right alone: A %lld, B %lld; McNemar p = %.2g\n  %s\n", c->difference,
           c->low, c->high, (long long)c->counts.only_a, (long long)c->counts.only_b, c->p, verdict);
}

static void print_group(const vj_comparisons *all, const vj_comparison_group *g)
{
    char verdict[256];
    const vj_head_facts *head = all->pair[g->first].a;
    if (g->count < 2) return;
    vj_comparison_group_verdict(verdict, sizeof verdict, g);
    printf("%s %s %g %%, %lld seeds: A - B = %+.2f [%+.2f, %+.2f], standard deviation %.2f", head->task, head->kind,
           head->labels, (long long)g->count, g->over.mean, g->over.mean - g->over.half, g->over.mean + g->over.half,
           g->over.sd);
    if (!isnan(g->low)) printf("; by the clips [%+.2f, %+.2f]", g->low, g->high);
    printf("\n  %s\n", verdict);
}

static void print_text(const vj_comparisons *all, const vj_selection *a, const vj_selection *b)
{
    const vj_comparison *first = &all->pair[0];
    printf("A: %s %s, B: %s %s, A - B in points\n", a->file.path, first->a->encoder, b->file.path, first->b->encoder);
    if (a->count == 1 && b->count == 1 && first->a->encoder_digest == first->b->encoder_digest)
        printf("A: %s, B: %s, of the same encoder\n", first->a->name, first->b->name);
    else if (first->a->encoder_digest != 0 && first->a->encoder_digest == first->b->encoder_digest)
        printf("A and B are the same encoder.\n");
    for (int64_t i = 0; i < all->group_count; i++) {
        for (int64_t k = 0; k < all->group[i].count; k++) print_pair(&all->pair[all->group[i].first + k]);
        print_group(all, &all->group[i]);
    }
    if (all->alone_a || all->alone_b)
        printf("Not compared, for want of a partner: %lld of A, %lld of B.\n", (long long)all->alone_a,
               (long long)all->alone_b);
    if (all->count > 1)
        printf("%lld comparisons: of equal pairs one in twenty has p below 0.05 by chance.\n", (long long)all->count);
}

/* ------------------------------------------------------------------------------------------------ JSON */

static json_t *pair_object(const vj_comparison *c)
{
    char verdict[512];
    vj_comparison_verdict(verdict, sizeof verdict, c);
    return json_pack("{s:o, s:o, s:I, s:f, s:[f,f], s:f, s:[f,f], s:f, s:f, s:f, s:[f,f], s:I, s:I, s:I, s:f, s:o}",
                     "a", vj_json_text(c->a->name), "b", vj_json_text(c->b->name), "clips", (json_int_t)c->samples,
                     "top1_a", c->top1_a, "wilson_a", c->low_a, c->high_a, "top1_b", c->top1_b, "wilson_b", c->low_b,
                     c->high_b, "top5_a", c->top5_a, "top5_b", c->top5_b, "difference", c->difference,
                     "bootstrap_interval", c->low, c->high, "both_right", (json_int_t)c->counts.both, "only_a_right",
                     (json_int_t)c->counts.only_a, "only_b_right", (json_int_t)c->counts.only_b, "mcnemar_p", c->p,
                     "verdict", vj_json_text(verdict));
}

static json_t *group_object(const vj_comparisons *all, const vj_comparison_group *g)
{
    char verdict[256] = "One seed: its spread is not known.";
    const vj_head_facts *head = all->pair[g->first].a;
    if (g->count > 1) vj_comparison_group_verdict(verdict, sizeof verdict, g);
    json_t *half = isnan(g->over.half) ? json_null() : json_real(g->over.half);
    json_t *clips = isnan(g->low) ? json_null() : json_pack("[f,f]", g->low, g->high);
    return json_pack("{s:o, s:s, s:f, s:I, s:f, s:f, s:o, s:o, s:s}", "task", vj_json_text(head->task), "kind",
                     head->kind, "labels", head->labels, "seeds", (json_int_t)g->count, "difference_mean", g->over.mean,
                     "difference_std", g->over.sd, "difference_half_width", half, "bootstrap_interval", clips,
                     "verdict", verdict);
}

static vj_status print_json(const vj_comparisons *all)
{
    json_t *pairs = json_array(), *groups = json_array();
    int bad = !pairs || !groups;
    for (int64_t i = 0; !bad && i < all->count; i++)
        bad = json_array_append_new(pairs, pair_object(&all->pair[i])) != 0;
    for (int64_t i = 0; !bad && i < all->group_count; i++)
        bad = json_array_append_new(groups, group_object(all, &all->group[i])) != 0;
    json_t *object = bad ? NULL
                         : json_pack("{s:O, s:O, s:I, s:I}", "comparisons", pairs, "groups", groups, "alone_a",
                                     (json_int_t)all->alone_a, "alone_b", (json_int_t)all->alone_b);
    bad = !object || json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) != 0 || putchar('\n') == EOF;
    json_decref(object);
    json_decref(pairs);
    json_decref(groups);
    return bad ? vj_raise(VJ_ERR_LIBRARY, "the comparison could not be written as JSON") : VJ_OK;
}

static vj_status compare(const vj_run *run, vj_selection *a, vj_selection *b, vj_comparisons *all)
{
    int64_t resamples = 2000, seed = 0;
    VJ_TRY(vj_option_number("--resamples", resamples_text, 1, 10000000, &resamples));
    VJ_TRY(vj_option_number("--seed", seed_text, 0, INT64_MAX, &seed));
    VJ_TRY(vj_selection_open(a, run->files[0]));
    VJ_TRY(vj_selection_open(b, run->files[1]));
    VJ_TRY(vj_compare(all, a, b, resamples, (uint64_t)seed));
    if (as_json) return print_json(all);
    print_text(all, a, b);
    return VJ_OK;
}

int main(int argc, char **argv)
{
    vj_run run;
    vj_selection a = {0}, b = {0};
    vj_comparisons all = {0};
    vj_program_begin(&run, &program, argc, argv);
    const vj_status status = compare(&run, &a, &b, &all);
    vj_comparisons_release(&all);
    vj_selection_release(&a);
    vj_selection_release(&b);
    return vj_program_end(&run, status, VJ_EXIT_DONE);
}
