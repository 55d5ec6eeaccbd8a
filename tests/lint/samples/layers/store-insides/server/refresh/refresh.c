/* SPDX-License-Identifier: Apache-2.0 */
#include "server/store/index_write.h"
