"""Hair strands by spmr-recon in Blender: attaches the curves of --hair-out to the head and renders a picture.

    blender --background --python blender.py -- head.glb hair.usdc picture.png

With Blender's Python module (pip install bpy): python blender.py head.glb hair.usdc picture.png
"""

import math
import sys

import bpy


def load(head, hair):
    """The skin and the curves, in an empty scene, without the avatar's own hair."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=head)
    meshes = {thing.name.split(".")[0]: thing for thing in bpy.context.scene.objects if thing.type == "MESH"}
    for name in meshes.keys() & {"hair", "hair_cap"}:
        meshes[name].hide_set(True)
        meshes[name].hide_render = True
    bpy.ops.wm.usd_import(filepath=hair, import_curves=True)
    return meshes["skin"], next(thing for thing in bpy.context.scene.objects if thing.type == "CURVES")


def attach(strands, skin):
    """Makes the skin the surface of the curves: they follow its bones and shape keys, and can be combed on it.

    The roots are found by the attribute surface_uv_coordinate, which the file has. Blender adds the modifier that
    deforms the curves and makes the skin keep its place at rest.
    """
    bpy.ops.object.select_all(action="DESELECT")
    strands.select_set(True)
    skin.select_set(True)
    bpy.context.view_layer.objects.active = skin
    bpy.ops.curves.surface_set()


def colour(strands):
    """Gives the curves Cycles' hair shader, in the colour of each point."""
    material = bpy.data.materials.new("hair")
    if material.node_tree is None:  # before Blender 5
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    attribute = tree.nodes.new("ShaderNodeAttribute")
    attribute.attribute_name = "displayColor"
    shader = tree.nodes.new("ShaderNodeBsdfHairPrincipled")
    shader.parametrization = "COLOR"
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(attribute.outputs["Color"], shader.inputs["Color"])
    tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    strands.data.materials.clear()
    strands.data.materials.append(material)


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
    scene.cycles_curves.shape = "THICK"  # round strands, whose shadows do not depend on where they are seen from
    scene.render.film_transparent = True
    scene.render.resolution_x = scene.render.resolution_y = size_px
    scene.render.filepath = path
    bpy.ops.render.render(write_still=True)


def main():
    """Reads the arguments behind ``--``, or all of them without Blender around."""
    given = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    if len(given) != 3:
        raise SystemExit("give a .glb, the hair's .usdc and a picture to write")
    skin, strands = load(given[0], given[1])
    attach(strands, skin)
    colour(strands)
    render(given[2])


if __name__ == "__main__":
    main()
