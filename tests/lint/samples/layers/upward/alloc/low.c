/* SPDX-License-Identifier: Apache-2.0 */
#include "client/local/pond.h"
