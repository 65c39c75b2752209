/*
 * Prints the models that there are manifests of, and the plugins that were found, with what is wrong with them.
 *
 *     list_models
 */

#include <stdio.h>
#include <stdlib.h>

#include <tenon.h>

static tenon_error *error;

/* Ends the program when a call failed. */
static void check(tenon_status status) {
    if (status != TENON_OK) {
        fprintf(stderr, "list_models: %s\n", tenon_error_message(error));
        exit(1);
    }
}

/* Columns are asked for by name, so that a later version may add some. */
static void print(tenon_table *table, const char *title, const char *const *columns) {
    size_t row, column;
    printf("%s: %lu\n", title, (unsigned long)tenon_table_rows(table));
    for (row = 0; row < tenon_table_rows(table); row++) {
        const char *problem = tenon_table_get(table, row, "problem");
        for (column = 0; columns[column] != NULL; column++) {
            const char *cell = tenon_table_get(table, row, columns[column]);
            printf("  %s", cell == NULL || cell[0] == '\0' ? "-" : cell);
        }
        /* What is wrong with one manifest or plugin is no reason to be silent about the others. */
        if (problem != NULL && problem[0] != '\0')
            printf("  problem: %s", problem);
        putchar('\n');
    }
    tenon_table_free(table);
}

int main(void) {
    static const char *const model_columns[] = {"name", "task", "backend", "state", "size", "license", NULL};
    static const char *const plugin_columns[] = {"id", "version", "abi", "tasks", "license", "path", NULL};
    tenon_engine *engine;
    tenon_table *table;
    check(tenon_engine_new(NULL, &engine, &error));
    check(tenon_engine_models(engine, &table, &error));
    print(table, "models", model_columns);
    check(tenon_engine_plugins(engine, &table, &error));
    print(table, "plugins", plugin_columns);
    tenon_engine_free(engine);
    return 0;
}
