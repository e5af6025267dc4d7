"""Optical coherence tomography (OCT): a B-scan through the fovea, layers over a fading choroid, speckled.

Planted values: thickness of the retina (tissue), vessel shadows (vessel), pigment epithelium and choroid (pigment),
signal (clarity), vitreous haze (age), lit width (size), and the tissue's fine texture.
"""

import numpy as np

from visionfm.synthetic.canvas import Array
from visionfm.synthetic.scene import Scene
from visionfm.synthetic.signs import Look, paint_signs

# Layers from the vitreous down: share of the retina's thickness, brightness (nerve fibres first, photoreceptors last).
LAYERS = (
    (0.14, 0.62),
    (0.16, 0.40),
    (0.14, 0.30),
    (0.10, 0.40),
    (0.24, 0.17),
    (0.05, 0.50),
    (0.08, 0.24),
    (0.09, 0.80),
)
NAMES = (
    "nerve_fibres",
    "ganglion_cells",
    "inner_nuclear",
    "outer_plexiform",
    "outer_nuclear",
    "ellipsoid",
    "outer_segments",
    "photoreceptor_ends",
)


def draw_oct(scene: Scene) -> None:
    """Paint the B-scan on the scene's canvas."""
    canvas = scene.canvas
    rng = scene.stream("OCT/shape")
    x = canvas.x[0]
    fovea = 0.5 + rng.uniform(-0.05, 0.05)
    tilt, sag = rng.uniform(-0.08, 0.08), 0.05 + (0.32 if scene.has("Myopia") else 0.0) * scene.difficulty.opacity
    thickness = 0.21 + 0.09 * scene.level("tissue")
    epithelium = (
        0.64 + rng.uniform(-0.02, 0.02) + tilt * (x - 0.5) - sag * (x - fovea) ** 2 + 0.003 * canvas.wave(rng, 9)
    )
    if scene.has("AMD"):  # drusen lift the pigment epithelium
        lift = np.clip(canvas.wave(scene.stream("OCT/AMD"), 22), 0, None) * np.exp(-(((x - fovea) / 0.3) ** 2))
        epithelium = epithelium - np.float32(0.022 * scene.difficulty.opacity) * lift
    pit = np.exp(-(((x - fovea) / 0.07) ** 2))
    rim = np.exp(-(((x - fovea) / 0.2) ** 2))
    depth = (thickness * (1 + 0.12 * rim - 0.55 * pit) + 0.002 * canvas.wave(rng, 14)).astype(np.float32)
    if scene.has("Retinal Detachment"):  # fluid lifts the retina off the epithelium
        gap = 0.10 * scene.difficulty.opacity * np.exp(-(((x - fovea - 0.12 * scene.nasal) / 0.26) ** 4))
    else:
        gap = np.zeros_like(x)
    bottom = (epithelium - gap).astype(np.float32)
    top = bottom - depth
    epithelium = epithelium.astype(np.float32)
    _layers(scene, top, bottom, epithelium, pit)
    if scene.has("Retinal Detachment"):
        scene.keep("fluid", canvas.between(bottom, epithelium))
    retina, vitreous = canvas.between(top, bottom), 1 - canvas.below(top)
    choroid = canvas.between(epithelium + 0.012, epithelium + 0.26)
    scene.keep("retina", retina)
    scene.geometry.points["fovea"] = (fovea, float(np.interp(fovea, x, top)))
    _shadows(scene, epithelium, top)
    _signs(scene, vitreous, retina, choroid, canvas.between(bottom, epithelium))
    canvas.rgb *= (1 + scene.grain_of_tissue(0.2))[..., None]
    speckle = canvas.grain(scene.stream("OCT/speckle"))
    canvas.rgb += np.float32(0.035 + 0.05 * scene.level("age"))
    canvas.rgb *= np.clip(1 + 0.24 * speckle, 0, 2)[..., None]
    canvas.rgb *= np.float32(0.75 + 0.5 * scene.level("clarity"))
    lit = np.clip((0.40 + 0.10 * scene.level("size") - np.abs(x - 0.5)) / 0.05, 0, 1)
    canvas.rgb *= (0.25 + 0.75 * lit)[None, :, None]
    scene.capture(0.01, "OCT/capture")


def _layers(scene: Scene, top: Array, bottom: Array, epithelium: Array, pit: Array) -> None:
    canvas = scene.canvas
    glow = canvas.between(epithelium, epithelium + np.float32(0.30), 0.004)
    fade = np.exp(-np.clip(canvas.y - epithelium[None, :], 0, None) / np.float32(0.24))
    texture = 1 + 0.28 * canvas.clouds(scene.stream("OCT/choroid"), 30, 46)
    canvas.paint(glow * fade * texture, 0.50 - 0.18 * scene.level("pigment"))
    edge = top
    shares = np.asarray([share for share, _ in LAYERS], np.float32)
    thick = shares[:, None] * (bottom - top)[None, :]
    thick[:5] *= (
        1 - np.asarray([0.75, 0.6, 0.5, 0.3, -0.6], np.float32)[:, None] * pit
    )  # inner layers part at the fovea
    if scene.has("Glaucoma"):
        thick[:2] *= np.float32(1 - 0.6 * scene.difficulty.opacity)
    thick *= (bottom - top) / thick.sum(axis=0)
    for index, (_, brightness) in enumerate(LAYERS):
        below = edge + thick[index]
        band = canvas.between(edge, below, 0.004)
        canvas.paint(band, brightness)
        scene.keep(NAMES[index], band)
        edge = below
    canvas.paint(canvas.between(epithelium, epithelium + np.float32(0.014), 0.004), 0.70 + 0.2 * scene.level("pigment"))


def _shadows(scene: Scene, epithelium: Array, top: Array) -> None:
    """Vessels in the inner retina: bright caps that darken all below."""
    canvas, rng = scene.canvas, scene.stream("OCT/vessels")
    shadow = np.zeros(canvas.size, np.float32)
    for at in rng.uniform(0.03, 0.97, 9):
        width = 0.003 + 0.011 * scene.level("vessel")
        shadow += np.exp(-(((canvas.x[0] - np.float32(at)) / np.float32(width)) ** 2))
        canvas.paint(
            canvas.ellipse(at, float(np.interp(at, canvas.x[0], top)) + 0.025, width, width * 0.8, soft=0.005),
            0.75,
            0.6,
        )
    canvas.rgb *= 1 - (0.55 * np.clip(shadow, 0, 1)[None, :] * canvas.below(top + np.float32(0.03)))[..., None]


def _signs(scene: Scene, vitreous: Array, retina: Array, choroid: Array, gap: Array) -> None:
    canvas = scene.canvas
    everything = np.ones_like(canvas.x)
    if scene.has("Retinal Detachment"):
        scene.sign("Retinal Detachment", gap, 0.03, 0.9)
    if scene.has("Retinal Vein Occlusion"):  # swollen inner layers reflect less
        scene.tint("Retinal Vein Occlusion", retina, 0.10, 0.35)
    paint_signs(
        scene,
        {
            "DR-1": Look(np.maximum(retina, choroid), 0.02, scale=1.5),
            "DR-2": Look(np.maximum(retina, choroid), 1.0),
            "DR-3": Look(np.maximum(retina, choroid), 0.02, scale=1.25),
            "DR-4": Look(np.maximum(vitreous, retina), 0.75),
            "Glaucoma": Look(np.maximum(retina, choroid), 0.04, 0.7),
            "AMD": Look(np.maximum(retina, choroid), 0.95, 0.9, scale=0.85),
            "Cataract": Look(everything, 0.02, 0.45),
            "Hypertensive Retinopathy": Look(np.maximum(retina, choroid), 0.62, 0.8),
            "Retinal Vein Occlusion": Look(np.maximum(retina, choroid), 0.02, scale=0.85),
            "Myopia": Look(choroid, 0.85, 0.8),
            "Retinal Detachment": Look(np.maximum(retina, choroid), 0.03, 0.75),
        },
    )
    if scene.has("Cataract"):
        scene.canvas.blur(0.003 * scene.difficulty.opacity)
        scene.tint("Cataract", everything, 0.16, 0.35)
