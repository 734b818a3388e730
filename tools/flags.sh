#!/bin/bash
# Prints the library flags as make variables. INC_<folder> are the include paths of a folder.
set -eu
pc() { pkg-config "$@"; }
vips_inc=$(pc --cflags vips | tr ' ' '\n' | sed 's/^-I/-isystem /' | tr '\n' ' ')
cat <<EOF
LIB_MHD := $(pc --libs libmicrohttpd)
LIB_GNUTLS := $(pc --libs gnutls)
LIB_UV := $(pc --libs libuv)
LIB_SQLITE := $(pc --libs sqlite3)
LIB_JANSSON := $(pc --libs jansson)
LIB_CRYPTO := $(pc --libs libcrypto)
LIB_EXPAT := $(pc --libs expat)
LIB_VIPS := $(pc --libs vips)
LIB_SECCOMP := $(pc --libs libseccomp)
LIB_S3 := -ls3
LIB_CURL := $(pc --libs libcurl)
LIB_CMOCKA := -lcmocka
INC_functions := $vips_inc -DVIPS_LIBDIR_NAME='"$(basename "$(pc --variable=libdir vips)")"' -DVIPS_MODULE_DIR='"$(pc --variable=libdir vips)/vips-modules-$(pc --modversion vips | cut -d. -f1,2)"'
INC_tests := $vips_inc
EOF
