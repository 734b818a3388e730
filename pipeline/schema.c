#include "pipeline/schema.h"
#include "base/buf.h"
#include "base/chk.h"
#include "metadata/table.h"
#include "objectstore/store.h"

#include <pthread.h>

#define SCHEMA_STEPS_MAX 64
#define SCHEMA_STEP_BYTES_MAX (256u << 10)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *steps[SCHEMA_STEPS_MAX];
static struct db_schema schema = {.steps = steps};

/* A room without anything new in a version has no text for it; the version ends when no room has.
 */
static void
join(void)
{
    for (int version = 1; version <= SCHEMA_STEPS_MAX; version++) {
        const char *texts[] = {store_schema(version), table_schema(version), queue_schema(version)};
        struct buf step;
        bool any = false;
        buf_init(&step, SCHEMA_STEP_BYTES_MAX);
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
            any = any || texts[i] != NULL;
            buf_puts(&step, texts[i] == NULL ? "" : texts[i]);
            buf_puts(&step, ";\n");
        }
        CHK(step.err == 0);
        if (!any) {
            buf_fini(&step);
            return;
        }
        steps[schema.count++] = buf_take(&step, NULL);
    }
}

const struct db_schema *
pipeline_schema(void)
{
    pthread_once(&once, join);
    return &schema;
}
