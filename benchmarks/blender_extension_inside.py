"""What ``blender_extension.py`` does in Blender's Python: uses the extension as a user does, and prints what it saw.

python blender_extension_inside.py FOLDER, which holds ``given.json``
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from inside_blender import print_findings

_MODULE = "bl_ext.user_default.spinmeround"
_RENDERED_PX = 512
_TURN = (0.3, -0.2, 1.1)


def use_extension(folder: Path) -> None:
    """Use the extension as a user does, in Blender's Python, and print what became of it."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    given = json.loads((folder / "given.json").read_text())
    _install(given["zip"], given["program"])
    settings, looks = bpy.context.scene.spinmeround, _timed_looks()
    settings.quality, settings.texture_size = "draft", "1024"
    seen: dict[str, Any] = {}
    bpy.ops.spinmeround.import_photo(filepath=given["photo"])
    seen["error"] = bpy.context.window_manager.spinmeround.error
    armature = bpy.context.active_object
    seen["head"] = _described(armature)
    seen["looks_s"] = sorted(looks)[-2:]
    seen["panels"] = _drawn()
    bpy.ops.spinmeround.look_through()
    _render(folder / "overlay.png", _RENDERED_PX / max(_photo_size()))
    for engine in ("UNITY", "UNREAL"):
        bpy.ops.spinmeround.export_fbx(filepath=str(folder / f"{engine}.fbx"), engine=engine)
    seen["again"] = _made_again(armature)
    seen["row"] = _row(folder, given["photo"])
    seen["stopped"] = _stopped(given["photo"])
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "head.blend"))
    seen["server"] = _end()
    seen["fbx"] = {engine: _read_fbx(folder / f"{engine}.fbx") for engine in ("UNITY", "UNREAL")}
    print_findings(seen)


def _install(archive: str, program: str) -> None:
    """Install the zip as Install from Disk does, into the user folder of this run."""
    import bpy

    bpy.ops.extensions.package_install_files(filepath=archive, repo="user_default", enable_on_install=True)
    preferences = bpy.context.preferences.addons[_MODULE].preferences
    preferences.address, preferences.program = "http://127.0.0.1:9", program


def _timed_looks() -> list[float]:
    """Return a list that gets the seconds of each look at the work, during which a window would stand still."""
    session = importlib.import_module(f"{_MODULE}.ui.session").Session
    seconds: list[float] = []
    look = session.tick

    def timed(self: Any, context: Any) -> bool:
        started = time.perf_counter()
        more = look(self, context)
        seconds.append(time.perf_counter() - started)
        return more

    session.tick = timed
    return seconds


def _parts(armature: Any) -> dict[str, Any]:
    return importlib.import_module(f"{_MODULE}.scene.heads").parts(armature)


def _described(armature: Any) -> dict[str, Any]:
    import bpy

    things = _parts(armature)
    camera = things.get("photo_camera")
    layer = camera.data.background_images[0] if camera and camera.data.background_images else None
    shaders = {part: _shader(thing) for part, thing in things.items() if thing.type == "MESH"}
    shown = [thing for thing in things.values() if not thing.hide_render]
    return {
        "bones": [bone.name for bone in armature.data.bones],
        "eyes_apart_m": (armature.data.bones["leftEye"].head_local - armature.data.bones["rightEye"].head_local).length,
        "keys": [key.name for key in list(things["skin"].data.shape_keys.key_blocks)[1:]],
        "key_values": sum(key.value for key in list(things["skin"].data.shape_keys.key_blocks)[1:]),
        "driven": sum(len(thing.data.shape_keys.animation_data.drivers) for thing in _moved_by_skin(things)),
        "actions": len(bpy.data.actions),
        "skin_subsurface": shaders["skin"].inputs["Subsurface Weight"].default_value,
        "eyes_coat": shaders["eyes"].inputs["Coat Weight"].default_value,
        "hair_alpha": "hair" in shaders and shaders["hair"].inputs["Alpha"].is_linked,
        "unlit_parts": [part for part, shader in shaders.items() if not shader.inputs["Base Color"].is_linked],
        "photo_packed": layer is not None and layer.image.packed_file is not None and camera.parent == armature,
        "shown": sorted(thing["spinmeround_part"] for thing in shown if thing.type in ("MESH", "CURVES")),
        "triangles": sum(len(t.data.polygons) for t in things.values() if t.type == "MESH"),
    }


def _moved_by_skin(things: dict[str, Any]) -> list[Any]:
    moved = [things[part] for part in ("eyes", "teeth", "tongue") if part in things]
    return [thing for thing in moved if thing.data.shape_keys and thing.data.shape_keys.animation_data]


def _shader(thing: Any) -> Any:
    nodes = thing.data.materials[0].node_tree.nodes
    return next(node for node in nodes if node.type == "BSDF_PRINCIPLED")


def _photo_size() -> tuple[int, int]:
    import bpy

    render = bpy.context.scene.render
    return render.resolution_x, render.resolution_y


def _render(path: Path, scale: float) -> None:
    """Render what the scene's camera sees, without a background; few samples are enough for an outline."""
    import bpy

    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 8, False
    scene.render.film_transparent = True
    scene.render.resolution_percentage = math.ceil(100 * scale)
    if not any(thing.type == "LIGHT" for thing in scene.objects):
        light = bpy.data.objects.new("light", bpy.data.lights.new("light", "SUN"))
        light.rotation_euler, light.data.energy = (math.radians(50), 0, math.radians(20)), 3
        scene.collection.objects.link(light)
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


class _Layout:
    """Stands in for a panel's layout, which needs a window, and notes names that Blender does not know."""

    def __init__(self, wrong: list[str]) -> None:
        self._wrong = wrong
        self.drawn: list[str] = []

    def prop(self, data: Any, name: str, **how: Any) -> None:
        self._check(hasattr(data, name), f"{data} has no {name}", how)
        self.drawn.append(name)

    def operator(self, name: str, **how: Any) -> Any:
        import bpy

        group, _, operator = name.partition(".")
        known = operator in dir(getattr(bpy.ops, group))
        self._check(known, f"no operator {name}", how)
        self.drawn.append(name)
        return SimpleNamespace()

    def label(self, *, text: str = "", **how: Any) -> None:
        self._check(True, "", how)
        self.drawn.append(text)

    def template_list(self, kind: str, _id: str, data: Any, name: str, active: Any, index: str, **_: Any) -> None:
        import bpy

        known = hasattr(bpy.types, kind) and hasattr(data, name) and hasattr(active, index)
        self._check(known, f"no list {kind} of {name}", {})

    def progress(self, *, factor: float, text: str) -> None:
        self._check(0 <= factor <= 1, f"progress {factor}", {})
        self.drawn.append(text)

    def row(self, **_: Any) -> _Layout:
        return self

    column = box = row

    def _check(self, known: bool, what: str, how: dict[str, Any]) -> None:
        import bpy

        icons = bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items
        if not known:
            self._wrong.append(what)
        if how.get("icon", "NONE") not in icons:
            self._wrong.append(f"no icon {how['icon']}")


class _Window:
    """Blender's context, with what only a window has."""

    def __getattr__(self, name: str) -> Any:
        import bpy

        return getattr(bpy.context, name)


def _drawn() -> dict[str, Any]:
    """Draw panels and preferences at rest, and while a head is made that fails."""
    import bpy

    state, wrong = bpy.context.window_manager.spinmeround, []
    layout = _Layout(wrong)
    panels = [getattr(bpy.types, name) for name in ("SPMR_PT_photos", "SPMR_PT_options", "SPMR_PT_head")]
    importer = importlib.import_module(f"{_MODULE}.ui.import_menu").SPMR_OT_import_photo
    preferences = importlib.import_module(f"{_MODULE}.ui.preferences").SPMR_Preferences
    for running, error in ((False, ""), (True, ""), (False, "It went wrong, and this is a long line that says why")):
        state.running, state.error = running, error
        for panel in panels:
            if not hasattr(panel, "poll") or panel.poll(bpy.context):
                panel.draw(SimpleNamespace(layout=layout), bpy.context)
    shown = SimpleNamespace(layout=layout, each=False, address="", token="", program="")
    importer.draw(shown, bpy.context)
    preferences.draw(shown, bpy.context)
    state.running, state.error = False, ""
    return {"wrong": sorted(set(wrong)), "drawn": len(layout.drawn)}


def _made_again(armature: Any) -> dict[str, Any]:
    """Move, pose and paint the head, make it again with other options, and say what changed that should not."""
    import bpy

    holder = bpy.data.objects.new("holder", None)
    other = bpy.data.collections.new("other")
    bpy.context.scene.collection.children.link(other)
    bpy.context.scene.collection.objects.link(holder)
    other.objects.link(armature)
    holder.location, armature.parent = (0.4, 0, 0.2), holder
    armature.location, armature.rotation_mode = (1, 2, 3), "XYZ"
    armature.rotation_euler, armature.scale = _TURN, (1.5, 1.5, 1.5)
    armature.pose.bones["jaw"].rotation_mode = "XYZ"
    armature.pose.bones["jaw"].rotation_euler = (0.1, 0, 0)
    things = _parts(armature)
    things["skin"].data.shape_keys.key_blocks["jawOpen"].value = 0.625
    _shader(things["skin"]).inputs["Roughness"].default_value = 0.125
    before = _kept(armature)
    triangles = len(things["skin"].data.polygons)
    settings = bpy.context.scene.spinmeround
    settings.lod, settings.hair = "1", "strands"
    bpy.context.view_layer.objects.active = things["skin"]
    bpy.ops.spinmeround.make_again()
    after = _kept(armature)
    moved = [
        max(abs(a - b) for a, b in zip(before["places"][name], after["places"][name], strict=True))
        for name in before["places"].keys() & after["places"].keys()
    ]
    error = bpy.context.window_manager.spinmeround.error
    return {
        "error": error,
        "moved_m": max(moved),
        "compared": len(moved),
        "same": [key for key in before if key != "places" and before[key] == after[key]],
        "other": [key for key in before if key != "places" and before[key] != after[key]],
        "fewer_triangles": triangles - len(_parts(armature)["skin"].data.polygons),
        "strands": len(_parts(armature)["strands"].data.curves) if "strands" in _parts(armature) else 0,
        "left_over": [thing.name for kind in ("meshes", "materials") for thing in _unused(kind)],
        "head": _described(armature),
    }


def _unused(kind: str) -> list[Any]:
    import bpy

    return [thing for thing in getattr(bpy.data, kind) if thing.users == 0]


def _kept(armature: Any) -> dict[str, Any]:
    """Return what must outlive making again; places of all objects but the photo's camera in the world."""
    import bpy

    bpy.context.view_layer.update()
    things = {"armature": armature, **{n: t for n, t in _parts(armature).items() if n not in ("photo_camera",)}}
    skin = things["skin"]
    return {
        "places": {name: [value for row in thing.matrix_world for value in row] for name, thing in things.items()},
        "parent": armature.parent.name,
        "collections": sorted(collection.name for collection in armature.users_collection),
        "names": {name: thing.name for name, thing in things.items() if name in ("armature", "skin", "eyes", "hair")},
        "jaw": list(armature.pose.bones["jaw"].rotation_euler),
        "keys": [key.name for key in skin.data.shape_keys.key_blocks],
        "jawOpen": skin.data.shape_keys.key_blocks["jawOpen"].value,
        "roughness": _shader(skin).inputs["Roughness"].default_value,
    }


def _row(folder: Path, photo: str) -> dict[str, Any]:
    """Make a row of a folder with a photo and a file that is none."""
    import bpy

    photos = folder / "photos"
    photos.mkdir()
    (photos / "a.png").write_bytes(Path(photo).read_bytes())
    (photos / "b.jpg").write_text("no photo")
    before = {thing for thing in bpy.data.objects if thing.type == "ARMATURE"}
    bpy.context.scene.spinmeround.hair = "cards"
    bpy.ops.spinmeround.make_row(directory=str(photos))
    new = [thing for thing in bpy.data.objects if thing.type == "ARMATURE" and thing not in before]
    return {"heads": [thing.name for thing in new], "error": bpy.context.window_manager.spinmeround.error}


def _stopped(photo: str) -> dict[str, Any]:
    """Stop a head while it is made, on the beats of a timer as with a window; return what is left of it."""
    import bpy

    session = importlib.import_module(f"{_MODULE}.ui.session")
    before, settings, said = set(bpy.data.objects), bpy.context.scene.spinmeround, []
    watcher = importlib.import_module(f"{_MODULE}.ui.watching").Watcher
    operator = type("Operator", (watcher,), {"report": lambda _self, _kind, text: said.append(text)})()
    operator._session = session.begin(bpy.context, [settings.order([Path(photo)], "stopped")], settings.wishes())
    context, statuses = _Window(), []
    context.workspace = SimpleNamespace(status_text_set=statuses.append)

    def beat(kind: str = "TIMER") -> set[str]:
        time.sleep(0.05)
        return operator.modal(context, SimpleNamespace(type=kind))

    while bpy.context.window_manager.spinmeround.fraction == 0:
        assert beat() == beat("MOUSEMOVE") == {"PASS_THROUGH"}
    started = time.perf_counter()
    bpy.ops.spinmeround.stop()
    while (ended := beat()) == {"PASS_THROUGH"}:
        pass
    assert ended == {"CANCELLED"} and statuses[0].startswith("spinmeround: ") and statuses[-1] is None
    with urllib.request.urlopen(session.PROGRAM.start("").address + "/api/heads") as answer:
        heads = json.load(answer)["heads"]
    return {
        "seconds": time.perf_counter() - started,
        "objects": len(set(bpy.data.objects) - before),
        "on_server": sum(head["name"] == "stopped" for head in heads),
        "said": ", ".join(said),
    }


def _end() -> dict[str, Any]:
    """Switch the extension off, which ends the server."""
    import addon_utils

    program = importlib.import_module(f"{_MODULE}.ui.session").PROGRAM
    ran, process = program.running, program._process
    addon_utils.disable(_MODULE)
    return {"ran": ran, "ended": process.poll() is not None}


def _read_fbx(path: Path) -> dict[str, Any]:
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.fbx(filepath=str(path))
    things = {thing.name.rsplit("_", 1)[-1]: thing for thing in bpy.data.objects}
    rig = next(thing for thing in bpy.data.objects if thing.type == "ARMATURE")
    skin = things["skin"]
    return {
        "keys": [key.name for key in list(skin.data.shape_keys.key_blocks)[1:]],
        "key_values": sum(abs(key.value) for key in list(skin.data.shape_keys.key_blocks)[1:]),
        "bones": [bone.name for bone in rig.data.bones],
        "unit_m": rig.scale.x,
        "height_m": max(v.co.z for v in skin.data.vertices) - min(v.co.z for v in skin.data.vertices),
        "pictures": sum(image.size[0] > 0 for image in bpy.data.images),
        "materials": len({slot.material for thing in things.values() for slot in thing.material_slots}),
    }


if __name__ == "__main__":
    use_extension(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # Blender 4.2 as a module crashes when Python ends, with any operator that was registered
