/*
 * Tests settings: a printed configuration reads back to the same bytes, for every shipped file and for random values;
 * every mistake is refused with its place, its key and what is allowed.
 */
#include <dirent.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/settings.h"

static char folder[] = "/tmp/vjepa_config_XXXXXX";
static char path[64], error_path[64];
static char message[8192]; /* the message of the last call that was refused */

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/x.yaml", folder);
    snprintf(error_path, sizeof error_path, "%s/stderr", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    unlink(error_path);
    return rmdir(folder);
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Between these two calls standard error is written to a file, whose text is then copied to `message`. */
static int saved_stderr;
static void listen_begin(void)
{
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    assert_non_null(freopen(error_path, "w+", stderr));
}
static void listen_end(void)
{
    rewind(stderr);
    size_t bytes = fread(message, 1, sizeof message - 1, stderr);
    message[bytes] = '\0';
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
}

static vj_status read_text(vj_config *config, const char *text)
{
    write_file(text);
    vj_config_defaults(config);
    listen_begin();
    vj_status status = vj_config_read(config, path);
    if (status == VJ_OK) status = vj_config_check(config);
    listen_end();
    return status;
}

static vj_status check(vj_config *config)
{
    listen_begin();
    vj_status status = vj_config_check(config);
    listen_end();
    return status;
}

static void expect(const char *what, const char *part)
{
    if (strstr(message, part)) return;
    fail_msg("for\n%s\nthe message lacks \"%s\":\n%s", what, part, message);
}

/* Check that two configurations are equal except for where their settings came from. */
static void assert_same(const vj_config *a, const vj_config *b)
{
    assert_memory_equal(a, b, offsetof(vj_config, origin));
}

/* ------------------------------------------------------------------------------------------------ round trips */

static void round_trip(const vj_config *config)
{
    static vj_config again;
    char *text = vj_config_text(config);
    assert_non_null(text);
    write_file(text);
    vj_config_defaults(&again);
    assert_int_equal(vj_config_read(&again, path), VJ_OK);
    assert_same(config, &again);
    char *second = vj_config_text(&again);
    assert_string_equal(text, second);
    free(text);
    free(second);
}

static void shipped_files_round_trip(void **state)
{
    static vj_config config, checked;
    const char *source = getenv("VJEPA_SOURCE");
    char name[PATH_MAX];
    int count = 0;
    (void)state;
    if (!source) source = ".";
    snprintf(name, sizeof name, "%s/jobs/configs", source);
    DIR *configs = opendir(name);
    assert_non_null(configs);
    for (struct dirent *entry; (entry = readdir(configs)) != NULL;) {
        if (!strstr(entry->d_name, ".yaml")) continue;
        snprintf(name, sizeof name, "%s/jobs/configs/%s", source, entry->d_name);
        vj_config_defaults(&config);
        assert_int_equal(vj_config_read(&config, name), VJ_OK);
        round_trip(&config);
        assert_int_equal(vj_config_check(&config), VJ_OK);
        round_trip(&config);
        checked = config;
        assert_int_equal(vj_config_check(&config), VJ_OK); /* a second check changes nothing */
        assert_same(&config, &checked);
        count++;
    }
    closedir(configs);
    assert_true(count >= 4);
}

/* Check the numbers of docs/method.md, section 13, so that the file and the defaults stay equal. */
static void published_numbers(void **state)
{
    static vj_config config, file;
    char name[PATH_MAX];
    (void)state;
    snprintf(name, sizeof name, "%s/jobs/configs/vitl16_224.yaml",
             getenv("VJEPA_SOURCE") ? getenv("VJEPA_SOURCE") : ".");
    vj_config_defaults(&config);
    vj_config_defaults(&file);
    assert_int_equal(vj_config_read(&file, name), VJ_OK);
    assert_memory_equal(&config.model, &file.model, sizeof config.model);
    assert_memory_equal(&config.mask, &file.mask, sizeof config.mask);
    assert_memory_equal(&config.objective, &file.objective, sizeof config.objective);
    assert_memory_equal(&config.optimizer, &file.optimizer, sizeof config.optimizer);
    assert_int_equal(vj_config_check(&config), VJ_OK);
    assert_int_equal(config.model.width, 1024);
    assert_int_equal(config.model.depth, 24);
    assert_int_equal(config.predictor.heads, 16);
    assert_int_equal(config.train.batch, 3072);
    assert_int_equal(config.mask.count, 2);
    assert_int_equal(config.mask.generator[1].blocks, 2);
    assert_true(config.mask.generator[1].spatial_scale[0] == 0.7);
    assert_true(config.optimizer.lr == 6.25e-4 && config.optimizer.ema[0] == 0.998);
}

static double random_number(vj_rng *rng, const vj_setting *row)
{
    double low = strtod(row->allowed + 1, NULL), high = strtod(strchr(row->allowed, ',') + 1, NULL), value;
    if (vj_setting_has_auto(row) && vj_rng_below(rng, 4) == 0) return VJ_AUTO;
    if (vj_rng_below(rng, 4) == 0) low = high > 1 ? low : high / 1024, high = low + (high - low) / 1e6; /* small ones */
    do value = low + vj_rng_uniform(rng) * (high - low);
    while (!vj_setting_allows(row, value));
    return value;
}

static void random_text(vj_rng *rng, const vj_setting *row, char text[VJ_PATH])
{
    static const char *const pieces[] = {"a",    "/", " ", "\"",   "\\", "\n",       "\t",           ": ",
                                         " #",   "'", "[", "{",    "\r", "\xc2\x85", "\xe2\x80\xa8", "\xc3\xa9",
                                         "\x7f", "%", "&", "true", "~"};
    int length;
    memset(text, 0, row->bytes < VJ_PATH ? row->bytes : VJ_PATH);
    if (*row->allowed) {
        int count = 1;
        for (const char *at = row->allowed; (at = strchr(at, '|')) != NULL; at++) count++;
        const char *word = vj_choice_word(row->allowed, (int)vj_rng_below(rng, count), &length);
        memcpy(text, word, (size_t)length);
        return;
    }
    for (int64_t n = vj_rng_below(rng, 100); n > 0 && strlen(text) + 4 < row->bytes; n--)
        strcat(text, pieces[vj_rng_below(rng, sizeof pieces / sizeof pieces[0])]);
}

static void random_value(vj_rng *rng, const vj_setting *row, void *base);

/* Draw list items of all kinds; settings that a kind does not have get their defaults. */
static void random_maps(vj_rng *rng, const vj_setting *list, vj_config *config)
{
    const vj_maps *maps = vj_maps_of(list);
    static vj_config one;
    const vj_setting *choice = &maps->rows[maps->kind];
    int count = (int)vj_rng_below(rng, maps->max_items + 1), kinds = 1, length;
    for (const char *at = choice->allowed; (at = strchr(at, '|')) != NULL; at++) kinds++;
    memset((char *)config + list->at, 0, (size_t)maps->max_items * maps->bytes);
    for (int n = 0; n < count; n++) {
        char assignment[128], *item = (char *)config + list->at + (size_t)n * maps->bytes;
        int kind = (int)vj_rng_below(rng, kinds);
        const char *word = vj_choice_word(choice->allowed, kind, &length);
        snprintf(assignment, sizeof assignment, "%s=[{%s%s: %.*s}]", list->key, maps->kind ? "name: a, " : "",
                 choice->key, length, word);
        vj_config_defaults(&one);
        assert_int_equal(vj_config_set(&one, assignment), VJ_OK);
        memcpy(item, (char *)&one + list->at, maps->bytes);
        for (int i = 0; i < maps->count; i++)
            if (i != maps->kind && maps->rows[i].kinds & 1U << kind) random_value(rng, &maps->rows[i], item);
    }
    *(int *)((char *)config + maps->count_at) = count;
}

static void random_value(vj_rng *rng, const vj_setting *row, void *base)
{
    char *value = (char *)base + row->at;
    double *list = (double *)value, swap;
    vj_strings *texts = (vj_strings *)value;
    int *count;
    switch (row->type) {
    case VJ_SET_INTEGER: {
        double low = strtod(row->allowed + 1, NULL), high = strtod(strchr(row->allowed, ',') + 1, NULL);
        int64_t drawn = (int64_t)low + vj_rng_below(rng, (int64_t)(high - low) + 1);
        if (row->bytes == sizeof(int))
            *(int *)value = (int)drawn;
        else
            *(int64_t *)value = drawn;
        break;
    }
    case VJ_SET_CHOICE:
        *(int *)value = vj_choice_find(row->allowed, "true") == 1 && vj_rng_below(rng, 2);
        break;
    case VJ_SET_TEXT:
        random_text(rng, row, value);
        break;
    case VJ_SET_TEXTS:
        memset(texts, 0, sizeof *texts);
        texts->count = (int)vj_rng_below(rng, VJ_MAX_LIST + 1);
        for (int i = 0; i < texts->count; i++)
            random_text(rng, &(vj_setting){.allowed = row->allowed, .bytes = VJ_PATH}, texts->item[i]);
        break;
    case VJ_SET_SHARES:
        count = (int *)(list + VJ_MAX_MASKS);
        *count = (int)vj_rng_below(rng, VJ_MAX_MASKS + 1);
        for (int i = 0; i < VJ_MAX_MASKS; i++) list[i] = i < *count ? random_number(rng, row) : 0;
        break;
    case VJ_SET_NUMBER:
    case VJ_SET_RANGE:
    case VJ_SET_VECTOR:
        for (size_t i = 0; i < row->bytes / sizeof(double); i++) list[i] = random_number(rng, row);
        if (row->type == VJ_SET_RANGE && list[0] > list[1]) swap = list[0], list[0] = list[1], list[1] = swap;
        break;
    case VJ_SET_GENERATORS:
    case VJ_SET_DATASETS:
        random_maps(rng, row, base);
        break;
    }
}

static void random_values_round_trip(void **state)
{
    static vj_config config;
    vj_rng rng;
    (void)state;
    for (int trial = 0; trial < 200; trial++) {
        vj_rng_init(&rng, 1, VJ_RNG_TEST, (uint64_t)trial);
        vj_config_defaults(&config);
        for (int i = 0; i < vj_settings_count; i++) random_value(&rng, &vj_settings[i], &config);
        round_trip(&config);
    }
}

static void empty_files(void **state)
{
    static vj_config config, defaults;
    static const char *const texts[] = {"", "# nothing\n", "---\n", "{}\n", "run:\nmodel: # nothing here either\n"};
    (void)state;
    vj_config_defaults(&defaults);
    assert_int_equal(vj_config_check(&defaults), VJ_OK);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(read_text(&config, texts[i]), VJ_OK);
        assert_same(&config, &defaults);
    }
}

/* ------------------------------------------------------------------------------------------------ mistakes */

static const struct {
    const char *yaml, *place, *part; /* place: the text that follows the file's name in the message */
} mistakes[] = {
    /* unknown */
    {"model:\n  widht: 3\n", ":2: model.widht: ", "did you mean model.width?"},
    {"run:\n  seed: 1\nmodle:\n  width: 3\n", ":3: modle: ", "did you mean model?"},
    {"model:\n  zzzzzzzz: 3\n", ":2: model.zzzzzzzz: ", "size, width, depth, heads"},
    {"model:\n  crop: 3\n", ":2: model.crop: ", "did you mean data.crop?"},
    {"mask:\n  generators:\n    - kind: tube\n      ratoi: 1\n", ":4: mask.generators[0]: ratoi",
     "did you mean ratio?"},
    {"mask:\n  generators:\n    - kind: tube\n      qqqqqqqqqq: 1\n", ":4: mask.generators[0]: ", "max_temporal_keep"},
    /* twice */
    {"model:\n  depth: 3\n  heads: 3\n  depth: 3\n", ":4: model: depth is given twice", "line 2"},
    {"run:\n  seed: 3\nrun:\n  seed: 4\n", ":3: run is given twice", "line 1"},
    {"mask:\n  generators:\n    - {kind: tube, ratio: 0.5, ratio: 0.6}\n", ":3: mask.generators[0]: ", "given twice"},
    /* types */
    {"run:\n  seed: abc\n", ":2: run.seed: 'abc'", "an integer in [0, 9007199254740992]"},
    {"run:\n  seed: 1.5\n", ":2: run.seed: '1.5'", "integer"},
    {"run:\n  seed: \"1\"\n", ":2: run.seed: the quoted text '1'", "integer"},
    {"run:\n  seed: 99999999999999999999\n", ":2: run.seed: ", "integer"},
    {"run:\n  seed:\n", ":2: run.seed: ''", "integer"},
    {"run:\n  seed: [1]\n", ":2: run.seed: a list", "integer"},
    {"run:\n  dir:\n", ":2: run.dir: has no value", "\"\""},
    {"run:\n  dir: ~\n", ":2: run.dir: has no value", "\"\""},
    {"data:\n  train: [a, null]\n", ":2: data.train: has no value", "\"\""},
    {"run:\n  dir: {a: b}\n", ":2: run.dir: a map", "a text"},
    {"data:\n  flip: yes\n", ":2: data.flip: 'yes'", "a number in [0, 1]"},
    {"data:\n  flip: nan\n", ":2: data.flip: 'nan'", "a number"},
    {"data:\n  flip: 0x1\n", ":2: data.flip: '0x1'", "a number"},
    {"data:\n  train: a.clips\n", ":2: data.train: 'a.clips'", "a list of texts"},
    {"data:\n  train: [a, [b]]\n", ":2: data.train: a list", "texts"},
    {"data:\n  mean: [0.1, 0.2]\n", ":2: data.mean: has 2 items", "it takes 3"},
    {"model:\n  init: 1\n", ":2: model.init: '1'", "published | fan_in"},
    {"model:\n  size: larg\n", ":2: model.size: 'larg'", "tiny | small | base | large"},
    {"model:\n  uniform_power: 1\n", ":2: model.uniform_power: '1'", "false | true"},
    {"probe:\n  pooling: [max]\n", ":2: probe.pooling: 'max'", "attentive | average"},
    {"probe:\n  labels: 100\n", ":2: probe.labels: ", "a list of numbers in (0, 100]"},
    {"probe:\n  labels: [1, 2, 3, 4, 5, 6, 7, 8, 9]\n", ":2: probe.labels: has 9 items", "at most 8"},
    {"model: 3\n", ":1: model: is a section", "key: value"},
    {"nothing:\n  width: 8\n", ":1: nothing: unknown section", "there are run, pack, data"},
    {"run.seed: 1\n", ":1: run.seed: unknown section", "as in {run: {seed: VALUE}}"},
    {"- run\n", ":1: not a map of sections", ""},
    {"mask:\n  generators: {kind: tube}\n", ":2: mask.generators: a map", "a list of maps"},
    {"mask:\n  generators: [tube]\n", ":2: mask.generators[0]: is not a map", "kind"},
    {"mask:\n  generators: [{ratio: 0.5}]\n", ":2: mask.generators[0]: kind is missing", "multiblock | causal | tube"},
    {"mask:\n  generators:\n    - kind: tube\n      blocks: 3\n", ":4: mask.generators[0]: blocks", "kind tube"},
    {"mask:\n  generators:\n    - kind: tube\n    - kind: multiblock\n      ratio: 0.5\n",
     ":5: mask.generators[1]: ratio", "kind multiblock"},
    {"pack:\n  datasets:\n    - name: a\n      lst: b\n", ":4: pack.datasets[0]: lst", "did you mean list?"},
    {"pack:\n  datasets: [{list: b}]\n", ":2: pack.datasets[0]: name is missing", "a text"},
    {"pack:\n  datasets: [{name: a, format: csw}]\n", ":2: pack.datasets[0].format: 'csw'", "csv | json"},
    {"pack:\n  datasets:\n    - {name: a, list: b}\n    - {name: a, format: folder, list: b}\n",
     ":4: pack.datasets[1]: list", "format folder"},
    {"pack:\n  datasets: [{name: a=b, list: c}]\n", ":2: pack.datasets[0].name", "letters"},
    {"pack:\n  datasets: [{name: a, format: imagenet}]\n", ":2: pack.datasets[0].root", "folder"},
    {"pack:\n  datasets: [{name: a}]\n", ":2: pack.datasets[0].list", "missing"},
    {"pack:\n  lists: [a]\n  datasets: [{name: a, list: b}]\n", ":2: pack.lists: stands beside", "(line 3)"},
    /* ranges */
    {"data:\n  flip: 1.01\n", ":2: data.flip: '1.01'", "[0, 1]"},
    {"data:\n  flip: 1e999\n", ":2: data.flip: '1e999'", "[0, 1]"},
    {"optimizer:\n  final_lr: -1e-6\n", ":2: optimizer.final_lr: '-1e-6'", "a number in [0, "},
    {"optimizer:\n  ema: [0.99, 1.1]\n", ":2: optimizer.ema: '1.1'", "[0, 1]"},
    {"optimizer:\n  lr: 1.0e-3\n  ema: [1.0, 0.99]\n", ":3: optimizer.ema: ", "[low, high]"},
    {"data:\n  crop_scale: [0.0, 1.0]\n", ":2: data.crop_scale: '0.0'", "(0, 1]"},
    {"data:\n  crop_scale: [0.9, 0.3]\n", ":2: data.crop_scale: ", "above the second"},
    {"parallel:\n  zero: 2\n", ":2: parallel.zero: '2'", "[0, 1]"},
    {"mask:\n  generators:\n    - {kind: tube, ratio: 1.0}\n", ":3: mask.generators[0].ratio: '1.0'", "(0, 1)"},
    {"mask:\n  generators:\n    - {kind: multiblock, spatial_scale: [0.5, 1.5]}\n",
     ":3: mask.generators[0].spatial_scale: '1.5'", "(0, 1]"},
    {"run:\n  max_hours: automatic\n", ":2: run.max_hours: 'automatic' is not allowed", "[0, 100000] | auto"},
    {"run:\n  max_hours: -1\n", ":2: run.max_hours: '-1' is not allowed", "[0, 100000] | auto"},
    {"run:\n  watchdog_s: auto\n", ":2: run.watchdog_s: 'auto' is not allowed", "[-1, 1000000000]"},
    /* combinations */
    {"model:\n  size: tiny\n  width: 200\n", ":3: model.width: 200 contradicts",
     "tiny, which has 192; use model.size custom"},
    {"model:\n  width: 200\n", ":2: model.width: 200 contradicts model.size large", "1024"},
    {"model:\n  size: giant\n  mlp_ratio: 4\n", ":3: model.mlp_ratio: ", "4.36363636"},
    {"model:\n  size: custom\n  depth: 2\n  heads: 2\n", ":2: model.width: ", "custom"},
    {"model: {size: custom, depth: 2, heads: 3, width: 64}\n", ":1: model.width: 64 ", "a multiple of model.heads, 3"},
    {"model: {size: custom, depth: 2, heads: 3, width: 63}\n", ":1: model.width: 63 is odd", "even"},
    {"model:\n  uniform_power: false\n  size: custom\n  depth: 2\n  heads: 2\n  width: 36\n",
     ":6: model.width: 36 is not a multiple of 8", "(line 2)"},
    {"predictor:\n  width: 100\n", ":2: predictor.width: 100 ", "predictor.heads, 16"},
    {"model:\n  uniform_power: false\npredictor:\n  width: 36\n  heads: 2\n", ":4: predictor.width: 36 ", "8"},
    {"data:\n  crop: 225\n", ":2: data.crop: 225 ", "a multiple of model.patch, 16"},
    {"model:\n  patch: 15\n", ":2: data.crop: 224 ", "model.patch, 15"},
    {"data:\n  frames: 15\n", ":2: data.frames: 15 ", "model.tubelet, 2"},
    {"train:\n  batch: 10\n  microbatch: 4\n", ":2: train.batch: 10 ", "train.microbatch, 4 (line 3)"},
    {"train:\n  epochs: 1\n  stop_after: 301\n", ":3: train.stop_after: 301 ", "300"},
    {"run:\n  watchdog_s: 30\ndata:\n  io_patience_s: 30\n", ":4: data.io_patience_s: 30 is not less",
     "run.watchdog_s, 30"},
    {"checkpoint:\n  every: 200\n  keep_every: 300\n", ":3: checkpoint.keep_every: 300 ",
     "checkpoint.every, 200 (line 2)"},
    {"mask:\n  generators: []\n", ":2: mask.generators: none is given", "at least one"},
    {"mask:\n  generators:\n    - kind: tube\n    - kind: causal\n", ":4: mask.generators[1].max_temporal_keep",
     "below 1"},
    {"data:\n  frames: 2\nmask:\n  generators:\n    - {kind: causal, max_temporal_keep: 0.5}\n",
     ":5: mask.generators[0].kind: causal", "two model.tubelet"},
    {"mask:\n  generators:\n    - {kind: multiblock, max_temporal_keep: 0.5}\n",
     ":3: mask.generators[0].max_temporal_keep", "causal"},
    {"mask:\n  generators:\n    - {kind: tube, ratio: 0.9999}\n", ":3: mask.generators[0].ratio", "no context"},
    {"objective:\n  kind: pixel\n  loss_exp: 2\n", ":3: objective.loss_exp: ", "pixel"},
    {"objective:\n  kind: pixel\n  reg_coeff: 1\n", ":3: objective.reg_coeff: ", "pixel"},
    {"objective:\n  normalise_pixels: false\n", ":2: objective.normalise_pixels: ", "feature"},
    {"probe:\n  pooling: []\n", ":2: probe.pooling: is empty", "attentive"},
    {"probe:\n  labels: []\n", ":2: probe.labels: is empty", "[100]"},
    {"probe:\n  tasks: [a, b, a]\n", ":2: probe.tasks: a is named twice", ""},
    {"probe:\n  labels: [10, 5, 10.0]\n", ":2: probe.labels: 10 is given twice", ""},
    /* not YAML */
    {"run:\n  seed: [1\n", ":3: this is not YAML", ""},
    {"run:\n  seed: 1\n bad: 2\n", ":3: this is not YAML", ""},
    {"run:\n\tseed: 1\n", ":2: this is not YAML", ""},
    {"run:\n  dir: \"\xe9\"\n", ":2: this is not YAML", "UTF-8"},
    {"run:\n  seed: 1\n---\nrun:\n  seed: 2\n", ":4: a second YAML document", ""},
    {"run:\n  seed: [[[[[[[[[[[[[[[[[[[[\n", ":2: lists and maps are nested more than", ""},
    {"- - - - - - - - - - - - - - - - - - 1\n", ":1: lists and maps are nested more than", ""},
};

static void mistakes_are_refused(void **state)
{
    static vj_config config;
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        char place[256];
        if (read_text(&config, mistakes[i].yaml) != VJ_ERR_USAGE) fail_msg("not refused:\n%s", mistakes[i].yaml);
        snprintf(place, sizeof place, "/x.yaml%s", mistakes[i].place);
        expect(mistakes[i].yaml, place);
        expect(mistakes[i].yaml, mistakes[i].part);
        /* the message is one line, printed once */
        assert_ptr_equal(strchr(message, '\n'), message + strlen(message) - 1);
    }
}

static void too_long(void **state)
{
    static vj_config config;
    char text[2 * VJ_PATH];
    (void)state;
    snprintf(text, sizeof text, "run:\n  dir: %0*d\n", VJ_PATH - 1, 0);
    assert_int_equal(read_text(&config, text), VJ_OK);
    assert_int_equal(strlen(config.run.dir), VJ_PATH - 1);
    snprintf(text, sizeof text, "run:\n  dir: %0*d\n", VJ_PATH, 0);
    assert_int_equal(read_text(&config, text), VJ_ERR_USAGE);
    expect(text, ":2: run.dir: is too long (512 bytes, at most 511)");

    vj_strings list;
    snprintf(text, sizeof text, "%0*d", VJ_PATH - 1, 0);
    assert_int_equal(vj_strings_one(&list, text), VJ_OK);
    assert_true(list.count == 1 && strcmp(list.item[0], text) == 0);
    snprintf(text, sizeof text, "%0*d", VJ_PATH, 0);
    listen_begin();
    assert_int_equal(vj_strings_one(&list, text), VJ_ERR_USAGE);
    listen_end();
    expect(text, "a path may have 511 characters, this one has 512");

    /* Each path is allowed, but together they exceed the size of a stored configuration. */
    static vj_strings *const lists[] = {&config.data.train, &config.data.validation, &config.data.weights,
                                        &config.pack.held_out_ids, &config.pack.held_out_videos};
    for (int l = 0; l < 5; l++)
        for (lists[l]->count = 0; lists[l]->count < VJ_MAX_LIST; lists[l]->count++)
            snprintf(lists[l]->item[lists[l]->count], VJ_PATH, "%0*d", VJ_PATH - 1, 0);
    assert_int_equal(check(&config), VJ_OK);
    for (config.pack.dataset_count = 0; config.pack.dataset_count < VJ_MAX_LIST; config.pack.dataset_count++) {
        vj_dataset_settings *dataset = &config.pack.dataset[config.pack.dataset_count];
        snprintf(dataset->name, sizeof dataset->name, "d");
        snprintf(dataset->list, VJ_PATH, "%0*d", VJ_PATH - 1, 0);
        snprintf(dataset->root, VJ_PATH, "%0*d", VJ_PATH - 1, 0);
        snprintf(dataset->labels, VJ_PATH, "%0*d", VJ_PATH - 1, 0);
    }
    assert_int_equal(check(&config), VJ_ERR_USAGE);
    expect("long paths", "bytes of text, at most 64000 can be kept in files: use shorter paths");
}

static void unreadable_files(void **state)
{
    static vj_config config;
    (void)state;
    vj_config_defaults(&config);
    listen_begin();
    assert_int_equal(vj_config_read(&config, "/nowhere/at.yaml"), VJ_ERR_USAGE);
    listen_end();
    expect("a missing file", "/nowhere/at.yaml: No such file");
    listen_begin();
    assert_int_equal(vj_config_read(&config, folder), VJ_ERR_USAGE);
    listen_end();
    expect("a folder", "Is a directory");
}

/* ------------------------------------------------------------------------------------------------ --set */

static vj_status set(vj_config *config, const char *assignment)
{
    listen_begin();
    vj_status status = vj_config_set(config, assignment);
    listen_end();
    return status;
}

static void set_changes_values(void **state)
{
    static vj_config config;
    (void)state;
    vj_config_defaults(&config);
    assert_int_equal(set(&config, "run.seed=17"), VJ_OK);
    assert_int_equal(set(&config, "run.dir=/a b/c: d #e=\"f\""), VJ_OK); /* the value is taken literally */
    assert_int_equal(set(&config, "data.train=[a.clips, \"b, c.clips\"]"), VJ_OK);
    assert_int_equal(set(&config, "optimizer.ema=[0.5, 0.75]"), VJ_OK);
    assert_int_equal(set(&config, "objective.kind=pixel"), VJ_OK);
    assert_int_equal(set(&config, "precision=fp32"), VJ_OK); /* only section train has this key */
    assert_int_equal(set(&config, "probe.folded=false"), VJ_OK);
    assert_int_equal(set(&config, "probe.labels=[100, 10.5]"), VJ_OK);
    assert_int_equal(
        set(&config, "mask.generators=[{kind: tube, ratio: 0.5}, {max_temporal_keep: 0.375, kind: causal}]"), VJ_OK);
    assert_int_equal(set(&config, "embed.store="), VJ_OK);
    assert_int_equal(config.run.seed, 17);
    assert_string_equal(config.run.dir, "/a b/c: d #e=\"f\"");
    assert_int_equal(config.data.train.count, 2);
    assert_string_equal(config.data.train.item[1], "b, c.clips");
    assert_true(config.optimizer.ema[1] == 0.75);
    assert_int_equal(config.objective.kind, VJ_OBJECTIVE_PIXEL);
    assert_string_equal(config.train.precision, "fp32");
    assert_true(vj_config_origin(&config, "train.precision") < 0);
    assert_int_equal(vj_config_origin(&config, "train.batch"), 0);
    assert_int_equal(config.probe.folded, 0);
    assert_int_equal(config.probe.labels_count, 2);
    assert_true(config.probe.labels[1] == 10.5);
    assert_int_equal(config.mask.count, 2);
    assert_int_equal(config.mask.generator[0].kind, VJ_MASK_TUBE);
    assert_true(config.mask.generator[1].max_temporal_keep == 0.375);
    assert_int_equal(config.mask.generator[1].blocks, 8); /* a default */
    round_trip(&config);
}

static void set_mistakes(void **state)
{
    static vj_config config;
    static const char *const wrong[][2] = {
        {"run.seed", "section.key=value"},
        {"sede=1", "--set sede: unknown key; it takes section.key"},
        {"seed=1", "--set seed: stands in several sections: run.seed, pack.seed"},
        {"batch=1", "train.batch, embed.batch, probe.batch"},
        {"run.sed=1", "did you mean run.seed?"},
        {"run.seed=", "--set run.seed: has no value"},
        {"run.seed=x", "--set run.seed: 'x'"},
        {"data.train=[a", "--set data.train: this is not YAML"},
        {"run.dir=\xff", "--set run.dir: this is not YAML: invalid leading UTF-8"},
        {"mask.generators=[{kind: tub}]", "--set mask.generators[0].kind: 'tub'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        vj_config_defaults(&config);
        if (set(&config, wrong[i][0]) != VJ_ERR_USAGE) fail_msg("not refused: %s", wrong[i][0]);
        expect(wrong[i][0], wrong[i][1]);
    }
    /* if --set caused a wrong combination, the message names --set and not the file */
    vj_config_defaults(&config);
    assert_int_equal(set(&config, "data.crop=100"), VJ_OK);
    listen_begin();
    assert_int_equal(vj_config_check(&config), VJ_ERR_USAGE);
    listen_end();
    expect("data.crop=100", "--set data.crop: 100 is not a multiple of model.patch, 16");
}

static void every_size(void **state)
{
    static const struct {
        const char *name;
        int64_t width, depth, heads, hidden;
    } sizes[] = {{"tiny", 192, 12, 3, 768},     {"small", 384, 12, 6, 1536},  {"base", 768, 12, 12, 3072},
                 {"large", 1024, 24, 16, 4096}, {"huge", 1280, 32, 16, 5120}, {"giant", 1408, 40, 16, 6144}};
    static vj_config config;
    char text[64];
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        snprintf(text, sizeof text, "model:\n  size: %s\n", sizes[i].name);
        assert_int_equal(read_text(&config, text), VJ_OK);
        assert_int_equal(config.model.width, sizes[i].width);
        assert_int_equal(config.model.depth, sizes[i].depth);
        assert_int_equal(config.model.heads, sizes[i].heads);
        assert_int_equal((int64_t)((double)config.model.width * config.model.mlp_ratio), sizes[i].hidden);
        assert_int_equal(config.predictor.heads, sizes[i].heads);
        round_trip(&config);
    }
}

static void help_names_every_key(void **state)
{
    static const char *const two[] = {"run", "embed", NULL};
    char *text = NULL;
    size_t bytes;
    (void)state;
    FILE *out = open_memstream(&text, &bytes);
    vj_config_help(out, NULL);
    fclose(out);
    for (int i = 0; i < vj_settings_count; i++) assert_non_null(strstr(text, vj_settings[i].key));
    free(text);
    out = open_memstream(&text, &bytes);
    vj_config_help(out, two);
    fclose(out);
    assert_non_null(strstr(text, "run.seed"));
    assert_non_null(strstr(text, "embed.store"));
    assert_null(strstr(text, "model.width"));
    free(text);
}

static void help_lines_are_short(void **state)
{
    char *text = NULL;
    size_t bytes, longest = 0;
    (void)state;
    FILE *out = open_memstream(&text, &bytes);
    vj_print_help(out, "  one two\nthree four", strlen("  one two\nthree"), 106, 2);
    fclose(out);
    assert_string_equal(text, "one\n  two three\n"); /* "one" ends in column 109 */
    free(text);
    out = open_memstream(&text, &bytes);
    for (int i = 0; i < vj_settings_count; i++)
        vj_print_help(out, vj_settings[i].help, strlen(vj_settings[i].help), 0, 4);
    fclose(out);
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        if (strcspn(line, "\n") > longest) longest = strcspn(line, "\n");
    assert_in_range(longest, 100, 110);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shipped_files_round_trip),
        cmocka_unit_test(published_numbers),
        cmocka_unit_test(random_values_round_trip),
        cmocka_unit_test(empty_files),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(too_long),
        cmocka_unit_test(unreadable_files),
        cmocka_unit_test(set_changes_values),
        cmocka_unit_test(set_mistakes),
        cmocka_unit_test(every_size),
        cmocka_unit_test(help_names_every_key),
        cmocka_unit_test(help_lines_are_short),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
