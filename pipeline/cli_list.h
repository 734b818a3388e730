/*
 * Every command, in the order of the help. COMMAND(x) is `cli_command_x`, in its own file; see
 * "A new command" in cli.h.
 */
COMMAND(status)
COMMAND(top)
COMMAND(cost)
COMMAND(formats)
COMMAND(explain)
COMMAND(wait)
COMMAND(reprocess)
COMMAND(batch)
COMMAND(dlq)
COMMAND(events)
COMMAND(buckets)
COMMAND(rules)
COMMAND(functions)
COMMAND(presets)
COMMAND(webhooks)
COMMAND(ls)
COMMAND(get)
COMMAND(put)
COMMAND(sign_url)
COMMAND(completion)
COMMAND(help)
/* Not in the help: for the shells, for make man. */
COMMAND(complete)
COMMAND(man)
