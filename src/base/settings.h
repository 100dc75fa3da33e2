/*
 * The table behind config.h: one row per setting drives reading, checking, printing and the help. Private to this
 * folder. Values stand in the table as they would in a file, so that a default takes the same path as a user's value.
 */
#ifndef VJ_BASE_SETTINGS_H
#define VJ_BASE_SETTINGS_H

#include <stddef.h>

#include "base/config.h"

typedef enum {
    VJ_SET_INTEGER,    /* int or int64_t, by its size */
    VJ_SET_NUMBER,     /* double */
    VJ_SET_CHOICE,     /* int: the position in `allowed`; booleans are "false | true" */
    VJ_SET_TEXT,       /* char[]; with `allowed`, one of these words */
    VJ_SET_TEXTS,      /* vj_strings */
    VJ_SET_RANGE,      /* double[2], the first not above the second */
    VJ_SET_VECTOR,     /* double[n] */
    VJ_SET_SHARES,     /* double[VJ_MAX_MASKS] and, directly behind, an int: how many */
    VJ_SET_GENERATORS, /* lists of maps: mask.generators, ... */
    VJ_SET_DATASETS    /* ... and pack.datasets; vj_maps_of() says what an item holds */
} vj_setting_type;

typedef struct {
    const char *key; /* "section.key"; the keys of a map in a list have no section */
    vj_setting_type type;
    size_t at, bytes;    /* member of vj_config, or of the struct that the map becomes */
    const char *allowed; /* numbers: an interval, "(0, 1]"; choices: "cpu | strict"; "": anything */
    const char *initial; /* the default, in YAML */
    const char *help;
    unsigned kinds; /* in a map: which kinds of it know the key, 1 << kind; else 0 */
} vj_setting;

/* What a list of maps consists of. */
typedef struct {
    const char *what;          /* "generator" */
    const char *example;       /* "{kind: multiblock, ...}" */
    const vj_setting *rows;    /* the keys of an item; the first must be given */
    int count;                 /* of rows */
    int kind;                  /* the row, a choice, that says which kind an item is */
    size_t bytes;              /* of an item */
    int most;                  /* items */
    size_t count_at, lines_at; /* members of vj_config: int, the items; int [most], where each was given */
} vj_maps;

extern const vj_setting vj_settings[]; /* in the order of config.h; origin.line has the same */
extern const int vj_settings_count;    /* at most VJ_MAX_SETTINGS */

/** What the row's maps consist of; NULL if it is no list of maps. */
const vj_maps *vj_maps_of(const vj_setting *row);

/** The row of "section.key", or NULL. */
const vj_setting *vj_setting_find(const char *key);

/**
 * How many rows are "SECTION.key" for a `key` without section; *row is the first of them, or NULL. `names` gets them
 * all, "train.batch, embed.batch", cut to `bytes`.
 */
int vj_setting_find_bare(const char *key, const vj_setting **row, char *names, size_t bytes);

/** Is the value inside the row's interval? */
bool vj_setting_allows(const vj_setting *row, double value);

/** The position of `word` in "a | b | c", or -1. */
int vj_choice_find(const char *choices, const char *word);

/** The word at a position of "a | b | c"; its length goes to *length. */
const char *vj_choice_word(const char *choices, int position, int *length);

/** Write a text as a YAML scalar in double quotes, in one line; characters that break lines are escaped. */
void vj_text_quote(FILE *out, const char *text);

/** The candidate most like a mistyped word: consider each, then read `best`, NULL when none is near. */
typedef struct {
    const char *word, *best;
    int distance;
} vj_guess;
void vj_guess_init(vj_guess *guess, const char *word);
void vj_guess_consider(vj_guess *guess, const char *candidate);

#endif
