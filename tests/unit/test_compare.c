/* Tests the comparison of predictions: counts and verdicts on made-up ones, the same samples in another order or store,
 * and refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../folder.h"
#include "parallel/parallel.h"
#include "probe/compare.h"

enum { N = 200, CLASSES = 3 };

static char folder[VJ_PATH], path[2][VJ_PATH + 32];

static int prepare(void **state)
{
    (void)state;
    make_folder(folder);
    for (int i = 0; i < 2; i++) snprintf(path[i], sizeof path[i], "%s/%c.h5", folder, 'a' + i);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) unlink(path[i]);
    return rmdir(folder);
}

/* What is different in a file from the plain one. */
typedef struct {
    uint64_t store;
    int wrong_from, wrong_to; /* samples [from, to) are wrong; each further seed has as many more wrong ones */
    int backwards, seeds;
    int drop, other_label; /* 1 + the index of a sample that is left out, or that has another label; 0: none */
    int no_content;
    const char *names; /* of the three classes, 4 bytes each; NULL: the classes have no names */
} variant;

#define PLAIN .store = 1, .seeds = 1

static void write_file(const char *to, const variant *v)
{
    vj_head_facts heads[4] = {0};
    vj_predictions_writer *w;
    vj_prediction rows[N];
    uint64_t digest[4] = {0};
    const vj_clips_classes classes = {v->names ? CLASSES : 0, 4, (char *)(uintptr_t)v->names};
    const vj_task_classes task = {"shape", &classes};
    for (int s = 0; s < v->seeds; s++) {
        heads[s] = (vj_head_facts){.task = "shape",
                                   .encoder = "e",
                                   .kind = "average",
                                   .labels = 100,
                                   .seed = (uint64_t)s,
                                   .store_digest = v->store,
                                   .counted = N - (v->drop > 0),
                                   .classes = CLASSES};
        vj_head_name(&heads[s]);
    }
    assert_int_equal(vj_predictions_create(&w, to, heads, v->seeds, &task, 1, "", VJ_ALONE), VJ_OK);
    for (int s = 0; s < v->seeds; s++) {
        int n = 0;
        for (int k = 0; k < N; k++) {
            const int i = v->backwards ? N - 1 - k : k;
            double scores[CLASSES] = {0}, memory[2 * CLASSES];
            if (i + 1 == v->drop) continue;
            rows[n] =
                (vj_prediction){.clip = v->store == 1 ? i : 1000 - i, .content = v->no_content ? 0 : 7u + (unsigned)i};
            rows[n].label = i + 1 == v->other_label ? (i + 1) % CLASSES : i % CLASSES;
            const int wrong = i >= v->wrong_from && i < v->wrong_to + s;
            scores[(rows[n].label + wrong) % CLASSES] = 1.0;
            assert_int_equal(vj_predict(&rows[n], memory, scores, 1, CLASSES), VJ_OK);
            n++;
        }
        assert_int_equal(vj_predictions_write(w, s, 0, n, rows), VJ_OK);
    }
    assert_int_equal(vj_predictions_commit(w, VJ_OK, digest), VJ_OK);
}

/* Write files of two variants and compare them; `why` gets the message if they are refused. */
static vj_status compare(vj_comparisons *c, const variant *a, const variant *b, char *why, size_t bytes)
{
    static vj_selection one, two;
    write_file(path[0], a);
    write_file(path[1], b);
    vj_selection_release(&one);
    vj_selection_release(&two);
    vj_status_divert(why, bytes);
    vj_status status = vj_selection_open(&one, path[0]);
    if (status == VJ_OK) status = vj_selection_open(&two, path[1]);
    if (status == VJ_OK) status = vj_compare(c, &one, &two, 1000, 3);
    vj_status_divert(NULL, 0);
    return status;
}

static void counts_and_verdicts(void **state)
{
    (void)state;
    vj_comparisons c;
    char text[512];
    /* A is wrong on clips 0 to 9 and B on 5 to 44, so only B is right on 5 clips and only A on 35. */
    assert_int_equal(compare(&c, &(variant){PLAIN, .wrong_to = 10}, &(variant){PLAIN, .wrong_from = 5, .wrong_to = 45},
                             text, sizeof text),
                     VJ_OK);
    const vj_comparison *p = &c.pair[0];
    assert_true(c.count == 1 && p->samples == N && p->counts.only_a == 35 && p->counts.only_b == 5 &&
                p->counts.both == 155);
    assert_true(p->top1_a == 95.0 && p->top1_b == 80.0 && p->top5_a == 100.0 && p->difference == 15.0);
    assert_true(p->p == vj_mcnemar(35, 5) && p->p < 1e-5);
    /* The standard error is sqrt((0.2 - 0.15^2) / 200) = 2.98 points. */
    assert_true(p->low > 8.0 && p->low < 10.5 && p->high > 19.5 && p->high < 22.0);
    vj_comparison_verdict(text, sizeof text, p);
    assert_non_null(strstr(text, "A is better: of the 40 clips that only one has right, it has 35."));
    vj_comparisons_release(&c);

    assert_int_equal(compare(&c, &(variant){PLAIN, .wrong_to = 5}, &(variant){PLAIN, .wrong_from = 50, .wrong_to = 53},
                             text, sizeof text),
                     VJ_OK);
    vj_comparison_verdict(text, sizeof text, &c.pair[0]);
    assert_non_null(strstr(text, "No difference can be told from these 200 clips"));
    vj_comparisons_release(&c);

    assert_int_equal(compare(&c, &(variant){PLAIN, .wrong_to = 5}, &(variant){PLAIN, .wrong_to = 5}, text, sizeof text),
                     VJ_OK);
    vj_comparison_verdict(text, sizeof text, &c.pair[0]);
    assert_non_null(strstr(text, "right on the same clips: no difference"));
    vj_comparisons_release(&c);
}

/* A is wrong on 10, 11 and 12 clips and B on 20, 21 and 22, so the difference is 5 points for each seed. */
static void seeds_are_paired(void **state)
{
    (void)state;
    vj_comparisons c;
    char text[512];
    const variant b = {PLAIN, .wrong_to = 20};
    variant a = {PLAIN, .wrong_to = 10}, three = b;
    a.seeds = three.seeds = 3;
    assert_int_equal(compare(&c, &a, &three, text, sizeof text), VJ_OK);
    assert_true(c.count == 3 && c.group_count == 1 && c.group[0].count == 3);
    assert_true(fabs(c.group[0].over.mean - 5.0) < 1e-12 && c.group[0].over.sd < 1e-12);
    /* Only A is right on ten clips, in all or nearly all seeds. The standard error over clips is 1.54 points. */
    assert_true(c.group[0].low > 1.0 && c.group[0].low < 3.0 && c.group[0].high > 7.0 && c.group[0].high < 9.0);
    assert_true(c.group[0].p_least == vj_mcnemar(10, 0) && c.group[0].p_most == vj_mcnemar(10, 0));
    vj_comparison_group_verdict(text, sizeof text, &c.group[0]);
    assert_string_equal(text, "A is better beyond what seeds explain.");
    vj_comparisons_release(&c);
    a.seeds = 2;
    assert_int_equal(compare(&c, &a, &three, text, sizeof text), VJ_OK);
    assert_true(c.count == 2 && c.alone_a == 0 && c.alone_b == 1);
    vj_comparisons_release(&c);
}

static void order_and_store_do_not_matter(void **state)
{
    (void)state;
    vj_comparisons c;
    char why[512];
    variant other = {PLAIN, .wrong_to = 30, .backwards = 1};
    for (int store = 1; store <= 2; store++) {
        other.store = (uint64_t)store;
        assert_int_equal(compare(&c, &(variant){PLAIN, .wrong_to = 10}, &other, why, sizeof why), VJ_OK);
        assert_true(c.pair[0].counts.only_a == 20 && c.pair[0].counts.only_b == 0);
        vj_comparisons_release(&c);
    }
}

static void other_samples_are_refused(void **state)
{
    (void)state;
    static const struct {
        variant a, b;
        const char *says;
    } cases[] = {
        {{PLAIN}, {PLAIN, .drop = 18, .backwards = 1}, "clip 17 is in "},
        {{PLAIN, .drop = N}, {PLAIN}, "clip 199 is in "},
        {{PLAIN, .drop = 4}, {PLAIN, .drop = 5}, "clip 3 is in "},
        {{PLAIN}, {PLAIN, .other_label = 6}, "clip 5 is of class 2 in "},
        {{PLAIN}, {.store = 2, .seeds = 1, .no_content = 1}, "no checksums of clips"},
        {{PLAIN, .names = "a\0\0\0b\0\0\0c\0\0"},
         {PLAIN, .names = "a\0\0\0c\0\0\0b\0\0"},
         "class 1 of shape is 'b' in "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vj_comparisons c;
        char why[1024];
        assert_int_equal(compare(&c, &cases[i].a, &cases[i].b, why, sizeof why), VJ_ERR_USAGE);
        if (!strstr(why, cases[i].says)) fail_msg("case %zu says: %s", i, why);
        vj_comparisons_release(&c);
    }
}

#define FRESH(test) cmocka_unit_test_setup_teardown(test, prepare, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(counts_and_verdicts),
        FRESH(seeds_are_paired),
        FRESH(order_and_store_do_not_matter),
        FRESH(other_samples_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
