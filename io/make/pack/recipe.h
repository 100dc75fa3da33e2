/*
 * The recipe: the settings and list digests that decide a store's content, as text in STORE/pack.yaml, written before
 * the first shard. A finished or half-finished store is only accepted, or resumed, with the same recipe.
 */
#ifndef VJ_PACK_RECIPE_H
#define VJ_PACK_RECIPE_H

#include "pack/catalogue.h"

/** Format the recipe: the settings that the store's content depends on, and the digests of all lists. free() it. */
char *vj_recipe_text(const vj_config *config, const vj_catalogue_summary *summary);

/**
 * Compare the recipe with that of the folder `store`. *done: the store is finished and has this recipe. Refuses a store
 * with another recipe if it is finished or has shards, naming the first difference. Not collective.
 */
vj_status vj_recipe_check(const char *store, const char *recipe, int *done);

/**
 * Check that a store may be written to the folder `store`: it does not exist, is empty except for hidden files, or is a
 * clip store already. Anything else, a run folder above all, belongs to the user and is refused. Not collective.
 */
vj_status vj_recipe_check_place(const char *store);

/** Write the recipe durably, after removing half-written files of an earlier run. Not collective. */
vj_status vj_recipe_begin(const char *store, const char *recipe);

/**
 * Return whether the store is finished: it has index.h5, which is renamed into place after everything else is written.
 */
int vj_recipe_store_exists(const char *store);

#endif
