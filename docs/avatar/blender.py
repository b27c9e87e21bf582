"""A head by spmr-recon in Blender: imports the .glb, puts an expression on it and renders a picture.

    blender --background --python blender.py -- head.glb picture.png jawOpen=0.6 eyeBlinkLeft=1

With Blender's Python module (pip install bpy): python blender.py head.glb picture.png jawOpen=0.6
"""

import math
import sys

import bpy


def load(path):
    """The objects of the file, in an empty scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=path)
    return list(bpy.context.scene.objects)


def express(objects, weights):
    """Sets shape keys on all meshes: eyes, teeth and tongue have those that move them.

    The actions of the file, a clip or the photo's expression, are taken off, since they would overrule the keys.
    """
    meshes = [thing for thing in objects if thing.type == "MESH" and thing.data.shape_keys]
    known = {key.name for thing in meshes for key in thing.data.shape_keys.key_blocks}
    for name in weights.keys() - known:
        raise SystemExit(f"no shape key is called {name}")
    for thing in meshes:
        thing.data.shape_keys.animation_data_clear()
        for key in thing.data.shape_keys.key_blocks:
            key.value = weights.get(key.name, 0)


def look(objects, left, down):
    """Turns both eyes by their bones, radians toward the head's own left and down."""
    armature = next(thing for thing in objects if thing.type == "ARMATURE")
    for name in ("leftEye", "rightEye"):
        bone = armature.pose.bones[name]
        bone.rotation_mode = "YXZ"
        rest = bone.bone.matrix_local.to_3x3()
        turn = rest.inverted() @ rotation(left, down) @ rest
        bone.rotation_euler = turn.to_euler("YXZ")


def rotation(left, down):
    """In the armature's frame, where the glTF's axes are: up is +Z, the face looks to -Y."""
    from mathutils import Matrix

    return Matrix.Rotation(left, 3, "Z") @ Matrix.Rotation(down, 3, "X")


def render(path, size_px=512):
    """A picture from the front with one light, by Cycles."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.location, camera.rotation_euler = (0, -1.1, 0), (math.pi / 2, 0, 0)
    camera.data.angle = math.radians(17)
    light = bpy.data.objects.new("light", bpy.data.lights.new("light", "SUN"))
    light.rotation_euler, light.data.energy = (math.radians(50), 0, math.radians(20)), 3
    scene.collection.objects.link(camera)
    scene.collection.objects.link(light)
    scene.world = bpy.data.worlds.new("world")
    scene.camera = camera
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 16
    scene.render.film_transparent = True
    scene.render.resolution_x = scene.render.resolution_y = size_px
    scene.render.filepath = path
    bpy.ops.render.render(write_still=True)


def main():
    """Reads the arguments behind ``--``, or all of them without Blender around."""
    given = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    if len(given) < 2:
        raise SystemExit("give a .glb, a picture to write, and any number of NAME=WEIGHT")
    objects = load(given[0])
    express(objects, {name: float(value) for name, value in (word.split("=") for word in given[2:])})
    render(given[1])


if __name__ == "__main__":
    main()
