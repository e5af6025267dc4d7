"""Fluorescein angiogram (FFA): grey, vessels bright on a dim choroid, dark fovea, and dye that leaks or is blocked.

Planted values as in the fundus photograph: field (size), vessel width (vessel), dim choroid (pigment), brightness
(clarity), and the tissue's fine texture.
"""

import numpy as np

from visionfm.synthetic.retina import Retina, lay_out
from visionfm.synthetic.scene import Scene
from visionfm.synthetic.signs import Look, mark, paint_signs


def draw_ffa(scene: Scene) -> None:
    """Paint the angiogram on the scene's canvas."""
    canvas = scene.canvas
    retina = lay_out(scene)
    field = canvas.ellipse(*retina.centre, retina.field_radius, soft=0.006)
    texture = scene.stream("FFA/texture")
    canvas.paint(field, 0.34 - 0.16 * scene.level("pigment"))
    canvas.rgb *= (1 + 0.06 * canvas.clouds(texture, 8) + 0.08 * canvas.clouds(texture, 60))[..., None]
    if scene.has("Myopia"):
        stripes = mark(scene, "Myopia", field)
        scene.sign("Myopia", stripes, 0.48, 0.8)
        crescent = canvas.ellipse(retina.disc[0] - scene.nasal * 0.035, retina.disc[1], 0.062, 0.072, soft=0.012)
        scene.sign("Myopia", crescent, 0.75, 0.9)
    canvas.multiply(canvas.glow(*retina.fovea, 0.05), 0.25)
    disc = canvas.ellipse(*retina.disc, 0.93 * retina.disc_radius, retina.disc_radius, soft=0.012)
    canvas.paint(disc, 0.34, 0.7)
    scene.keep("disc", disc)
    scene.geometry.points |= {"disc": retina.disc, "fovea": retina.fovea}
    for name, tree, shade in (("veins", retina.veins, 0.72), ("arteries", retina.arteries, 0.80)):
        vessels = canvas.strokes(tree.lines, tree.widths)
        canvas.paint(vessels * field, shade, 0.9)
        scene.keep(name, vessels)
    _signs(scene, retina)
    canvas.rgb *= (1 + scene.grain_of_tissue(0.14))[..., None]
    canvas.rgb *= (1.05 - 0.75 * canvas.distance(*retina.centre) ** 2)[..., None]
    canvas.rgb += np.float32(0.05) * np.float32(scene.level("age"))
    canvas.rgb *= np.float32(0.75 + 0.5 * scene.level("clarity"))
    scene.capture(0.012, "FFA/capture")
    view = canvas.ellipse(*retina.centre, retina.field_radius, soft=0.006)
    canvas.rgb *= view[..., None]
    scene.keep("field_of_view", view)


def _signs(scene: Scene, retina: Retina) -> None:
    canvas = scene.canvas
    field = canvas.ellipse(*retina.centre, retina.field_radius)
    x, y = retina.disc
    toward = np.pi if scene.nasal > 0 else 0.0
    wedges = [canvas.sector(x, y, toward + turn, 0.45, 0.05) for turn in (-0.75, 0.75)]
    upper = scene.stream("RVO").random() < 0.5
    half = canvas.below(np.full(canvas.size, y + (0.1 if upper else -0.1), np.float32))
    if scene.has("Glaucoma"):
        scene.sign("Glaucoma", canvas.ellipse(x, y, retina.disc_radius, soft=0.01), 0.03, 0.85)
    if scene.has("AMD"):
        scene.sign("AMD", canvas.ellipse(*retina.fovea, 0.075, 0.06, soft=0.03), 0.85, 0.85)
    if scene.has("Hypertensive Retinopathy"):
        scene.sign("Hypertensive Retinopathy", canvas.glow(x, y, 0.07), 0.85, 0.9)
    drained = (1 - half if upper else half) * field
    if scene.has("Retinal Vein Occlusion"):
        scene.tint("Retinal Vein Occlusion", drained, 0.10, 0.3)
    paint_signs(
        scene,
        {
            "DR-1": Look(field, 0.02, scale=1.15),
            "DR-2": Look(field * canvas.ellipse(*retina.fovea, 0.46), 0.95),
            "DR-3": Look(field, 0.02),
            "DR-4": Look(field, 0.95),
            "Glaucoma": Look(np.maximum(*wedges) * field, 0.02, 0.75),
            "AMD": Look(field * canvas.ellipse(*retina.fovea, 0.36), 0.75, scale=0.9),
            "Hypertensive Retinopathy": Look(field, 0.50, 0.6),
            "Retinal Vein Occlusion": Look(drained, 0.02),
        },
    )
    if scene.findings.dr_grade == 4:  # dye that has leaked from new vessels
        scene.sign("DR-4", canvas.blurred(mark(scene, "DR-4", field, 0.5), 0.01) * 1.5, 0.9, 0.6)
    if scene.has("Retinal Detachment"):
        rng = scene.stream("Fundus/RD")
        turn = rng.uniform(0.25, 0.75) * np.pi * (1 if rng.random() < 0.5 else -1)
        height = (canvas.x - 0.5) * np.cos(turn) + (canvas.y - 0.5) * np.sin(turn) + 0.03 * canvas.clouds(rng, 5)
        area = np.clip((height - 0.01) / 0.025, 0, 1).astype(np.float32) * field
        scene.tint("Retinal Detachment", area, 0.42, 0.6)
        paint_signs(scene, {"Retinal Detachment": Look(area, 0.03, 0.9)})
    if scene.has("Cataract"):
        canvas.blur(0.0035 * scene.difficulty.opacity)
        scene.tint("Cataract", field, 0.36, 0.40)
        paint_signs(scene, {"Cataract": Look(field, 0.08, 0.5)})
