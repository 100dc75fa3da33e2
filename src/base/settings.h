/*
 * The table behind config.h: one row per setting drives reading, checking, printing and the help. Private to this
 * folder. Defaults are written in the table as YAML text, so that they are parsed and checked like a user's value.
 */
#ifndef VJ_BASE_SETTINGS_H
#define VJ_BASE_SETTINGS_H

#include <stddef.h>

#include "base/config.h"

typedef enum {
    VJ_SET_INTEGER,    /* int or int64_t, by its size */
    VJ_SET_NUMBER,     /* double */
    VJ_SET_CHOICE,     /* int: the position in `allowed`; booleans are "false | true" */
    VJ_SET_TEXT,       /* char[]; one of the words in `allowed`, if that is not empty */
    VJ_SET_TEXTS,      /* vj_strings */
    VJ_SET_RANGE,      /* double[2], the first not above the second */
    VJ_SET_VECTOR,     /* double[n] */
    VJ_SET_SHARES,     /* double[VJ_MAX_MASKS], directly followed by an int: the number of values */
    VJ_SET_GENERATORS, /* mask.generators, a list of YAML maps; vj_maps_of() describes an item */
    VJ_SET_DATASETS    /* pack.datasets, likewise */
} vj_setting_type;

typedef struct {
    const char *key; /* "section.key"; the keys of a map in a list have no section */
    vj_setting_type type;
    size_t at, bytes;    /* offset and size in vj_config, or in the struct that an item of a list is read into */
    const char *allowed; /* numbers: an interval, "(0, 1]"; choices: "cpu | strict"; "": anything. A single number may
                            also take a word, VJ_AUTO: "[0, 100] | auto" */
    const char *initial; /* the default, as YAML text */
    const char *help;
    unsigned kinds; /* key of a map: bits 1 << kind of the kinds of item that may have it; else 0 */
} vj_setting;

/* The items of a setting that is a list of maps. */
typedef struct {
    const char *what;          /* name of an item in messages: "generator" */
    const char *example;       /* "{kind: multiblock, ...}" */
    const vj_setting *rows;    /* the keys of an item; the first must be given */
    int count;                 /* number of rows */
    int kind;                  /* index of the row (a choice) that gives the kind of an item */
    size_t bytes;              /* size of an item's struct */
    int max_items;             /* of a list */
    size_t count_at, lines_at; /* offsets in vj_config: int, number of items; int [max_items], line of each item */
} vj_maps;

extern const vj_setting vj_settings[]; /* in the order of config.h; vj_config.origin.line uses the same index */
extern const int vj_settings_count;    /* at most VJ_MAX_SETTINGS */

/** Return the description of the row's items; NULL if the row is not a list of maps. */
const vj_maps *vj_maps_of(const vj_setting *row);

/** Return the row of "section.key", or NULL. */
const vj_setting *vj_setting_find(const char *key);

/**
 * Return the number of sections that have a key called `key` (given without section). *row is the first such row, or
 * NULL. `names` gets the full names, "train.batch, embed.batch", truncated to `bytes` bytes.
 */
int vj_setting_find_bare(const char *key, const vj_setting **row, char *names, size_t bytes);

/** Return whether a number may also be the word "auto". */
bool vj_setting_has_auto(const vj_setting *row);

/** Return whether the value is finite and inside the row's interval. */
bool vj_setting_allows(const vj_setting *row, double value);

/** Return the position of `word` in the choices "a | b | c", or -1. */
int vj_choice_find(const char *choices, const char *word);

/** Return the word at `position` in the choices "a | b | c", not terminated; *length gets its length. */
const char *vj_choice_word(const char *choices, int position, int *length);

/** Write a text as a double-quoted YAML scalar on one line; control characters and line breaks are escaped. */
void vj_text_quote(FILE *out, const char *text);

/** Finds the candidate nearest to a mistyped word: call vj_guess_consider() for each, then read `best`, NULL if none is
 * near. */
typedef struct {
    const char *word, *best;
    int distance;
} vj_guess;
void vj_guess_init(vj_guess *guess, const char *word);
void vj_guess_consider(vj_guess *guess, const char *candidate);

/**
 * Print `bytes` bytes of a help message in lines of at most 110 columns, broken at its blanks and line ends, and end
 * the last line. It begins in column `column` (from 0); further lines are indented by `indent` blanks. Longer words are
 * not cut.
 */
void vj_print_help(FILE *out, const char *text, size_t bytes, int column, int indent);

#endif
