/*
 * The polynomials, reflected; and the table-driven form of CRC32C, for machines without SSE4.2;
 * tests compare it with the other.
 */
#ifndef DARKROOM_BASE_CRC_PRIV_H
#define DARKROOM_BASE_CRC_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRC32_POLY 0xedb88320u
#define CRC32C_POLY 0x82f63b78u
#define CRC64NVME_POLY 0x9a6c9329ac4bc9b5u

uint32_t crc32c_software(uint32_t crc, const void *p, size_t n);
/* Whether digest_crc32c() uses the instruction on this machine. */
bool crc32c_is_hardware(void);

#endif
