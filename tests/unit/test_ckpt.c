/* Tests the content of checkpoints on one rank: read back whole and in shares, exported, and compared. */
#include <math.h>

#include "../ckpt_test.h"

static void shares_cover_every_block_once(void **state)
{
    (void)state;
    sample s;
    sample_init(&s, 1, 0);
    for (int size = 1; size <= 40; size++) {
        int64_t end[SAMPLE_TENSORS] = {0};
        for (int rank = 0; rank < size; rank++) {
            vj_ckpt_share(s.tensors, SAMPLE_TENSORS, size, rank);
            for (int i = 0; i < SAMPLE_TENSORS; i++) {
                const vj_ckpt_tensor *t = &s.tensors[i];
                int64_t block = vj_ckpt_block_rows(t) * (sample_elements(t) / t->dim[0]);
                assert_int_equal(t->first, end[i]);
                assert_true(t->last >= t->first);
                assert_true(t->last % block == 0 || t->last == sample_elements(t));
                end[i] = t->last;
            }
        }
        for (int i = 0; i < SAMPLE_TENSORS; i++) assert_int_equal(end[i], sample_elements(&s.tensors[i]));
    }
    assert_int_equal(vj_ckpt_block_rows(&s.tensors[0]), (1 << 20) / 2800);
    assert_int_equal(vj_ckpt_block_rows(&s.tensors[1]), 5);
    assert_int_equal(vj_ckpt_block_rows(&s.tensors[3]), 1);
    sample_release(&s);
}

/* Check that each field that differs is named. The sizes of clips count only if the model has learned positions. */
static void an_architecture(void **state)
{
    static const vj_ckpt_architecture vit = {"vit", "sincos", 48, 2, 3, 192, 8, 2, 3, 0, 1, 1e-6, 4, 32, 40};
    const struct {
        vj_ckpt_architecture other;
        const char *words;
    } cases[] = {
        {{"vit", "sincos", 49, 2, 3, 192, 8, 2, 3, 0, 1, 1e-6, 4, 32, 40}, "model.width 48, the configuration says 49"},
        {{"vit", "sincos", 48, 3, 3, 192, 8, 2, 3, 0, 1, 1e-6, 4, 32, 40}, "model.depth 2, the configuration says 3"},
        {{"vit", "sincos", 48, 2, 4, 192, 8, 2, 3, 0, 1, 1e-6, 4, 32, 40}, "model.heads 3, the configuration says 4"},
        {{"vit", "sincos", 48, 2, 3, 96, 8, 2, 3, 0, 1, 1e-6, 4, 32, 40}, " 192, the configuration says 96"},
        {{"vit", "sincos", 48, 2, 3, 192, 4, 2, 3, 0, 1, 1e-6, 4, 32, 40}, "model.patch 8, the configuration says 4"},
        {{"vit", "sincos", 48, 2, 3, 192, 8, 1, 3, 0, 1, 1e-6, 4, 32, 40}, "model.tubelet 2, the configuration says 1"},
        {{"vit", "sincos", 48, 2, 3, 192, 8, 2, 1, 0, 1, 1e-6, 4, 32, 40}, "channels 3, the configuration says 1"},
        {{"vit", "sincos", 48, 2, 3, 192, 8, 2, 3, 5, 1, 1e-6, 4, 32, 40}, "prefix tokens 0, the configuration says 5"},
        {{"vit", "sincos", 48, 2, 3, 192, 8, 2, 3, 0, 0, 1e-6, 4, 32, 40}, "uniform_power 1, the configuration says 0"},
        {{"vit", "sincos", 48, 2, 3, 192, 8, 2, 3, 0, 1, 1e-5, 4, 32, 40}, "eps 1e-06, the configuration says 1e-05"},
        {{"vit", "rotary", 48, 2, 3, 192, 8, 2, 3, 0, 1, 1e-6, 4, 32, 40},
         "positions sincos, the configuration says ro"},
        {{"hiera", "sincos", 48, 2, 3, 192, 8, 2, 3, 0, 1, 1e-6, 4, 32, 40},
         "architecture vit, the configuration says h"},
    };
    context *c = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int held = hold_messages(c);
        vj_status status = vj_ckpt_check_architecture("a file", &vit, &cases[i].other);
        assert_true(release_messages(c, held, cases[i].words));
        assert_int_equal(status, VJ_ERR_FORMAT);
    }
    vj_ckpt_architecture wider = vit, learned = vit;
    wider.width_px = 48;
    assert_int_equal(vj_ckpt_check_architecture("a file", &vit, &vit), VJ_OK);
    assert_int_equal(vj_ckpt_check_architecture("a file", &vit, &wider), VJ_OK);
    strcpy(learned.positions, "learned");
    strcpy(wider.positions, "learned");
    int held = hold_messages(c);
    vj_status status = vj_ckpt_check_architecture("a file", &learned, &wider);
    assert_true(release_messages(c, held, "data.crop (width) 40, the configuration says 48"));
    assert_int_equal(status, VJ_ERR_FORMAT);

    vj_ckpt_state found, want = sample_state(12);
    vj_ckpt_writer *writer;
    want.architecture = vit;
    assert_int_equal(vj_ckpt_open(&writer, c->s.tensors, SAMPLE_TENSORS, false, MPI_COMM_WORLD), VJ_OK);
    assert_int_equal(vj_ckpt_begin(writer, c->dir, &want, sample_get, &c->s), VJ_OK);
    assert_int_equal(vj_ckpt_commit(writer), VJ_OK);
    vj_ckpt_close(writer);
    assert_int_equal(vj_ckpt_read_state(c->path, &found, VJ_ALONE), VJ_OK);
    assert_memory_equal(&found.architecture, &vit, sizeof vit);
    vj_ckpt_state_release(&found);
}

static void round_trip(void **state)
{
    context *c = *state;
    write_step(c, 12);
    assert_int_equal(read_back(c), VJ_OK);
    assert_true(sample_equal(&c->s, &c->back));

    vj_ckpt_state found, want = sample_state(12);
    assert_int_equal(vj_ckpt_read_state(c->path, &found, VJ_ALONE), VJ_OK);
    assert_int_equal(found.step, want.step);
    assert_int_equal(found.samples, want.samples);
    assert_int_equal(found.seed, want.seed);
    assert_int_equal(found.bad_steps, want.bad_steps);
    assert_int_equal(found.rollbacks, want.rollbacks);
    assert_int_equal(found.skipped_samples, want.skipped_samples);
    assert_true(found.usual_loss == want.usual_loss);
    assert_true(found.store_fingerprint == want.store_fingerprint);
    assert_string_equal(found.config, want.config);
    vj_ckpt_state_release(&found);
    vj_ckpt_state_release(&found);

    assert_true(vj_ckpt_has(c->path, "optimizer/first_moment/wide"));
    assert_false(vj_ckpt_has(c->path, "optimizer/first_moment/narrow"));
    assert_false(vj_ckpt_has(c->path, "nowhere/wide"));
    assert_false(vj_ckpt_has(c->dir, "model"));

    int64_t blocks, damaged;
    assert_int_equal(vj_ckpt_verify(c->path, &blocks, &damaged), VJ_OK);
    assert_int_equal(blocks, 3 + 1 + 1 + 3 + 20); /* 5000 rows at 262 a block */
    assert_int_equal(damaged, 0);
}

/* Check files of versions without roll-backs, which lack three attributes. */
static void older_state_reads_as_zeros(void **state)
{
    context *c = *state;
    write_step(c, 12);
    hid_t file = H5Fopen(c->path, H5F_ACC_RDWR, H5P_DEFAULT), group = H5Gopen2(file, "state", H5P_DEFAULT);
    assert_true(H5Adelete(group, "rollbacks") >= 0 && H5Adelete(group, "skipped_samples") >= 0 &&
                H5Adelete(group, "usual_loss") >= 0);
    H5Gclose(group);
    H5Fclose(file);
    vj_ckpt_state found;
    assert_int_equal(vj_ckpt_read_state(c->path, &found, VJ_ALONE), VJ_OK);
    assert_int_equal(found.bad_steps, sample_state(12).bad_steps);
    assert_int_equal(found.rollbacks, 0);
    assert_int_equal(found.skipped_samples, 0);
    assert_true(found.usual_loss == 0.0);
    vj_ckpt_state_release(&found);
}

static void a_share_reads_only_its_rows(void **state)
{
    context *c = *state;
    write_step(c, 12);
    vj_ckpt_share(c->back.tensors, SAMPLE_TENSORS, 3, 1);
    assert_int_equal(read_back(c), VJ_OK);
    for (int i = 0; i < SAMPLE_TENSORS; i++) {
        const vj_ckpt_tensor *t = &c->back.tensors[i];
        const float *got = t->data, *want = c->s.tensors[i].data;
        for (int64_t j = 0; j < sample_elements(t); j++) {
            float expected = j >= t->first && j < t->last ? want[j] : 0.0f;
            if (memcmp(&got[j], &expected, 4) != 0) fail_msg("%s[%lld]", t->name, (long long)j);
        }
    }
}

/* Round x to the nearest bf16 number; of two that are equally near to the one whose last bit is 0. */
static float nearest_bf16(float x)
{
    uint32_t bits;
    float low, high;
    memcpy(&bits, &x, 4);
    uint32_t down = bits & 0xffff0000u, up = down + 0x10000u;
    memcpy(&low, &down, 4);
    memcpy(&high, &up, 4);
    if (!isfinite(x)) return x;
    double to_low = fabs((double)x - (double)low), to_high = fabs((double)high - (double)x);
    if (to_low != to_high) return to_low < to_high ? low : high;
    return down >> 16 & 1 ? high : low;
}

static void export_to(context *c, const char *to, vj_ckpt_type type)
{
    assert_int_equal(vj_ckpt_export(c->path, to, type), VJ_OK);
    assert_true(vj_ckpt_has(to, "model/encoder/norm.bias"));
    assert_false(vj_ckpt_has(to, "model/predictor/patch_embed.proj.weight"));
    assert_false(vj_ckpt_has(to, "optimizer/first_moment/wide"));
    int64_t blocks, damaged;
    assert_int_equal(vj_ckpt_verify(to, &blocks, &damaged), VJ_OK);
    assert_int_equal(blocks, 3 + 1);
    assert_int_equal(damaged, 0);
    vj_ckpt_state found;
    assert_int_equal(vj_ckpt_read_state(to, &found, VJ_ALONE), VJ_OK);
    assert_int_equal(found.step, 12);
    vj_ckpt_state_release(&found);
    for (int i = 0; i < 2; i++) memset(c->back.tensors[i].data, 0, (size_t)sample_elements(&c->back.tensors[i]) * 4);
    assert_int_equal(vj_ckpt_read(to, c->back.tensors, 2, sample_put, NULL, VJ_ALONE), VJ_OK);
}

static void encoders_are_exported(void **state)
{
    context *c = *state;
    char to[VJ_PATH + 32];
    snprintf(to, sizeof to, "%s/encoder.h5", c->dir);
    float *values = c->s.tensors[0].data; /* halfway between two numbers, of which the lower or the upper is even;
                                             overflow; infinite; tiny; NaN */
    const uint32_t special[] = {0x3f808000u, 0x3f818000u, 0x7f7fffffu, 0xff800000u, 0x00000001u, 0x7f800001u};
    memcpy(values + 10, special, sizeof special);
    write_step(c, 12);
    export_to(c, to, VJ_CKPT_F32);
    for (int i = 0; i < 2; i++)
        assert_memory_equal(c->back.tensors[i].data, c->s.tensors[i].data,
                            (size_t)sample_elements(&c->s.tensors[i]) * 4);
    int held = hold_messages(c);
    vj_status status = vj_ckpt_export(c->path, to, VJ_CKPT_BF16);
    assert_true(release_messages(c, held, "encoder.h5 exists"));
    assert_int_equal(status, VJ_ERR_USAGE);

    unlink(to);
    export_to(c, to, VJ_CKPT_BF16);
    for (int i = 0; i < 2; i++)
        for (int64_t j = 0; j < sample_elements(&c->s.tensors[i]); j++) {
            float got = ((float *)c->back.tensors[i].data)[j], x = ((float *)c->s.tensors[i].data)[j];
            float want = i == 0 && j == 12 ? INFINITY : nearest_bf16(x);
            if (!(got == want) && !(isnan(got) && isnan(want)))
                fail_msg("tensor %d, %lld: %a became %a, not %a", i, (long long)j, (double)x, (double)got,
                         (double)want);
        }
    /* HDF5's conversion, which h5py and h5dump use, reads the same numbers. */
    hid_t file = H5Fopen(to, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, c->s.tensors[1].name, H5P_DEFAULT);
    float five[5];
    assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, five) >= 0);
    assert_memory_equal(five, c->back.tensors[1].data, sizeof five);
    H5Dclose(set);
    H5Fclose(file);

    unlink(to);
    flip(c->path, data_offset(c->path, c->s.tensors[0].name) + 1000); /* damaged data are not exported */
    held = hold_messages(c);
    status = vj_ckpt_export(c->path, to, VJ_CKPT_BF16);
    assert_true(release_messages(c, held, "is damaged"));
    assert_int_equal(status, VJ_ERR_FORMAT);
    assert_false(exists(to));
    assert_false(has_part(c->dir));
}

static void compared(void **state)
{
    context *c = *state;
    char other[VJ_PATH + 32], report[4096] = "";
    step_path(other, c->dir, 13);
    write_step(c, 12);
    ((float *)c->s.tensors[4].data)[4999999] += 0.25f;
    c->s.tensors[2].ndim = 4; /* [7, 3, 2, 4] */
    c->s.tensors[2].last = 168;
    strcpy(c->s.tensors[1].name, "model/encoder/norm-bias");
    write_step(c, 13);

    assert_int_equal(differences(c->path, c->path, report, sizeof report), 0);
    assert_string_equal(report, "5 tensors equal, 0 different\n");

    assert_int_equal(differences(c->path, other, report, sizeof report), 4);
    const char *const words[] = {"state step: 12, 13\n",
                                 "state samples: 288, 312\n",
                                 "model/encoder/norm.bias: only in",
                                 "model/encoder/norm-bias: only in",
                                 "dimensions [7, 3, 2, 4, 4], [7, 3, 2, 4]\n",
                                 "optimizer/first_moment/long: 1 of 5000000 elements differ, by at most 0.25\n",
                                 "2 tensors equal, 4 different\n"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strstr(report, words[i])) fail_msg("no \"%s\" in: %s", words[i], report);

    FILE *out = fmemopen(report, sizeof report, "w");
    assert_int_equal(vj_ckpt_print(other, out), VJ_OK);
    fclose(out);
    assert_non_null(strstr(report, "step       13\n"));
    assert_non_null(strstr(report, "[5000, 1000]\n"));
}

/* Check that a NaN remains the largest difference when a small difference follows. */
static void a_nan_is_the_largest_difference(void **state)
{
    context *c = *state;
    char other[VJ_PATH + 32], report[4096] = "";
    step_path(other, c->dir, 13);
    write_step(c, 12);
    float *values = c->s.tensors[4].data;
    values[17] = NAN;
    values[4999999] += 0.25f;
    write_step(c, 13);
    assert_int_equal(differences(c->path, other, report, sizeof report), 1);
    assert_non_null(strstr(report, "2 of 5000000 elements differ, by at most nan\n"));
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_cover_every_block_once),
        CASE(an_architecture),
        CASE(round_trip),
        CASE(older_state_reads_as_zeros),
        CASE(a_share_reads_only_its_rows),
        CASE(encoders_are_exported),
        CASE(compared),
        CASE(a_nan_is_the_largest_difference),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
