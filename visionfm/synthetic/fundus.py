"""Colour fundus photograph: orange field on black, disc, fovea, arteries and veins, and the diseases' signs.

Planted values: field of view (size), vessel width (vessel), hue from pale to brown (pigment), brightness (clarity),
yellowing (age), and the tissue's fine texture.
"""

import numpy as np

from visionfm.synthetic.canvas import Array
from visionfm.synthetic.retina import Retina, lay_out
from visionfm.synthetic.scene import Scene, scattered
from visionfm.synthetic.signs import Look, mark, paint_signs


def draw_fundus(scene: Scene) -> None:
    """Paint the photograph on the scene's canvas."""
    canvas = scene.canvas
    retina = lay_out(scene)
    pigment = scene.level("pigment")
    canvas.paint(np.ones_like(canvas.x), (0.80 - 0.20 * pigment, 0.46 - 0.20 * pigment, 0.27 - 0.14 * pigment))
    texture = scene.stream("Fundus/texture")
    canvas.rgb *= (1 + 0.045 * canvas.clouds(texture, 7) + 0.03 * canvas.clouds(texture, 22))[..., None]
    if scene.has("Myopia"):
        _myopia_below(scene, retina)
    canvas.multiply(canvas.glow(*retina.fovea, 0.05), (0.62, 0.52, 0.5))
    _disc(scene, retina)
    _vessels(scene, retina)
    _signs(scene, retina)
    if scene.has("Cataract"):
        _cataract(scene)
    canvas.rgb *= (1 + scene.grain_of_tissue(0.08))[..., None]
    canvas.rgb *= (1.06 - 0.55 * canvas.distance(*retina.centre) ** 2)[..., None]
    yellow = scene.level("age")
    canvas.rgb *= np.asarray([1.0, 1.02 - 0.10 * yellow, 1.25 - 0.85 * yellow], np.float32)
    canvas.rgb *= np.float32(0.62 + 0.5 * scene.level("clarity"))
    scene.capture(0.008, "Fundus/capture")
    view = canvas.ellipse(*retina.centre, retina.field_radius, soft=0.006)
    tab = canvas.ellipse(
        retina.centre[0] + 0.72 * retina.field_radius, retina.centre[1] - 0.72 * retina.field_radius, 0.012
    )
    canvas.rgb *= np.maximum(view, tab)[..., None]
    scene.keep("field_of_view", view)


def _disc(scene: Scene, retina: Retina) -> None:
    canvas = scene.canvas
    x, y = retina.disc
    radius = retina.disc_radius
    disc = canvas.ellipse(x, y, radius * 0.93, radius, soft=0.012)
    canvas.add(canvas.glow(x, y, radius * 1.7), (0.06, 0.05, 0.03))
    canvas.paint(disc, (0.98, 0.72, 0.42), 0.85)
    glaucoma = scene.has("Glaucoma")
    share = 0.42 + (0.44 * scene.difficulty.opacity if glaucoma else 0.0)
    cup = canvas.ellipse(x - scene.nasal * 0.004, y, radius * share * 0.95, radius * share, soft=0.010)
    canvas.paint(cup, (1.0, 0.92, 0.72), 0.9)
    scene.keep("disc", disc)
    scene.keep("cup", cup)
    scene.geometry.points |= {"disc": retina.disc, "fovea": retina.fovea}
    if glaucoma:  # pale rim, and wedges of lost nerve fibres along the arcades
        scene.sign("Glaucoma", disc, (0.97, 0.95, 0.86), 0.75)
        toward = np.pi if scene.nasal > 0 else 0.0
        reach = np.clip((canvas.distance(x, y) - radius) / 0.03, 0, 1)
        wedges = [canvas.sector(x, y, toward + turn, 0.55, 0.05) * reach for turn in (-0.75, 0.75)]
        canvas.multiply(np.maximum(*wedges) * np.float32(scene.difficulty.opacity), (0.86, 0.88, 0.95))
        paint_signs(scene, {"Glaucoma": Look(np.maximum(*wedges), (0.16, 0.09, 0.08), 0.72)})


def _vessels(scene: Scene, retina: Retina) -> None:
    canvas = scene.canvas
    veins = canvas.strokes(retina.veins.lines, retina.veins.widths)
    arteries = canvas.strokes(retina.arteries.lines, retina.arteries.widths)
    canvas.multiply(veins * 0.85, (0.68, 0.30, 0.35))
    canvas.multiply(arteries * 0.8, (0.86, 0.42, 0.40))
    scene.keep("veins", veins)
    scene.keep("arteries", arteries)
    if scene.has("Hypertensive Retinopathy"):  # silver wiring: a bright reflex in wide, hard arteriolar walls
        walls = canvas.strokes(retina.arteries.lines, [max(0.006, 1.5 * width) for width in retina.arteries.widths])
        scene.tint("Hypertensive Retinopathy", walls, (0.92, 0.80, 0.74), 0.9)


def _myopia_below(scene: Scene, retina: Retina) -> None:
    """Choroidal vessels shine through (tessellation), and a white crescent lies beside the disc."""
    canvas = scene.canvas
    stripes = mark(scene, "Myopia", np.ones_like(canvas.x))
    scene.sign("Myopia", stripes, (1.0, 0.66, 0.50), 0.75)
    canvas.multiply((1 - stripes) * np.float32(0.5 * scene.difficulty.opacity), (0.72, 0.62, 0.75))
    x, y = retina.disc[0] - scene.nasal * 0.035, retina.disc[1]
    scene.sign("Myopia", canvas.ellipse(x, y, 0.062, 0.072, soft=0.012), (0.97, 0.90, 0.76), 0.9)


def _signs(scene: Scene, retina: Retina) -> None:
    canvas = scene.canvas
    field = canvas.ellipse(*retina.centre, retina.field_radius)
    x, y = retina.disc
    off_disc = field * (canvas.distance(x, y) > 1.25 * retina.disc_radius)
    looks = {
        "DR-1": Look(off_disc, (0.42, 0.02, 0.05)),
        "DR-2": Look(off_disc * canvas.ellipse(*retina.fovea, 0.40), (1.0, 0.95, 0.45)),
        "DR-3": Look(off_disc, (0.28, 0.02, 0.03)),
        "DR-4": Look(off_disc * (canvas.distance(*retina.fovea) > 0.11), (0.90, 0.78, 0.58)),
        "AMD": Look(off_disc * canvas.ellipse(*retina.fovea, 0.34), (0.95, 0.80, 0.55)),
        "Hypertensive Retinopathy": Look(field * 0.6, (0.90, 0.66, 0.60)),
        "Retinal Vein Occlusion": Look(_drained(scene, retina) * off_disc, (0.55, 0.02, 0.04)),
    }
    if scene.has("AMD"):
        atrophy = canvas.ellipse(*retina.fovea, 0.10, 0.085, soft=0.02)
        scene.sign("AMD", atrophy, (0.90, 0.70, 0.52), 0.85)
    if scene.has("Retinal Vein Occlusion"):  # the drained area is swollen and pale
        scene.tint("Retinal Vein Occlusion", looks["Retinal Vein Occlusion"].region, (0.78, 0.34, 0.30), 0.45)
    paint_signs(scene, looks)
    if scene.findings.dr_grade == 4:
        _proliferation(scene, retina)
    if scene.has("Retinal Detachment"):
        _detachment(scene)


def _proliferation(scene: Scene, retina: Retina) -> None:
    """Burnt centres in the laser scars, new vessels in fans, and a boat-shaped haemorrhage with a level top."""
    canvas, rng = scene.canvas, scene.stream("Fundus/DR-4")
    lines = []
    for x, y in [retina.disc, *scattered(rng, 3, *retina.centre, retina.field_radius * 0.75, 0.2)]:
        for angle in rng.uniform(0, 2 * np.pi, scene.number(14)):
            reach = rng.uniform(0.03, 0.07)
            t = np.linspace(0, 2 * np.pi, 14)[:, None]
            along = np.stack([np.cos(angle) * np.ones(14), np.sin(angle) * np.ones(14)], 1)
            lines.append(np.asarray([x, y]) + reach * (1 - np.cos(t)) / 2 * along + 0.012 * np.sin(t) * along[:, ::-1])
    scene.sign("DR-4", canvas.strokes(lines, 0.0035), (0.62, 0.02, 0.06), 0.95)
    x, y = retina.fovea[0] + rng.uniform(-0.05, 0.05), retina.fovea[1] + rng.uniform(0.09, 0.13)
    boat = canvas.ellipse(x, y, 0.11, 0.075) * canvas.below(np.full(canvas.size, y, np.float32), 0.004)
    scene.sign("DR-4", boat, (0.42, 0.02, 0.02), 0.97)


def _drained(scene: Scene, retina: Retina) -> Array:
    """The area of an occluded vein: the upper or the lower half of the field."""
    upper = scene.stream("RVO").random() < 0.5
    half = scene.canvas.below(np.full(scene.canvas.size, retina.disc[1] + (0.1 if upper else -0.1), np.float32))
    return 1 - half if upper else half


def _detachment(scene: Scene) -> None:
    """A grey, billowing retina over one side, with folds."""
    canvas, rng = scene.canvas, scene.stream("Fundus/RD")
    toward = rng.uniform(0.25, 0.75) * np.pi * (1 if rng.random() < 0.5 else -1)
    height = (canvas.x - 0.5) * np.cos(toward) + (canvas.y - 0.5) * np.sin(toward) + 0.03 * canvas.clouds(rng, 5)
    area = np.clip((height - 0.04) / 0.025, 0, 1).astype(np.float32)
    scene.tint("Retinal Detachment", area, (0.60, 0.57, 0.53), 0.75)
    paint_signs(scene, {"Retinal Detachment": Look(area, (0.36, 0.35, 0.36), 0.7)})


def _cataract(scene: Scene) -> None:
    """A milky veil: slightly blurred, and lifted towards a dull grey-yellow."""
    scene.canvas.blur(0.0035 * scene.difficulty.opacity)
    everywhere = np.ones_like(scene.canvas.x)
    scene.tint("Cataract", everywhere, (0.78, 0.66, 0.50), 0.36)
    paint_signs(scene, {"Cataract": Look(everywhere, (0.40, 0.30, 0.20), 0.35)})
