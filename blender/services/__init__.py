"""What needs no Blender: the client, the program it talks to, the work on orders, cameras and the head's file."""
# SPDX-License-Identifier: GPL-3.0-or-later
