"""What becomes of a head in the scene: import, materials, expression, camera, remaking in place, FBX."""
# SPDX-License-Identifier: GPL-3.0-or-later
