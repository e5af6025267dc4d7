"""From bytes to pixels: containers, colours, geometry, masks, points; knows no dataset and imports no torch."""
