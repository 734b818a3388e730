/*
 * Failure made to order, only where FSIO_FAULTS is compiled in: every system call fsio makes is a
 * fault point, numbered from 1 since the last fsio_fault_set(). Any thread.
 */
#ifndef DARKROOM_BASE_FSIO_FAULT_H
#define DARKROOM_BASE_FSIO_FAULT_H

#ifdef FSIO_FAULTS

/* The nth call from now on fails once with `errnum` and does nothing; 0 arms none. */
void fsio_fault_set(int nth, int errnum);
/* Calls since fsio_fault_set(). */
int fsio_fault_calls(void);

#endif

#endif
