"""Materials: skin with light beneath it, wet eyes, hair whose cards end softly, strands in their own colours."""
# SPDX-License-Identifier: GPL-3.0-or-later

from collections.abc import Iterable
from dataclasses import dataclass

import bpy

ALBEDO, NORMAL = "spinmeround albedo", "spinmeround normal"
"""Names of the nodes that hold the pictures; they are exchanged where a head is made again."""
_PART = "spinmeround_material"
_CORNEA_IOR = 1.376


@dataclass(frozen=True)
class _Look:
    """Settings of a Principled BSDF for a part.

    Attributes:
        roughness: of the surface.
        specular: its IOR level, 0.5 for an index of refraction of 1.5.
        subsurface: weight of light that goes through.
        radius: how far red, green and blue go, in parts of ``depth_m``.
        depth_m: scale of these, metres.
        coat: weight of a clear layer above.
        coat_roughness: its roughness.
        cut: whether opacity shapes the part.
    """

    roughness: float
    specular: float = 0.5
    subsurface: float = 0.0
    radius: tuple[float, float, float] = (1.0, 0.35, 0.2)
    depth_m: float = 0.004
    coat: float = 0.0
    coat_roughness: float = 0.03
    cut: bool = False


_LOOKS = {
    # Red light goes a few millimetres into skin. Half the weight, since the photo's colours have the effect in them.
    "skin": _Look(roughness=0.5, specular=0.4, subsurface=0.5),
    # The white scatters, and the coat is the cornea and the film of tears.
    "eyes": _Look(roughness=0.35, subsurface=0.2, depth_m=0.002, coat=1.0, coat_roughness=0.02),
    "teeth": _Look(roughness=0.25, subsurface=0.3, radius=(1.0, 0.8, 0.6), depth_m=0.002, coat=0.3),
    "tongue": _Look(roughness=0.35, subsurface=0.4, depth_m=0.003, coat=0.2),
    "hair": _Look(roughness=0.65, specular=0.1, cut=True),
    "hair_cap": _Look(roughness=0.8, specular=0.1),
    "headwear": _Look(roughness=0.8, specular=0.3),
    "clothes": _Look(roughness=0.85, specular=0.3),
}
_OTHER = _Look(roughness=0.6)


def dress(thing: bpy.types.Object, part: str, *, name: str, blended: bool) -> None:
    """Give a part its material, with the pictures of the one that came with it.

    Args:
        thing: a mesh as the importer made it.
        part: which one it is.
        name: of the material, and of its pictures.
        blended: hair is blended rather than dithered in EEVEE.
    """
    imported = thing.data.materials[0]
    albedo, normal = _pictures(imported)
    material = bpy.data.materials.new(name)
    material[_PART] = part
    for image, kind in ((albedo, "albedo"), (normal, "normal")):
        if image is not None and image.name.split(".")[0] == f"{part}_{kind}":  # eyes and teeth have the skin's
            image.name = f"{name} {kind}"
    material.use_backface_culling = imported.use_backface_culling
    _build(material, _LOOKS.get(part, _OTHER), albedo, normal)
    material.surface_render_method = "BLENDED" if blended and part == "hair" else "DITHERED"
    thing.data.materials[0] = material
    if imported.users == 0:
        bpy.data.materials.remove(imported)


def exchange_pictures(kept: bpy.types.Material, new: bpy.types.Material) -> bool:
    """Show the pictures of a new material in one that was worked on; return whether it has the nodes for them."""
    if kept.get(_PART) != new.get(_PART) or kept.node_tree is None:
        return False
    for name in (ALBEDO, NORMAL):
        before, after = kept.node_tree.nodes.get(name), new.node_tree.nodes.get(name)
        if (before is None) != (after is None):
            return False
    for name in (ALBEDO, NORMAL):
        if (after := new.node_tree.nodes.get(name)) is not None:
            kept.node_tree.nodes[name].image = after.image
    kept.surface_render_method = new.surface_render_method
    return True


def pictures_of(looks: Iterable[bpy.types.Material]) -> set[bpy.types.Image]:
    """Return the pictures in materials."""
    trees = [material.node_tree for material in looks if material.node_tree is not None]
    return {node.image for tree in trees for node in tree.nodes if node.type == "TEX_IMAGE" and node.image is not None}


def colour_strands(strands: bpy.types.Object, name: str) -> None:
    """Give curves the hair shader in Cycles and its nearest kin in EEVEE, in the colour of each point."""
    material = bpy.data.materials.new(name)
    material[_PART] = "strands"
    tree = _empty_tree(material)
    colour = tree.nodes.new("ShaderNodeAttribute")
    colour.attribute_name = "displayColor"
    hair = tree.nodes.new("ShaderNodeBsdfHairPrincipled")
    hair.parametrization = "COLOR"
    hair.inputs["Roughness"].default_value, hair.inputs["Radial Roughness"].default_value = 0.3, 0.4
    plain = tree.nodes.new("ShaderNodeBsdfPrincipled")
    plain.inputs["Roughness"].default_value, plain.inputs["Specular IOR Level"].default_value = 0.5, 0.25
    for row, (shader, socket, engine) in enumerate(((hair, "Color", "CYCLES"), (plain, "Base Color", "EEVEE"))):
        output = tree.nodes.new("ShaderNodeOutputMaterial")
        output.target = engine
        tree.links.new(colour.outputs["Color"], shader.inputs[socket])
        tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
        shader.location, output.location = (0, -600 * row), (400, -600 * row)
    colour.location = (-300, 0)
    strands.data.materials.clear()
    strands.data.materials.append(material)


def _build(
    material: bpy.types.Material, look: _Look, albedo: bpy.types.Image | None, normal: bpy.types.Image | None
) -> None:
    tree = _empty_tree(material)
    shader = tree.nodes.new("ShaderNodeBsdfPrincipled")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    shader.location, output.location = (0, 0), (350, 0)
    tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    shader.subsurface_method = "RANDOM_WALK_SKIN" if look.subsurface else "RANDOM_WALK"
    for socket, value in {
        "Roughness": look.roughness,
        "Specular IOR Level": look.specular,
        "Subsurface Weight": look.subsurface,
        "Subsurface Radius": look.radius,
        "Subsurface Scale": look.depth_m,
        "Coat Weight": look.coat,
        "Coat Roughness": look.coat_roughness,
        "Coat IOR": _CORNEA_IOR,
    }.items():
        shader.inputs[socket].default_value = value
    if albedo is not None:
        picture = _picture_node(tree, ALBEDO, albedo, (-350, 100))
        # Straight into the shader: exporters follow such links only.
        tree.links.new(picture.outputs["Color"], shader.inputs["Base Color"])
        if look.cut:
            tree.links.new(picture.outputs["Alpha"], shader.inputs["Alpha"])
    if normal is not None:
        picture = _picture_node(tree, NORMAL, normal, (-650, -350))
        turned = tree.nodes.new("ShaderNodeNormalMap")
        turned.location = (-350, -350)
        tree.links.new(picture.outputs["Color"], turned.inputs["Color"])
        tree.links.new(turned.outputs["Normal"], shader.inputs["Normal"])


def _picture_node(
    tree: bpy.types.NodeTree, name: str, image: bpy.types.Image, place: tuple[float, float]
) -> bpy.types.Node:
    node = tree.nodes.new("ShaderNodeTexImage")
    node.name = node.label = name
    node.image, node.location = image, place
    return node


def _empty_tree(material: bpy.types.Material) -> bpy.types.NodeTree:
    if material.node_tree is None:  # before Blender 5
        material.use_nodes = True
    material.node_tree.nodes.clear()
    return material.node_tree


def _pictures(material: bpy.types.Material) -> tuple[bpy.types.Image | None, bpy.types.Image | None]:
    """Return albedo and normal map of a material as the importer made it."""
    albedo = normal = None
    for node in material.node_tree.nodes:
        if node.type == "TEX_IMAGE" and node.image is not None:
            if any(link.to_node.type == "NORMAL_MAP" for link in node.outputs["Color"].links):
                normal = node.image
            elif node.outputs["Color"].is_linked:
                albedo = node.image
    return albedo, normal
