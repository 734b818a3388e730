#include "base/clock.h"
#include "pipeline/cli.h"

#include <inttypes.h>
#include <stdio.h>

#define DAY_TEXT 10 /* "2026-01-31" */

static double
number(const json_t *row, const char *name)
{
    return json_number_value(json_object_get(row, name));
}

static void
print_row(const json_t *row, const char *by)
{
    char bytes[2][24];
    const char *names[] = {"bytes_in", "bytes_out"};
    for (int i = 0; i < 2; i++)
        snprintf(bytes[i], sizeof bytes[i], "%.1f", number(row, names[i]) / 1e6);
    printf("%12.1f %10.3f %11" PRId64 " %9" PRId64 " %10s %10s %12.6f  ",
           number(row, "cpu_ms") / 1000, number(row, "gb_s"), json_get_int(row, "invocations", 0),
           json_get_int(row, "pictures", 0), bytes[0], bytes[1], number(row, "price"));
    if (by == NULL) {
        printf("total");
    } else if (strcmp(by, "prefix") == 0 && cli_str(row, "bucket")[0] != '\0') {
        printf("s3://%s/", cli_str(row, "bucket"));
        cli_print_text(json_get_str(row, by));
    } else {
        struct slice name = json_get_str(row, by);
        cli_print_text(name.n > 0 ? name : SLICE_LIT("(worker)")); /* rows of no bucket */
    }
    putchar('\n');
}

static void
print_report(const json_t *answer)
{
    const json_t *rows = json_object_get(answer, "rows");
    const char *by = cli_str(answer, "by");
    size_t i;
    json_t *row;
    printf("since %s\n\n%12s %10s %11s %9s %10s %10s %12s  %s\n", cli_str(answer, "since"), "CPU s",
           "GB-s", "invocations", "pictures", "MB in", "MB out", cli_str(answer, "currency"), by);
    json_array_foreach((json_t *)rows, i, row)
    {
        print_row(row, by);
    }
    print_row(json_object_get(answer, "total"), NULL);
}

/* One object per row, the last one the total. */
static void
print_lines(const json_t *answer)
{
    const json_t *rows = json_object_get(answer, "rows");
    json_t *total = json_object();
    size_t i;
    json_t *row;
    json_array_foreach((json_t *)rows, i, row)
    {
        cli_print_json(row);
    }
    json_object_set(total, "total", json_object_get(answer, "total"));
    json_object_set(total, "since", json_object_get(answer, "since"));
    json_object_set(total, "currency", json_object_get(answer, "currency"));
    cli_print_json(total);
    json_decref(total);
}

static enum cli_exit
run(struct cli *c, int argc, char **argv)
{
    enum cli_exit code = CLI_DONE;
    struct buf query;
    char day[CLOCK_TEXT_MAX];
    (void)argc, (void)argv;
    buf_init(&query, 256);
    if (cli_flag_on(c, "by"))
        remote_query_add(&query, "by", slice_str(cli_flag_str(c, "by")));
    if (cli_flag_on(c, "since")) {
        clock_iso8601(cli_flag_time(c, "since", 0), day);
        remote_query_add(&query, "since", slice_of(day, DAY_TEXT));
    }
    json_t *answer = cli_call(c, "GET", "/_/cost", buf_slice(&query), NULL, &code);
    buf_fini(&query);
    if (answer == NULL)
        return code;
    if (c->json)
        print_lines(answer);
    else
        print_report(answer);
    json_decref(answer);
    return CLI_DONE;
}

static const struct cli_flag flags[] = {
    {.name = "by",
     .value = "preset|prefix|day|function|bucket",
     .help = "what a row is about; default: preset",
     .kind = CLI_WORD},
    {.name = "since",
     .value = "DAY",
     .help = "from this day on (UTC); default: the last 30 days",
     .kind = CLI_TIME},
    {0},
};

static const struct cli_verb verbs[] = {
    {.arguments = "",
     .summary = "what the functions used, and its price",
     .flags = flags,
     .details =
         "CPU s is processor time of the workers, all of it: (decode) is decoding, once for all "
         "functions of a picture; (function) what a function does besides its presets; (start) "
         "what workers use outside invocations. GB-s is the function's configured memory times "
         "the duration, rounded up to 1 ms, as AWS Lambda bills. MB in are bytes of sources, MB "
         "out bytes of pictures made. Attempts that failed count, too. A prefix is the part of "
         "the key up to the first slash. Prices are the server's settings cost.*. 400 days are "
         "kept.",
     .example = "cost --by prefix --since 7d",
     .run = run},
    {0},
};

const struct cli_command cli_command_cost = {
    .name = "cost", .summary = "what the functions used, and its price", .verbs = verbs};
