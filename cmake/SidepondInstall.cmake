# SPDX-License-Identifier: Apache-2.0
# Everything that `cmake --install` puts into place.
include(CMakePackageConfigHelpers)
