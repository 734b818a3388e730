"""Is a history of concurrent operations on one key linearizable? A checker, and the model of a key.

A history is linearizable when every operation can be given one moment between its invocation and its
answer so that the operations, in the order of these moments, are what the sequential model allows
(Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects", TOPLAS 12(3),
1990; there also: a history is linearizable if that of each key is, so keys are checked one by one).

The search is that of Wing and Gong ("Testing and verifying concurrent objects", JPDC 17, 1993) in the
just-in-time form of Lowe ("Testing for linearizability", Concurrency and Computation 29(4), 2017),
with his memoisation: the history is read event by event; a configuration is a state of the model and
the set of operations under way that have had their moment already; equal configurations are one. An
operation has its moment at the latest when its answer comes; where no configuration can give it one,
the history is not linearizable. The cost grows with the length of the history and, exponentially,
with the number of operations under way at once.

An operation without an answer (its server was killed) may have happened or not; it ends when that
server was dead for certain, and configurations of both kinds live on.
"""
import collections

ABSENT = None
UNANSWERED = "unanswered"
REFUSED = "refused"

# kind: put, put-new (If-None-Match: *), put-over (If-Match: `expected`), delete, read.
# value: what was put. result: what was read; "done", REFUSED or UNANSWERED of the others.
# start < end, in any clock that all clients share.
Op = collections.namedtuple("Op", "start end client kind value expected result")


def step(state, op):
    """The states that the operation may leave behind; none when its result cannot be."""
    if op.kind == "read":
        return (state,) if op.result in (state, UNANSWERED) else ()
    if op.kind == "delete":
        return (ABSENT,)
    allowed = op.kind == "put" or state == (ABSENT if op.kind == "put-new" else op.expected)
    if op.result == UNANSWERED:
        return (op.value,) if allowed else (state,)
    if allowed == (op.result == REFUSED):
        return ()
    return (op.value,) if allowed else (state,)


def closure(configurations, pending, ops):
    """Everything that is reached by giving operations under way their moment."""
    seen, todo = set(configurations), list(configurations)
    while todo:
        state, done = todo.pop()
        for i in pending:
            if i in done:
                continue
            for after in step(state, ops[i]):
                new = (after, done | {i})
                if new not in seen:
                    seen.add(new)
                    todo.append(new)
    return seen


def check(ops, initial=ABSENT):
    """None when the history is linearizable, else the operation that can have no moment and what
    the key may have held when its answer came."""
    events = sorted([(op.start, 0, i) for i, op in enumerate(ops)] +
                    [(op.end, 1, i) for i, op in enumerate(ops)])
    configurations, pending = {(initial, frozenset())}, set()
    for _, is_end, i in events:
        if not is_end:
            pending.add(i)
            continue
        reached = closure(configurations, sorted(pending), ops)
        pending.discard(i)
        alive = {(state, done - {i}) for state, done in reached
                 if i in done or ops[i].result == UNANSWERED}
        if not alive:
            return ops[i], {state for state, _ in reached}
        configurations = alive
    return None


def failure_text(found, ops):
    """The operation and what was under way beside it, for a person."""
    op, states = found
    beside = [o for o in ops if o.start <= op.end and o.end >= op.start and o is not op]
    return "%s may hold %s; beside it: %s" % (op, sorted(map(str, states)), beside[:8])
