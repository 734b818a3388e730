/*
 * Every native function, once: FN(name, memory MB, timeout s). Defaults; an operator may change
 * memory and timeout per function.
 */
FN("thumbnail", 1024, 30)
FN("metadata", 1024, 30)
