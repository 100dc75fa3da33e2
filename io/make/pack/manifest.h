/* clang-format off: keep the table below readable */
/*
 * Reads manifests: lists and folders that name the files to pack. The files are passed on one by one, in an order that
 * depends only on the lists. tables.c reads lists of lines and CSV, objects.c those in JSON, walk.c folders;
 * label_file.c reads files of class names.
 *
 *   plain      lines "path label", divided at the last tab, blank, comma or semicolon; or lines "path", if the first
 *              line has no label
 *   csv        RFC 4180 with a header: path, LABEL ... (whole numbers, -1: none); optional: dataset, start, end, id.
 *              The first line shows what separates the fields: commas, semicolons, tabs or blanks. Blanks around a
 *              field are ignored
 *   json       objects, one after another or in one array: path or path_bytes (bytes as \xHH), label: number or
 *              labels: {name: number}, dataset, start, end, id; other keys are ignored
 *   kinetics   CSV with a header: label, youtube_id, time_start, time_end, split. A file is the part of a video between
 *              these times, which are in its name; but if a pattern is given that has neither {start} nor {end}, files
 *              are whole videos, and the part between the times is taken
 *   ssv2       an array of objects: id, label, template (the class with its placeholders in brackets), placeholders
 *   coco       one object: images {id, file_name}, annotations {image_id, category_id}, categories {id, name}; the
 *              classes have the numbers of the categories. An image has one class or none
 *   howto100m  CSV with a header: video_id and others that are not used
 *   folder     all regular files below a folder; also used if a folder is named in place of a list
 *   imagenet   the same; each folder directly below it that contains a file is a class
 *
 * Paths are relative to the root given, or else to the list's folder. Times are seconds, mm:ss or hh:mm:ss. A class
 * given as a word, in a column whose name contains label, class or category, gets its number from a file of labels, or
 * else from the byte order of all words of this label. A label without a name of its own has the name of the dataset,
 * or "label" with pack.lists. In walked folders, hidden files and folders, those of operating and storage systems, clip
 * stores and run folders are skipped (walk.c).
 */
/* clang-format on */
#ifndef VJ_PACK_MANIFEST_H
#define VJ_PACK_MANIFEST_H

#include "base/config.h"
#include "clips/clips.h"
#include "pack/class_names.h"
#include "pack/text.h"

/* A file to pack. All pointers are valid during the call of the sink only. */
typedef struct {
    int dataset;        /* number in vj_media_names */
    const char *path;   /* ready to open, shorter than VJ_MEDIA_PATH */
    const char *listed; /* the path without the root, so that it stays the same when the files are moved */
    const char *id;     /* id of the file, to be looked up in the lists of held-out ids */
    const char *key; /* equal, together with start and end, for two entries that name the same part of the same file */
    int64_t line;    /* of the list, from 1; 0: the file was found in a folder */
    int64_t windows; /* clips to make of this file; 0: pack.windows */
    double start_s, end_s;         /* part of the file to take; negative: from its beginning, to its end */
    int32_t labels[VJ_MAX_LABELS]; /* -1: none */
} vj_media;

/* Names of datasets and labels read so far. */
typedef struct {
    int dataset_count, label_count;
    char dataset_names[VJ_MAX_LIST][64];
    char label_names[VJ_MAX_LABELS][VJ_LABEL_NAME];
    int listed[VJ_MAX_LIST];         /* whether a list that was read to its end named this dataset */
    unsigned labels_of[VJ_MAX_LIST]; /* labels of this dataset, as bits 1 << label */
} vj_media_names;

typedef vj_status vj_media_sink(void *user, const vj_media *media);

/**
 * Read one list or walk one folder, and pass each file to `sink`. Adds to `names` and `classes`. A label given as a
 * class name is passed on as the class's place in `classes` until vj_class_names_number() numbers the classes. Memory
 * is bounded, except for the class names and the names in the one folder being walked. The folder `scratch`, which has
 * the caller's scratch files, is not walked. Refuses, naming list and line: entries that do not follow the format, a
 * list that names no file, and a list whose labels differ from those of earlier lists of the same dataset. Not
 * collective.
 */
vj_status vj_manifest_read(vj_media_names *names, vj_class_names *classes, const vj_dataset_settings *dataset,
                           const char *label_name, const char *scratch, vj_media_sink *sink, void *user);

/**
 * Derive a file's id from its path: its name without folder and extension, and without the times at the end of Kinetics
 * file names (_000010_000020).
 */
void vj_media_id(char id[VJ_MEDIA_PATH], const char *path);

#endif
