/* Collects class names and assigns their numbers. */
#include "pack/class_names.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vj_class_names_init(vj_class_names *names, const char *scratch)
{
    *names = (vj_class_names){.scratch = scratch};
}

void vj_class_names_release(vj_class_names *names)
{
    for (int l = 0; l < VJ_MAX_LABELS; l++) {
        vj_label_classes *c = &names->of[l];
        for (int64_t i = 0; i < c->count; i++) free(c->name[i]);
        free(c->name);
        free(c->number);
        free(c->of_number);
        if (c->has_register) vj_hashmap_release(&c->known);
    }
    *names = (vj_class_names){0};
}

/* ------------------------------------------------------------------------------------------------ entering */

static vj_status no_memory(int64_t count)
{
    return vj_raise(VJ_ERR_MEMORY, "no memory for %" PRId64 " class names", count);
}

/* Record that class `met` has this number. */
static vj_status take_number(vj_label_classes *c, int64_t number, int32_t met)
{
    if (number >= c->numbers) {
        const int64_t room = number + 1 > 2 * c->numbers ? number + 1 : 2 * c->numbers;
        int32_t *grown = realloc(c->of_number, (size_t)room * sizeof *grown);
        if (!grown) return no_memory(room);
        for (int64_t i = c->numbers; i < room; i++) grown[i] = -1;
        c->of_number = grown;
        c->numbers = room;
    }
    c->of_number[number] = met;
    c->number[met] = (int32_t)number;
    return VJ_OK;
}

static vj_status add(vj_class_names *names, vj_label_classes *c, const char *name)
{
    int64_t first;
    if (!c->has_register) {
        c->has_register = 1;
        VJ_TRY(vj_hashmap_init(&c->known, names->scratch));
    }
    if (c->count == c->room) {
        const int64_t room = c->room ? 2 * c->room : 64;
        char **grown = realloc(c->name, (size_t)room * sizeof *grown);
        if (grown) c->name = grown;
        int32_t *numbers = realloc(c->number, (size_t)room * sizeof *numbers);
        if (numbers) c->number = numbers;
        if (!grown || !numbers) return no_memory(room);
        c->room = room;
    }
    c->name[c->count] = strdup(name);
    if (!c->name[c->count]) return no_memory(c->count);
    c->number[c->count] = -1;
    return vj_hashmap_put(&c->known, name, c->count++, &first);
}

vj_status vj_class_names_enter(vj_class_names *names, int label, const char *name, int64_t number, int32_t *met,
                               char wrong[512])
{
    enum { WRONG = 512 };
    vj_label_classes *c = &names->of[label];
    wrong[0] = '\0';
    *met = vj_class_names_find(names, label, name);
    const bool printable = vj_printable(name) && !strpbrk(name, "\n\t");
    if (*name == '\0' || strlen(name) >= VJ_CLASS_NAME || !printable)
        snprintf(wrong, WRONG, "the class name \"%.60s\" is empty, longer than %d bytes or has control characters",
                 printable ? name : "?", VJ_CLASS_NAME - 1);
    else if (number >= VJ_MAX_CLASSES || (*met < 0 && c->count == VJ_MAX_CLASSES))
        snprintf(wrong, WRONG, "class \"%.200s\" is one too many: the numbers of classes with names end at %d", name,
                 VJ_MAX_CLASSES - 1);
    else if (*met >= 0 && number >= 0 && c->number[*met] >= 0 && c->number[*met] != number)
        snprintf(wrong, WRONG, "class \"%.200s\" has number %" PRId64 " here, and %d before", name, number,
                 c->number[*met]);
    else if (number >= 0 && number < c->numbers && c->of_number[number] >= 0 && c->of_number[number] != *met)
        snprintf(wrong, WRONG, "number %" PRId64 " is class \"%.200s\" here, and \"%.200s\" before", number, name,
                 c->name[c->of_number[number]]);
    if (*wrong) return VJ_OK;
    if (*met < 0) {
        *met = (int32_t)c->count;
        VJ_TRY(add(names, c, name));
    }
    return number >= 0 && c->number[*met] < 0 ? take_number(c, number, *met) : VJ_OK;
}

int32_t vj_class_names_find(const vj_class_names *names, int label, const char *name)
{
    const vj_label_classes *c = &names->of[label];
    return c->count > 0 ? (int32_t)vj_hashmap_find(&c->known, name) : -1;
}

int32_t vj_class_names_of_number(const vj_class_names *names, int label, int64_t number)
{
    const vj_label_classes *c = &names->of[label];
    return number >= 0 && number < c->numbers ? c->of_number[number] : -1;
}

/* ------------------------------------------------------------------------------------------------ settling */

typedef struct {
    const char *name;
    int32_t met;
} sorted_class;

static int by_bytes(const void *a, const void *b)
{
    return strcmp(((const sorted_class *)a)->name, ((const sorted_class *)b)->name);
}

static vj_status number_by_name(vj_label_classes *c)
{
    sorted_class *sorted = vj_calloc(c->count, sizeof *sorted);
    if (!sorted) return no_memory(c->count);
    for (int64_t i = 0; i < c->count; i++) sorted[i] = (sorted_class){c->name[i], (int32_t)i};
    qsort(sorted, (size_t)c->count, sizeof *sorted, by_bytes);
    vj_status status = VJ_OK;
    for (int64_t i = 0; i < c->count && status == VJ_OK; i++) status = take_number(c, i, sorted[i].met);
    free(sorted);
    return status;
}

static vj_status settle(vj_label_classes *c, const char *label)
{
    if (c->count == 0) return VJ_OK;
    if (c->numbers == 0) return number_by_name(c);
    for (int64_t i = 0; i < c->count; i++)
        if (c->number[i] < 0)
            return vj_raise(
                VJ_ERR_FORMAT,
                "label %s: class \"%s\" of one list is not among the names that `labels` of another list of "
                "the same dataset gives",
                label, c->name[i]);
    return VJ_OK;
}

vj_status vj_class_names_number(vj_class_names *names, char label_names[][VJ_LABEL_NAME])
{
    for (int l = 0; l < VJ_MAX_LABELS; l++) VJ_TRY(settle(&names->of[l], label_names[l]));
    return VJ_OK;
}

int vj_class_names_are_in_order(const vj_class_names *names)
{
    for (int l = 0; l < VJ_MAX_LABELS; l++)
        for (int64_t i = 0; i < names->of[l].count; i++)
            if (names->of[l].number[i] != i) return 0;
    return 1;
}

const char *vj_class_names_name(const vj_class_names *names, int label, int64_t number)
{
    const int32_t met = vj_class_names_of_number(names, label, number);
    return met < 0 ? "" : names->of[label].name[met];
}

char *vj_class_names_text(const vj_class_names *names, int label)
{
    enum { SHOWN = 10 };
    const vj_label_classes *c = &names->of[label];
    char *text = NULL;
    size_t bytes = 0;
    int shown = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    fprintf(out, "%" PRId64 " %s:", c->count, c->count == 1 ? "class" : "classes");
    for (int64_t i = 0; i < c->numbers && shown < SHOWN; i++)
        if (c->of_number[i] >= 0) fprintf(out, "%s %" PRId64 " %s", shown++ ? "," : "", i, c->name[c->of_number[i]]);
    if (shown < c->count) fprintf(out, ", ...");
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}
