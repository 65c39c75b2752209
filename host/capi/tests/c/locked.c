/* A lock file: what it does not pin is refused before it runs. The program's argument is a lock file that pins the model
 * `echo` and its plugin, and a second one that pins nothing. */

#include "check.h"

static tenon_status locked(const char *lock_file, tenon_engine **engine) {
    const char *manifests[] = {getenv("TENON_MANIFESTS"), NULL}, *plugins[] = {getenv("TENON_PLUGIN_PATH"), NULL};
    tenon_engine_options options = tenon_engine_options_init();
    options.flags = TENON_ENGINE_ONLY_NAMED_PLACES;
    options.manifest_dirs = manifests, options.plugin_dirs = plugins;
    options.state_dir = getenv("XDG_STATE_HOME");
    options.lock_file = lock_file;
    return tenon_engine_new(&options, engine, &problem);
}

static tenon_status load(tenon_engine *engine) {
    tenon_model *model = NULL;
    const tenon_status status = tenon_model_load(engine, "echo", NULL, NULL, NULL, &model, &problem);
    CHECK((status == TENON_OK) == (model != NULL));
    tenon_model_free(model);
    return status;
}

int main(int count, char **arguments) {
    tenon_engine *engine = NULL;
    if (count != 3)
        return 2;
    WANT(TENON_OK, locked(arguments[1], &engine));
    WANT(TENON_OK, load(engine));
    tenon_engine_free(engine);
    WANT(TENON_OK, locked(arguments[2], &engine));
    WANT(TENON_E_HASH_MISMATCH, load(engine));
    tenon_engine_free(engine);
    WANT(TENON_E_NOT_FOUND, locked("no-such.lock", &engine));
    CHECK(engine == NULL);
    WANT(TENON_E_MANIFEST, locked(getenv("BROKEN_LOCK"), &engine));
    WANT(TENON_E_INVALID_ARGUMENT, locked("\xff", &engine));
    if (failures == 0)
        puts("locked: all is well");
    return failures != 0;
}
